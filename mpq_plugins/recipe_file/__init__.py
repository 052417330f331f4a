"""What a recipe looks like: its JSON file and its printed table."""
