"""Our own plug-ins, which register through everybody's door."""
