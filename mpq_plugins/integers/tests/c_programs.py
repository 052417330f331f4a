"""Compiles generated C programs with gcc and runs them."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from mpq_plugins.integers import write_c

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def compiled(main):
    """The path of the program that gcc makes of a ``main.c`` without a warning."""
    if shutil.which("gcc") is None:
        pytest.fail("gcc is not installed, and these tests compile generated C; install it (apt install gcc libc6-dev)")
    binary = main.with_name("program")
    built = subprocess.run(["gcc", *FLAGS, str(main), "-o", str(binary)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return binary


def c_outputs(program, codes, folder):
    """What the C program prints for codes by name: int64 of [samples, elements of all outputs]."""
    _, _, main = write_c(program, folder)
    binary = compiled(main)
    samples = len(next(iter(codes.values())))
    rows = np.concatenate([codes[entrance.tensor].reshape(samples, -1) for entrance in program.inputs], 1)
    text = "\n".join(" ".join(map(str, row)) for row in rows.tolist())
    printed = subprocess.run([str(binary)], input=text, capture_output=True, text=True, check=True).stdout
    return np.array([[int(code) for code in line.split()] for line in printed.splitlines()])


def joined(program, outputs):
    """The outputs of ``run`` as the C program prints them."""
    names = dict.fromkeys(program.outputs)
    return np.concatenate([outputs[name].reshape(len(outputs[name]), -1) for name in names], 1)
