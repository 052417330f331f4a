"""``python -m mpq_plugins``: the command line where the ``mpq`` script is not on the path."""

from mpq_plugins.commands.cli import main

if __name__ == "__main__":
    main()
