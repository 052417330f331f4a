"""What a hardware vendor's package looks like."""
