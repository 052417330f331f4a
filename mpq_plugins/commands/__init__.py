"""The commands of ``mpq``, one file each; cli.py lists them."""
