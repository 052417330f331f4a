"""Embeddings in programs of integers: rows of codes for whole numbers, in NumPy and in C, and numbers without a row."""

import numpy as np
import pytest

from mpq_plugins import plugins
from mpq_plugins.errors import ProgramError
from mpq_plugins.graph.float_parts import settle_float_parts
from mpq_plugins.graph.lookups import with_lookups
from mpq_plugins.graph.node import ARGUMENT, UNKNOWN, Batch, Graph, Node, Operand
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.grid import Grid
from mpq_plugins.integers import input_codes, output_values, run
from mpq_plugins.integers.file import load, save
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.integers.tests.c_programs import c_outputs, joined

TARGET = plugins.target("generic-po2")
STEP = Grid.power_of_two(8, 3)
TABLE = np.random.default_rng(0).normal(size=(7, 3)) * 3
NUMBERS = np.random.default_rng(1).integers(0, 5, (4, 6))


def embedding(name, table):
    attrs = {"what": "Embedding", "function": "embedding", "arguments": {"input": Operand(0), "weight": table}}
    return Node(name, UNKNOWN, ("words",), (Batch(), 6, 3), attrs=attrs)


def graph_of(*others):
    """The rows of two tables, the second of five rows, added and multiplied by a matrix."""
    nodes = (
        Node("words", ARGUMENT, (), (Batch(), 6), attrs={"index": 0}),
        embedding("table", TABLE),
        embedding("second", TABLE[:5] / 2),
        Node("sum", "add", ("table", "second"), (Batch(), 6, 3)),
        Node("fc", "linear", ("sum",), (Batch(), 6, 2), np.eye(2, 3), bias=np.zeros(2)),
        *others,
    )
    return Graph(nodes, (nodes[-1].name,), "NCHW")


@pytest.fixture(scope="module")
def program():
    graph = settle_float_parts(with_lookups(graph_of(), TARGET), [])
    sites = take_sites(graph)
    grids = dict.fromkeys((site.name for site in sites.inventory), STEP)
    return program_of(QuantizedGraph.of(graph, sites, grids, TARGET), "words", "none")


def test_whole_numbers_come_in_as_they_are_and_look_up_the_codes_of_their_rows(program):
    (entrance,) = program.inputs
    assert (entrance.low, entrance.high, program.float_ops) == (0, 4, ())
    codes = input_codes(program, NUMBERS)
    assert np.array_equal(codes["words"], NUMBERS)
    values = output_values(program, run(program, codes))["fc"]
    rounded = [np.clip(np.rint(table * 16), -128, 127)[NUMBERS] for table in (TABLE, TABLE[:5] / 2)]
    assert np.array_equal(values, np.clip(sum(rounded), -128, 127)[..., :2] / 16)


def test_rows_are_looked_up_in_c_and_in_a_stored_program_too(program, tmp_path):
    codes = input_codes(program, NUMBERS)
    save(program, tmp_path)
    assert np.array_equal(c_outputs(load(tmp_path), codes, tmp_path), joined(program, run(program, codes)))


@pytest.mark.parametrize("number", [-1, 5, 1.5, np.nan])
def test_a_number_without_a_row_is_refused_by_name(program, number):
    numbers = np.where(np.arange(24).reshape(4, 6) == 9, number, NUMBERS)
    with pytest.raises(ProgramError, match=f"input 'words' holds {number}, and takes whole numbers from 0 to 4"):
        input_codes(program, numbers)
    if numbers.dtype.kind == "i":
        with pytest.raises(ProgramError, match=f"input 'words' holds {number}, and takes"):
            run(program, numbers)


def test_rows_for_numbers_that_are_computed_with_too_are_no_codes():
    scaled = Node("scaled", "affine", ("words",), (Batch(), 6), attrs={"scale": 0.5, "offset": 0.0})
    graph = with_lookups(graph_of(scaled), TARGET)
    assert {graph[name].op for name in ("table", "second")} == {UNKNOWN}
