"""The memory that is free, as the files of a system tell it."""

import pytest

from mpq_plugins.rounding.moments.machine import machine_memory

GIGA = 10**9


@pytest.fixture
def system(tmp_path):
    """Writes files below a root, each with its text."""

    def write(files):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


def test_a_machine_that_tells_nothing_has_what_it_is_built_with(tmp_path):
    assert machine_memory(tmp_path) > 10**8


def test_what_others_take_is_not_free(system):
    assert machine_memory(system({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    1000 kB\n"})) == 1_024_000


def test_a_group_leaves_its_limit_less_what_it_holds_and_cannot_give_back(system):
    group = "sys/fs/cgroup/a/b/"
    root = system({
        "proc/self/cgroup": "0::/a/b\n",
        group + "memory.max": f"{GIGA}\n",
        group + "memory.current": "300000000\n",
        group + "memory.stat": "anon 5\ninactive_file 100000000\n",
    })  # fmt: skip
    assert machine_memory(root) == GIGA - 200_000_000


def test_the_tightest_of_the_groups_around_counts(system):
    root = system({
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/b/memory.max": "max\n",
        "sys/fs/cgroup/a/memory.max": "200000000\n",
        "sys/fs/cgroup/memory.max": "500000000\n",
    })  # fmt: skip
    assert machine_memory(root) == 200_000_000


def test_groups_of_the_first_version_count_too_where_a_container_sees_its_own_on_top(system):
    root = system({
        "proc/self/cgroup": "5:cpu:/x\n4:memory:/outside/x\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "400000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000000\n",
    })  # fmt: skip
    assert machine_memory(root) == 300_000_000
