"""What differs between what is recorded and what is found."""

from __future__ import annotations

import numpy as np

CLOSE = 1e-4
"""How far the outputs of a float end may lie from those recorded: functions differ between processors."""
NOTHING = "nothing"
SHOWN = 60
SITES = ("sites", "integer outputs", "weights")
"""The kinds of things that are hashes by site."""


def differences(recorded, found, where):
    """Sentences of "network, target, kind of thing, site: old -> new".

    where: the words in front. Where hashes of several sites differ, the first in the order of execution is named and
    the others are counted. A value that could not be found here (None) is not compared.
    """
    if isinstance(recorded, list) and isinstance(found, list) and all(isinstance(s, str) for s in (*recorded, *found)):
        return _first(_numbered(recorded), _numbered(found), where)
    if not (isinstance(recorded, dict) and isinstance(found, dict) and recorded):
        alike = found is None or recorded is None or _same(recorded, found)
        return [] if alike else [f"{', '.join(where)}: {_shown(recorded)} -> {_shown(found)}"]
    if where[-1] in SITES:
        return _first(recorded, found, where)
    return [
        sentence
        for key in dict.fromkeys([*recorded, *found])
        for sentence in differences(recorded.get(key, NOTHING), found.get(key, NOTHING), (*where, key))
    ]


def _first(recorded, found, where):
    keys = dict.fromkeys([*recorded, *found])
    different = [key for key in keys if recorded.get(key, NOTHING) != found.get(key, NOTHING)]
    if not different:
        return []
    old, new = (values.get(different[0], NOTHING) for values in (recorded, found))
    more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
    return [f"{', '.join((*where, different[0]))}: {old} -> {new}{more}"]


def _numbered(values):
    return {str(index): value for index, value in enumerate(values)}


def _same(recorded, found):
    if isinstance(recorded, list) and isinstance(found, list) and recorded and isinstance(recorded[0], float):
        return len(recorded) == len(found) and bool(np.allclose(recorded, found, atol=CLOSE))
    return recorded == found


def _shown(value):
    text = str(value) if value else NOTHING
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
