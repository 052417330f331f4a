"""Texts of options, as a hurried person writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpq_plugins import BudgetError, MPQError, OutputError
from mpq_plugins.commands.options import check_writable, read_bits, read_budget, read_request


@pytest.mark.parametrize("text", ["four", "2-", "-4", "", "2;4", "fc*="])
def test_what_is_no_list_of_bits_is_quoted_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(MPQError, match=f"'{text.replace('*', '.')}' is no list of bits; write 4, or 2,4,8"):
        read_bits([text])


def test_the_rest_comes_after_the_patterns_in_whatever_order_they_are_given() -> None:
    assert list(read_bits(["2-4", "fc*=8", "conv1*=6,8"]) or ()) == ["fc*", "conv1*", "*"]


def test_no_limit_is_no_budget_and_limits_of_plug_ins_are_read() -> None:
    assert read_budget(None, bops=None) is None
    budget = read_budget(["energy=5e6"], weight_bytes=10.0)
    assert budget is not None
    assert budget.limits() == {"weight_bytes": 10.0, "energy": 5e6}


@pytest.mark.parametrize("text", ["energy", "energy=", "energy=much"])
def test_a_limit_without_a_number_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match="--limit takes RESOURCE=VALUE"):
        read_budget([text])


def test_what_cannot_be_written_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    check_writable(None, tmp_path / "new.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="it is a directory"):
        check_writable(tmp_path)
    with pytest.raises(OutputError, match=r"there is no directory .*nowhere"):
        check_writable(tmp_path / "nowhere" / "new.json")


def test_a_limit_of_memory_is_read_in_gigabytes() -> None:
    def limited(memory_gb: float | None) -> int:
        memory: int = read_request("generic-po2", "msqe", None, ["4"], ["8"], None, None, None, memory_gb).memory
        return memory

    assert limited(1.5) == 1_500_000_000
    with pytest.raises(MPQError, match="memory_gb is a number of gigabytes above 0, got -1"):
        limited(-1)
