"""``mpq measure``: the latency table of a user's model on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mpq_plugins.commands import options
from mpq_plugins.commands.console import Voice, resumable
from mpq_plugins.errors import LoadingError

SHOWN = 12


def measure(
    model: Annotated[str, typer.Argument(help=options.MODEL_HELP, show_default=False)],
    target: options.TargetName,
    shape: Annotated[
        str | None, typer.Option(help="Shape of the one input for one sample, as in 3,32,32; for torch models.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option("--calibration", "-c", help="Or example inputs, as of `mpq search`.")
    ] = None,
    framework: options.Framework = None,
    weight_bits: options.WeightBits = None,
    activation_bits: options.ActivationBits = None,
    per_channel: options.PerChannel = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in one call.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of each timing; the table holds their median.")] = 15,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the table.")] = Path("latency.json"),
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure every operator of a float model on the device of a target, and write its latency table.

    Example: mpq measure nets.py:resnet20 -t torch-x86 --shape 3,32,32 --activation-bits 8

    Search with it: mpq search ... --latency latency.json --latency-ms 3.5. What was measured is kept
    ($MPQ_CACHE_DIR, else the user's cache directory): after Ctrl-C the same command goes on from there.
    """
    from mpq_plugins.workspace.loading import load_model

    voice = Voice(quiet, as_json)
    options.check_writable(out)
    bits = options.read_bits(weight_bits), options.read_bits(activation_bits)
    with resumable(voice):
        loaded = load_model(model, framework)
        table = loaded.adapter.load().measure_latency(
            loaded.model,
            _example(loaded, shape, calibration),
            target,
            *bits,
            per_channel=per_channel,
            batch=batch,
            rounds=rounds,
            again=fresh,
            progress=voice.progress,
        )
    table.save(out)
    _show(table, voice)
    voice.say(f"\nthe table is in {out}")
    device = {} if table.device is None else dict(table.device.facts)
    voice.result({"table": str(out), "device": device, "overhead_ms": table.overhead_ms, "entries": len(table.entries)})


def _example(loaded: Any, shape: str | None, calibration: str | None) -> Any:
    """One batch for the adapter; None where nothing is said, which an adapter that knows shapes takes."""
    import numpy as np

    from mpq_plugins.workspace.loading import load_calibration

    if calibration is not None:
        return loaded.commands.batches(loaded.model, load_calibration(calibration))[0]
    if shape is None:
        return None
    try:
        sizes = tuple(int(part) for part in shape.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise LoadingError(f"--shape takes whole numbers such as 3,32,32 and got {shape!r}")
    values = np.random.default_rng(0).normal(size=(1, *sizes)).astype(np.float32)
    return loaded.commands.batches(loaded.model, values)[0]


def _show(table: Any, voice: Voice) -> None:
    """The dearest operators at each choice of bits, and their spread."""
    rows = []
    for key, entries in sorted(table.entries.items(), key=lambda item: -max(item[1].values()))[:SHOWN]:
        spread = table.spread_ms.get(key, {})
        # bits that run alike share one line
        by_cost: dict[tuple[float, float], list[str]] = {}
        for bits, value in entries.items():
            words = f"{bits[0]}x{bits[1]}" if isinstance(bits, tuple) else str(bits)
            by_cost.setdefault((value, spread.get(bits, 0.0)), []).append(words)
        rows += [
            f"{key}: {value:.4g} ms +- {half:.2g} at {_listed(words)} bits" for (value, half), words in by_cost.items()
        ]
    hidden = len(table.entries) - SHOWN
    voice.say("\n".join(rows) + (f"\nand {hidden} cheaper ones" if hidden > 0 else ""))


def _listed(words: list[str]) -> str:
    return ", ".join(words) if len(words) <= 4 else f"{words[0]}, {words[1]}, ... {words[-1]}"
