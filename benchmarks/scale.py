"""A post-training search of large networks: seconds by stage, CPU seconds, and peak memory.

    python -m benchmarks.scale [--networks mobilenet_v2 resnet18 ...] [--images N] [--threads N]

Average 4 bits of candidates 2 to 8 per channel, activations at 8 bits; weights are drawn with seed 0, the norms have
seen three batches of noise (large_networks). Seconds of stages pass on the clock; CPU seconds are of the process, in
all its threads. Memory is the peak of the process over what it held with the framework loaded, the model built and the
images drawn. Every network is searched in a process of its own. ``mct`` beside it where model_compression_toolkit is
installed.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import time
from importlib.util import find_spec
from typing import Any

from benchmarks.large_networks import NETWORKS

STAGES = ("read", "measure", "rate and choose", "constrain")


def search(model: Any, images: Any) -> list[float]:
    """Seconds of each of STAGES."""
    import mpq_plugins as mpq
    from mpq_plugins.graph.sites import take_sites
    from mpq_plugins.search.measurement import Measurements
    from mpq_plugins.search.request import Request
    from mpq_plugins.search.signs import signed_inputs
    from mpq_torch import fx
    from mpq_torch.reader.data import chunks_of, read_with_data

    stamps = [time.perf_counter()]
    request = Request(
        "generic-po2-per-channel",
        "msqe",
        mpq.Budget(average_weight_bits=4),
        range(2, 9),
        8,
        per_channel=True,
        progress=False,
    )
    reading, batches = read_with_data(model, images, ())
    sites = take_sites(reading.graph, signed_inputs(reading.graph, reading.runner, reading.given(batches[0])))
    request.check(sites.inventory)
    stamps.append(time.perf_counter())
    chunks = chunks_of(reading, batches)
    measured = Measurements(reading.graph, sites, reading.runner, chunks, progress=False)
    stamps.append(time.perf_counter())
    recipe = request.search(measured, "torch")
    del measured
    stamps.append(time.perf_counter())
    fx.constrain(model, recipe, images)
    stamps.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(stamps)]


def toolkit(model: Any, images: Any) -> list[float]:
    """Seconds of the same search by MCT, which has no stages."""
    import model_compression_toolkit as mct

    start = time.perf_counter()
    data = lambda: iter([[images[:32]]] * (len(images) // 32))  # noqa: E731
    mixed = mct.core.MixedPrecisionQuantizationConfig(num_of_images=32)
    bits = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1) * 4 / 8
    mct.ptq.pytorch_post_training_quantization(
        model,
        data,
        target_resource_utilization=mct.core.ResourceUtilization(weights_memory=bits),
        core_config=mct.core.CoreConfig(mixed_precision_config=mixed),
    )
    return [time.perf_counter() - start]


def row(name: str, count: int | None, threads: int | None, by: str, queue: Any) -> None:
    """One line of the table, from a process of its own."""
    import torch

    from benchmarks.large_networks import drawn

    if threads is not None:
        torch.set_num_threads(threads)
    model, images = drawn(name)
    held, spent = _peak(), time.process_time()
    seconds = (search if by == "mpq" else toolkit)(model, images[:count])
    spent = time.process_time() - spent
    stages = [f"{s:.1f}" for s in seconds] if len(seconds) > 1 else ["", "", "", ""]
    queue.put((name, by, *stages, f"{sum(seconds):.1f}", f"{spent:.1f}", f"{(_peak() - held) / 1e9:.2f}"))


def main() -> None:
    """Print a table, a row for each network, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--images", type=int, help="fewer calibration images than the network's own number")
    parser.add_argument("--threads", type=int, help="of torch; as many as it takes by itself if not said")
    arguments = parser.parse_args()
    headings = ("network", "by", *(f"{stage} s" for stage in STAGES), "together s", "CPU s", "peak GB")
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings), flush=True)
    spawned = multiprocessing.get_context("spawn")
    for name in arguments.networks:
        for by in ("mpq", "mct") if find_spec("model_compression_toolkit") else ("mpq",):
            queue = spawned.SimpleQueue()
            process = spawned.Process(target=row, args=(name, arguments.images, arguments.threads, by, queue))
            process.start()
            process.join()
            cells = (name, by, f"failed with exit code {process.exitcode}") if queue.empty() else queue.get()
            print("| " + " | ".join(cells) + " |", flush=True)


def _peak() -> int:
    """Bytes of the process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
