"""What a caller that knows Python's errors alone catches."""

from __future__ import annotations

import pytest

from mpq_plugins import Budget, Grid, MPQError, errors


@pytest.mark.parametrize("wrong", [lambda: Grid.power_of_two(99, 0), lambda: Budget()])
def test_a_wrong_value_is_a_value_error_too(wrong: object) -> None:
    with pytest.raises(MPQError) as caught:
        wrong()  # type: ignore[operator]
    assert isinstance(caught.value, ValueError)


def test_too_little_memory_is_a_memory_error() -> None:
    assert issubclass(errors.TooLittleMemory, MemoryError)
