"""The version of mpq-plugins, as its files and pages say it."""

__version__ = "0.1.0"
