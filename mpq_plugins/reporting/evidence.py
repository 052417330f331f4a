"""The later parts of a report: errors, sensitivities, noise, the front, reasons and verification."""

from __future__ import annotations

from mpq_plugins.recipe.recipe_table import threshold
from mpq_plugins.reporting import charts
from mpq_plugins.reporting.charts import Column, Line, log_place
from mpq_plugins.reporting.markup import Cell, Html, dotted, join, table, tag, tag_open
from mpq_plugins.reporting.signal_noise import MOST
from mpq_plugins.reporting.subject import WAY_OUT, LeftOut, Section, Subject, words

TINY = 1e-12
"""Of the largest value of a logarithmic axis: what is smaller is drawn as that."""


def errors(subject: Subject) -> Section | LeftOut:
    """A small chart for each site: error over thresholds, the chosen threshold and bits marked."""
    title = "Error over thresholds"
    if subject.details is None or not subject.details.curves:
        return LeftOut(title, f"the recipe holds no error tables; {WAY_OUT}")
    figures: dict[str, list[Html]] = {"weight": [], "activation": []}
    for entry in subject.recipe.sites:
        curve = subject.details.curves.get(entry.site)
        if curve is None or entry.grid.bits not in curve.errors:
            continue
        every = [e for row in curve.errors.values() for e in row if e > 0]
        high = max(every, default=1.0)
        low = max(min(every, default=high), high * TINY)
        span = curve.offsets[-1] - curve.offsets[0]
        places = [(offset - curve.offsets[0]) / span for offset in curve.offsets]
        drawn = []
        for bits, row in sorted(curve.errors.items(), key=lambda item: item[0] == entry.grid.bits):
            chosen = bits == entry.grid.bits
            points = [(x, log_place(max(e, low), low, high)) for x, e in zip(places, row, strict=True)]
            at = curve.offsets.index(0) if chosen else None
            drawn.append(Line(points, f"{bits} bits", entry.kind if chosen else "faint", at))
        here = curve.errors[entry.grid.bits][curve.offsets.index(0)]
        x = [
            (places[0], f"{curve.offsets[0]:+d}"),
            (places[curve.offsets.index(0)], "chosen"),
            (1.0, f"{curve.offsets[-1]:+d}"),
        ]
        label = (
            f"{entry.site}: mean squared error over thresholds; {entry.grid.bits} bits at threshold "
            f"{threshold(entry.grid)} has {here:.3g}"
        )
        head = tag(
            "figcaption",
            tag("b", entry.site),
            tag_open("br"),
            f"{entry.grid.bits} bits, {threshold(entry.grid)}",
            title=label,
        )
        picture = charts.lines(label, drawn, (), x, small=True, mark=places[curve.offsets.index(0)])
        figures[entry.kind].append(tag("figure", head, picture))
    lead = tag(
        "p",
        "Mean squared error, on a logarithmic scale, at thresholds from 16 times smaller to 16 times larger than the "
        "chosen one. The strong line has the chosen bits, the faint ones the other candidates. Thresholds of weights "
        "are chosen for the error at the layer's output, so the lowest point of this curve can lie beside the mark.",
        class_="soft",
    )
    folds = [
        tag("details", tag("summary", f"{len(drawn)} {kind}s"), tag("div", join(drawn), class_="many"),
            class_="card", open="" if kind == "weight" else None)
        for kind, drawn in figures.items() if drawn
    ]  # fmt: skip
    return Section("errors", title, join((lead, *folds)))


def sensitivity(subject: Subject) -> Section | LeftOut:
    """Predicted rise of the loss at every candidate bit-width; the chosen one framed."""
    title = "Sensitivity against bits"
    found = {} if subject.details is None else subject.details.losses
    found = {site: by_bits for site, by_bits in found.items() if len(by_bits) > 1 and site in subject.recipe}
    if not found:
        why = "no site had a choice of bits" if subject.details and subject.details.losses else "the recipe holds none"
        return LeftOut(title, f"{why}; {WAY_OUT}")
    bits = sorted({b for by_bits in found.values() for b in by_bits})
    every = [loss for by_bits in found.values() for loss in by_bits.values() if loss > 0]
    high = max(every, default=1.0)
    low = max(min(every, default=high), high * TINY)
    rows = []
    for site, by_bits in found.items():
        cells: list[object] = []
        for b in bits:
            loss = by_bits.get(b)
            if loss is None:
                cells.append(Cell("", -1))
                continue
            shade = 0.7 * log_place(max(loss, low), low, high)
            chosen = "chosen" if b == subject.recipe[site].bits else None
            cells.append(Cell(f"{loss:.2g}", loss, f"background:rgba(var(--shade),{shade:.2f})", chosen))
        rows.append((Cell(dotted(site), site), Cell(subject.number(site)), *cells))
    lead = tag(
        "p",
        "The rise of the loss that each site's candidates cause by themselves, as "
        f"{(subject.details and subject.details.rated_by) or 'the method'} predicts it. A stronger shade is more, on a "
        "logarithmic scale; the chosen bits are framed.",
        class_="soft",
    )
    headings = ("site", "place", *(f"{b} bits" for b in bits))
    body = table("Predicted rise of the loss by bits", headings, rows, range(1, len(headings)))
    return Section("sensitivity", title, join((lead, body)))


def noise(subject: Subject) -> Section | LeftOut:
    """Signal to quantization noise of every activation of the simulated model."""
    title = "Signal to noise by layer"
    found = {} if subject.details is None else subject.details.signal_to_noise
    sites = [site for site in subject.recipe if site in found]
    if not sites:
        return LeftOut(title, f"the recipe holds no simulation of its model; {WAY_OUT}")
    high = max([found[site] for site in sites if found[site] < MOST], default=1.0)
    high = max(high, 1.0)
    bars = [Column(min(1.0, max(0.0, found[s]) / high), f"{s}: {_decibels(found[s])}", "activation") for s in sites]
    ticks = charts.linear_ticks(high, unit=" dB")
    chart = charts.columns("Signal to quantization noise by layer", bars, ticks, subject.ticks(sites))
    worst = min(sites, key=lambda site: found[site])
    lead = tag(
        "p",
        f"Energy of each activation in the float model over the energy of its difference in the simulated integer "
        f"model, with all noise from the layers before it. The lowest is {worst} with {found[worst]:.1f} dB; the last, "
        f"{sites[-1]}, has {found[sites[-1]]:.1f} dB.",
        class_="soft",
    )
    rows = [
        (Cell(dotted(s), s), Cell(subject.number(s)), subject.recipe[s].bits, Cell(_decibels(found[s]), found[s]))
        for s in sites
    ]
    numbers = table(
        "Signal to noise of each activation", ("activation", "place", "bits", "signal to noise"), rows, (1, 2, 3)
    )
    return Section("noise", title, join((lead, tag("div", chart, class_="card"), tag("h3", "In numbers"), numbers)))


def _decibels(value: float) -> str:
    return "exact" if value >= MOST else f"{value:.1f} dB"


def front(subject: Subject) -> Section | LeftOut:
    """Loss over the swept resource, with the place of this recipe."""
    title = "Pareto front"
    if subject.front is None:
        return LeftOut(title, "there was no sweep; make one with mpq pareto and give --pareto")
    points, resource = subject.front.points, subject.front.resource
    here, loss = subject.recipe.costs.get(resource), subject.loss()
    costs = [p.cost for p in points] + ([here] if here is not None and loss is not None else [])
    values = [p.loss for p in points if p.loss > 0] + ([loss] if here is not None and loss else [])
    left, right = min(costs), max(costs)
    high = max(values, default=1.0)
    low = max(min(values, default=high), high * TINY)

    def place(cost: float, loss: float) -> tuple[float, float]:
        return (cost - left) / (right - left) if right > left else 0.5, log_place(max(loss, low), low, high)

    drawn = [
        Line([place(p.cost, p.loss) for p in points], "the front", "weight"),
        *(Line([place(p.cost, p.loss)], f"{p.cost:,.6g}: loss {p.loss:.4g}", "weight", 0) for p in points),
    ]
    said = ""
    if here is not None and loss is not None:
        drawn.append(Line([place(here, loss)], f"this recipe: {loss:.4g}", "activation", 0))
        said = f" This recipe, marked, costs {here:,.10g} and is predicted to lose {loss:.4g}."
    ticks = [(i / 4, charts.short(left + (right - left) * i / 4)) for i in range(5)]
    label = f"Predicted loss over {words(resource)}"
    chart = charts.lines(label, drawn, charts.log_ticks(low, high), ticks)
    lead = tag(
        "p",
        f"The lowest predicted loss at each amount of {words(resource)}, on a logarithmic scale.{said}",
        class_="soft",
    )
    rows = [
        (p.recipe, Cell(f"{p.cost:,.10g}", p.cost), Cell(f"{p.average_weight_bits:.3f}", p.average_weight_bits),
         Cell(f"{p.weight_bytes:,.0f}", p.weight_bytes), Cell(f"{p.loss:.4g}", p.loss))
        for p in points
    ]  # fmt: skip
    headings = ("recipe", words(resource), "average weight bits", "weight bytes", "predicted loss")
    numbers = table("Points of the front", headings, rows, range(1, 5))
    return Section("front", title, join((lead, tag("div", chart, class_="card"), tag("h3", "In numbers"), numbers)))


def reasons(subject: Subject) -> Section:
    """Every site with its grid, and why it got it."""
    rows = [
        (
            Cell(dotted(entry.site), entry.site),
            Cell(subject.number(entry.site)),
            entry.kind,
            entry.op,
            Cell(" × ".join(map(str, entry.shape)) or "scalar", entry.elements),
            Cell(entry.grid.bits),
            Cell(threshold(entry.grid), max(entry.grid.steps)),
            Cell(entry.reason or "not recorded", name="prose"),
        )
        for entry in subject.recipe.sites
    ]
    headings = ("site", "place", "kind", "op", "shape", "bits", "threshold", "why")
    lead = tag(
        "p",
        "Why each site got its bits: what its next candidate would change while all others stay, against what the "
        "budget that it takes or frees is worth elsewhere.",
        class_="soft",
    )
    return Section(
        "reasons", "Every site, and why", join((lead, table("Sites in network order", headings, rows, (1, 5))))
    )


def verification(subject: Subject) -> Section | LeftOut:
    """Whether the converted model gave what was simulated."""
    title = "Verification"
    found = None if subject.details is None else subject.details.verified
    if found is None:
        return LeftOut(title, f"the recipe alone cannot be run; {WAY_OUT}")
    if found.exact is None:
        return Section("verification", title, tag("p", f"{found.text}."))
    word: Html = tag("b", "exact", class_="good") if found.exact else tag("b", "different", class_="bad")
    body = tag(
        "p",
        "The converted integer model, run on its own runtime, against the simulation, element by element, on "
        f"{found.samples:,} samples: ", word, f" — {found.text}."
    )  # fmt: skip
    return Section("verification", title, body)
