"""Streams are held back for compiled code too, and nothing is lost when something fails."""

import subprocess
import sys

PROGRAM = """
import ctypes, sys
from mpq_plugins.terminal.silence import silenced
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


def test_what_is_written_to_standard_output_goes_to_standard_error():
    program = """
import ctypes, os, sys
from mpq_plugins.terminal.silence import on_stderr
print("before")
with on_stderr():
    print("from Python")
    os.write(1, b"from the descriptor\\n")
print("after")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["before", "after"]
    assert sorted(ran.stderr.splitlines()) == ["from Python", "from the descriptor"]


def test_threads_that_want_silence_wait_for_each_other_and_leave_the_stream_as_it_was():
    program = """
import os, threading
from mpq_plugins.terminal.silence import silenced
before = os.fstat(1)
def work():
    for _ in range(50):
        with silenced("stdout"):
            os.write(1, b"held back")
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(os.fstat(1) == before)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "True\n"
