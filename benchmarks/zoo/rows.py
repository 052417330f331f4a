"""One network by one tool, in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
import warnings
from typing import Any

from benchmarks.zoo.networks import built
from benchmarks.zoo.ours import exactness, placed
from benchmarks.zoo.stock import BY, converted


def row(package: str, name: str, by: str, count: int, read: bool, sends: Any) -> None:
    """Send what there is to say of a network: verdict, share, seconds of processors, memory, reasons.

    read: leave it at what the target has kernels for.
    """
    warnings.filterwarnings("ignore")
    model, images = built(package, name, count)
    ours = placed if read else exactness
    held, start = _peak(), time.process_time()
    try:
        found = converted(by, model, images) if by in sum(BY.values(), ()) else ours(model, images, by)
    except Exception as error:  # the verdict on a network, whoever raises it
        found = ("refused", "", f"{type(error).__name__}: {' '.join(str(error).split())}")
    seconds, peak = time.process_time() - start, (_peak() - held) / 1e9
    sends.send((found[0], found[1], f"{seconds:.0f}", f"{peak:.2f}", found[2]))


def in_a_process(package: str, name: str, by: str, count: int, seconds: float, read: bool = False) -> tuple[str, ...]:
    """What ``row`` sends, or what became of its process within so many seconds."""
    spawned = multiprocessing.get_context("spawn")
    receives, sends = spawned.Pipe(duplex=False)
    process = spawned.Process(target=row, args=(package, name, by, count, read, sends))
    process.start()
    sends.close()
    try:
        if receives.poll(seconds):
            return tuple(receives.recv())
        return ("given up", "", f"{seconds:.0f}", "", "")
    except EOFError:
        process.join()
        return ("crashed", "", "", "", f"exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _peak() -> int:
    """Bytes of the process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
