"""Versions: the number of this one, arguments that still work by their old names, old import paths that say the new."""
