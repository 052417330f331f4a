"""A limit of memory, in both frameworks: what does not fit is refused before anything is measured or rounded."""

import pytest

import mpq_tfmot
from mpq_plugins.errors import TooLittleMemory
from mpq_plugins.testing.framework_arrays import arrays_of
from mpq_torch import fx, pt2e


@pytest.mark.parametrize(("framework", "ways"), [("torch", [fx, pt2e]), ("tfmot", [mpq_tfmot])])
def test_search_and_constrain_say_what_they_take_where_it_is_more_than_the_limit(framework, ways):
    arrays = arrays_of(framework)
    model, inputs = arrays.network(0)
    data = [arrays.tensor(inputs)]
    bits = {"weight_bits": 4, "activation_bits": 8, "progress": False}
    recipe = ways[0].search(model, data, arrays.TARGET, **bits, memory_gb=0.5)
    for way in ways:
        with pytest.raises(TooLittleMemory, match=r"the search takes about .* 1e-06 GB"):
            way.search(model, data, arrays.TARGET, **bits, memory_gb=1e-6)
        with pytest.raises(TooLittleMemory, match=r"rounding takes about .* 1e-06 GB"):
            way.constrain(model, recipe, data, memory_gb=1e-6)
