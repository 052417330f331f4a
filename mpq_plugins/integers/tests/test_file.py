"""Integer programs on disk and in C: what is written comes back, and what is damaged is refused."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

import mpq_plugins as mpq
from mpq_plugins.errors import OutputError, ProgramError
from mpq_plugins.integers import load, run, save, write_c
from mpq_plugins.integers.c_header import c_header
from mpq_plugins.integers.program import Weight
from mpq_plugins.integers.tests.c_programs import c_outputs, joined
from mpq_plugins.integers.tests.programs import codes, every_step

PROGRAMS = every_step()


def edited(folder, **fields):
    path = folder / "program.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_comes_back_as_it_was_written(name, tmp_path):
    program = PROGRAMS[name]
    save(program, tmp_path)
    back = load(tmp_path)
    for field in fields(program):
        if field.name != "arrays":
            assert getattr(back, field.name) == getattr(program, field.name)
    assert {n: (a.dtype, a.tolist()) for n, a in back.arrays.items()} == {
        n: (a.dtype, a.tolist()) for n, a in program.arrays.items()
    }


def test_equal_programs_give_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        save(PROGRAMS["conv"], tmp_path / folder)
    for file in ("program.json", "arrays.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_arrays_on_disk_are_integers(tmp_path):
    save(PROGRAMS["conv"], tmp_path)
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert (arrays["w"].dtype, arrays["b"].dtype) == (np.int8, np.int32)


def test_a_damaged_field_is_named(tmp_path):
    save(PROGRAMS["conv"], tmp_path)
    edited(tmp_path, layout="upside_down")
    with pytest.raises(ProgramError, match="layout"):
        load(tmp_path)


def test_a_newer_file_asks_for_an_upgrade(tmp_path):
    save(PROGRAMS["conv"], tmp_path)
    edited(tmp_path, schema_version=2)
    with pytest.raises(ProgramError, match=r"schema 2.*upgrade"):
        load(tmp_path)


def test_arrays_that_do_not_fit_the_program_are_refused(tmp_path):
    save(PROGRAMS["conv"], tmp_path)
    np.savez(tmp_path / "arrays.npz", w=np.zeros((1, 2), np.int8), b=np.zeros(6, np.int32))
    with pytest.raises(ProgramError, match="'w' have the shape"):
        load(tmp_path)
    np.savez(tmp_path / "arrays.npz", w=np.zeros((6, 3, 2, 4), np.int8))
    with pytest.raises(ProgramError, match="no codes for b"):
        load(tmp_path)
    np.savez(tmp_path / "arrays.npz", w=np.zeros((6, 3, 2, 4)), b=np.zeros(6, np.int32))
    with pytest.raises(ProgramError, match="w are no integer codes"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "mpq-recipe"}'])
def test_what_is_no_program_is_said_to_be_none(text, tmp_path):
    (tmp_path / "program.json").write_text(text)
    with pytest.raises(ProgramError, match=r"damaged|no integer program"):
        load(tmp_path)


def test_a_folder_without_a_program_is_said_to_have_none(tmp_path):
    with pytest.raises(ProgramError, match="cannot read the integer program"):
        load(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for writing in (save, write_c):
        with pytest.raises(OutputError, match=r"cannot write .*file"):
            writing(PROGRAMS["conv"], tmp_path / "file")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": np.zeros((1, 6, 5, 4))}, "float64 values.*input_codes"),
        ({"x": np.zeros((1, 5, 6, 4), int)}, "has the shape"),
        ({"x": np.full((1, 6, 5, 4), 128)}, "codes from 128 to 128.*-128 .. 127"),
        ({"y": np.zeros((1, 6, 5, 4), int)}, "input 'x' is missing"),
    ],
)
def test_the_executor_takes_codes_of_the_grid_only(given, message):
    with pytest.raises(ProgramError, match=message):
        run(PROGRAMS["conv"], given)


def test_inputs_of_different_length_are_refused():
    with pytest.raises(mpq.MPQError, match="different numbers of samples: 1, 2"):
        run(PROGRAMS["concat"], {"x": codes((1, 6, 5, 4)), "y": codes((2, 6, 5, 4))})


def test_a_step_that_reads_what_nobody_wrote_is_refused():
    program = PROGRAMS["conv"]
    with pytest.raises(ProgramError, match="'o' reads nothing"):
        replace(program, steps=(replace(program.steps[0], inputs=("nothing",)),))


def test_the_header_says_of_each_layer_what_it_is():
    text = c_header(PROGRAMS["conv"])
    assert "/* o: convolution 3 x 2, stride 2 x 1" in text
    assert " *   reads x [6, 5, 4], 8 bits signed, step 2^-3" in text
    assert " *   weight w [6, 3, 2, 4], 8 bits signed, step 2^-5 (out, rows, columns, in)" in text
    assert " *   then shift right by -1 .. 12 by channel (half away from zero), clamp to -128 .. 127" in text
    assert "float" not in text
    assert "double" not in text


def test_exponents_by_channel_stand_in_the_header():
    program = PROGRAMS["conv"]
    weight = Weight("w", (6, 3, 2, 4), 8, (-5, -6, -7, -5, -4, -9))
    assert "exponents by channel: -5 -6 -7 -5 -4 -9" in c_header(replace(program, weights=(weight,)))


def test_names_that_c_does_not_take_or_that_end_comments_still_compile(tmp_path):
    program = replace(PROGRAMS["conv"], name="3*/main")
    given = {"x": codes((2, 6, 5, 4))}
    assert np.array_equal(c_outputs(program, given, tmp_path), joined(program, run(program, given)))
