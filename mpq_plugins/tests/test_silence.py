"""Streams are held back for compiled code too, and nothing is lost when something fails."""

import subprocess
import sys

PROGRAM = """
import ctypes, sys
from mpq_plugins.silence import silenced
libc = ctypes.CDLL(None)
print("before")
try:
    with silenced("stdout"):
        libc.printf(b"from C\\n")
        print("from Python")
        {inside}
except ValueError:
    pass
print("after")
"""


def output(inside):
    program = PROGRAM.replace("{inside}", inside)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_what_c_and_python_write_is_held_back():
    assert output("pass").split() == ["before", "after"]


def test_it_is_shown_after_all_when_the_block_raises():
    shown = output("raise ValueError").splitlines()
    assert shown[0] == "before"
    assert shown[-1] == "after"
    assert sorted(shown[1:-1]) == ["from C", "from Python"]
