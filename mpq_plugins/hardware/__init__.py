"""Built-in targets, registered through the same hook as anybody's."""
