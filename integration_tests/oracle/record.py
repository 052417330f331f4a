"""Record anew what the project computes, and print what changed: name of the thing, old hash -> new hash.

    python -m integration_tests.oracle.record [--only NAME ...] [--frameworks torch keras] [--constrained | --exact]

NAME is that of a network. Without ``--only`` all networks are recorded, and those that are gone are dropped.
``--constrained`` records what ``constrain`` makes with data alone, ``--exact`` everything but that. ``--dry`` writes
nothing.
"""

from __future__ import annotations

import argparse

from integration_tests.oracle import frameworks, stored
from integration_tests.oracle.comparing import differences


def record(framework, only=(), dry=False):
    """Record what is exact of a framework's networks; the sentences of what changed."""
    before = stored.load(framework)
    wanted = [name for name in frameworks.names(framework) if not only or name in only]
    found = {name: frameworks.observed(framework, name) for name in wanted}
    after = {name: found.get(name, before.get(name)) for name in frameworks.names(framework)}
    after = {name: value for name, value in after.items() if value is not None}
    if not dry:
        stored.save(framework, after)
    return [s for name in wanted for s in differences(before.get(name, {}), found[name], (name,))]


def record_constrained(framework, only=(), dry=False):
    """Record what ``constrain`` makes of a framework's networks; the sentences of what changed."""
    before = stored.load(stored.CONSTRAINED).get(framework, {})
    wanted = [name for name in frameworks.names_of_constrained(framework) if not only or name in only]
    found = {name: frameworks.constrained(framework, name) for name in wanted}
    after = {name: found.get(name, before.get(name)) for name in frameworks.names_of_constrained(framework)}
    if not dry:
        whole = stored.load(stored.CONSTRAINED)
        whole = {**whole, "processor": stored.processor(), framework: {n: v for n, v in after.items() if v is not None}}
        stored.save(stored.CONSTRAINED, whole)
    return [s for name in wanted for s in differences(before.get(name, {}), found[name], (name, "constrained"))]


def main(arguments=None):
    """Record, and print what changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=(), help="names of networks")
    parser.add_argument("--frameworks", nargs="+", choices=frameworks.FRAMEWORKS, default=frameworks.FRAMEWORKS)
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--constrained", action="store_true", help="only what constrain makes with data")
    parts.add_argument("--exact", action="store_true", help="everything but that")
    parser.add_argument("--dry", action="store_true", help="print what changed, and write nothing")
    chosen = parser.parse_args(arguments)
    changed = []
    for framework in chosen.frameworks:
        if not chosen.constrained:
            changed += record(framework, chosen.only, chosen.dry)
        if not chosen.exact:
            changed += record_constrained(framework, chosen.only, chosen.dry)
    print("\n".join(changed) or "nothing changed")


if __name__ == "__main__":
    main()
