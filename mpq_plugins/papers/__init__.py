"""The built-in methods, one file per paper, registered through the same hook as anybody's."""
