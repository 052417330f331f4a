"""The first parts of a report: what was asked and what came out, bits and costs by layer."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.reporting import charts
from mpq_plugins.reporting.charts import Column, short
from mpq_plugins.reporting.markup import Cell, Html, dotted, join, table, tag
from mpq_plugins.reporting.subject import WAY_OUT, LeftOut, Section, Subject, words

FLOAT_BYTES = 4
LEGEND = tag(
    "p", tag("span", "weights", class_="weight"), tag("span", "activations", class_="activation"), class_="legend"
)


def tiles(subject: Subject) -> Html:
    """The figures that a hurried reader wants."""
    recipe = subject.recipe
    elements = sum(entry.elements for entry in recipe.weights)
    times = FLOAT_BYTES * elements / recipe.weight_bytes if recipe.weight_bytes else 0.0
    shown = [
        ("weight bits", f"{recipe.average_weight_bits:.2f}", f"on average, {elements:,} weights"),
        ("weight bytes", f"{recipe.weight_bytes:,.0f}", f"{times:.1f} times fewer than float32"),
    ]
    if "activation_bytes" in recipe.costs:
        shown.append(("activation bytes", f"{recipe.costs['activation_bytes']:,.0f}", "most at once, one sample"))
    if "bops" in recipe.costs:
        shown.append(("bit operations", short(recipe.costs["bops"]), "one sample"))
    if "latency_ms" in recipe.costs:
        shown.append(("latency", f"{recipe.costs['latency_ms']:.3g} ms", "one sample, by the table"))
    found = [tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in shown]
    verified = subject.details.verified if subject.details else None
    if verified is not None and verified.exact is not None:
        value = tag("span", "exact", class_="good") if verified.exact else tag("span", "differs", class_="bad")
        found.append(tag("div", tag("dt", "integers = simulation"), tag("dd", value, tag("small", "see verification"))))
    return tag("dl", join(found), class_="tiles")


def asked(subject: Subject) -> Section:
    """Every resource: its limit, what came out, and what one more unit would buy."""
    recipe = subject.recipe
    rows = []
    for name in dict.fromkeys((*recipe.budget, *recipe.costs)):
        cost, limit, price = recipe.costs.get(name), recipe.budget.get(name), recipe.shadow_prices.get(name)
        used: object = "no limit"
        if cost is not None and limit is not None:
            part = 100 * cost / limit
            bar = tag("span", tag("i", style=f"width:{min(part, 100):.0f}%"), class_="used", aria_hidden="true")
            used = Cell(join((bar, f"{part:.1f} %")), part)
        if price is None:
            buys = "" if limit is None else "not known"
        elif price == 0:
            buys = "nothing: other limits bind, or none"
        else:
            buys = f"{price:.3g} less loss"
        rows.append(
            (
                words(name),
                Cell("" if limit is None else f"{limit:,.10g}", "" if limit is None else limit),
                Cell("" if cost is None else f"{cost:,.10g}", "" if cost is None else cost),
                used,
                Cell(buys, price if price is not None else -1),
            )
        )
    found = table(
        "Budget and result, by resource", ("resource", "at most", "reached", "used", "one more unit buys"), rows, (1, 2)
    )
    origin = f" Measured with {recipe.meta['framework']}." if "framework" in recipe.meta else ""
    stays = "".join(f" {line[0].upper()}{line[1:]}." for line in recipe.float_lines)
    question = ", ".join(f"{words(name)} of at most {limit:,.10g}" for name, limit in recipe.budget.items())
    loss = subject.loss()
    predicted = "" if loss is None else f" The predicted rise of the loss is {loss:.4g}."
    lead = (
        f"Asked: power-of-two grids for {recipe.target} by method {recipe.method}, "
        f"{question or 'with fixed bits and no budget'}. Came out: {len(recipe.weights)} weights at "
        f"{recipe.average_weight_bits:.3f} bits on average and {len(recipe.activations)} activations."
    )
    text = tag("p", lead, predicted, origin, stays)
    return Section("asked", "Asked and found", join((text, found)))


def bits(subject: Subject) -> Section:
    """Bits of weights, upwards, and of activations, downwards, in the order of the network."""
    names = list(subject.recipe)
    most = max(8, *(grid.bits for grid in subject.recipe.values()))
    bars = [
        Column(entry.grid.bits / most, f"{entry.site}: {entry.grid.bits} bits", entry.kind, entry.kind == "activation")
        for entry in subject.recipe.sites
    ]
    y = [(0.5 + half * bits / most / 2, str(bits)) for half in (1, -1) for bits in (0, 4, 8) if bits or half == 1]
    picture = charts.columns(
        "Bits of weights (upwards) and activations (downwards) in network order",
        bars,
        y,
        charts.group_ticks(names),
        0.5,
    )
    lead = tag("p", "Every site in the order of the network: weights upwards, activations downwards.", class_="soft")
    return Section("bits", "Bits by layer", join((lead, tag("div", LEGEND, picture, class_="card"))))


def costs(subject: Subject) -> tuple[Section, list[LeftOut]]:
    """What each layer takes of each resource."""
    recipe = subject.recipe
    by_resource = {"weight_bytes": {entry.site: entry.total_bits / 8 for entry in recipe.weights}}
    missing = []
    if subject.details is not None and subject.details.costs:
        by_resource |= {n: shares for n, shares in subject.details.costs.items() if not n.startswith("average_")}
    else:
        missing.append(LeftOut("bit operations and latency by layer", f"the recipe holds no MACs; {WAY_OUT}"))
    if "latency_ms" not in by_resource and not missing:
        missing.append(LeftOut("latency by layer", "the search was given no latency table (--latency)"))
    parts = [_cost_chart(subject, name, shares) for name, shares in by_resource.items()]
    kinds = {entry.site: entry.kind for entry in recipe.sites}
    shown = [name for name in by_resource if any(kinds.get(site) == "weight" for site in by_resource[name])]
    rows = []
    for entry in recipe.weights:
        cells = [Cell(figure(v), v) for v in (by_resource[name].get(entry.site, 0.0) for name in shown)]
        rows.append((Cell(dotted(entry.site), entry.site), Cell(subject.number(entry.site)), entry.grid.bits, *cells))
    headings = ("layer", "place", "bits", *(words(name) for name in shown))
    numbers = table("Costs of each weight's layer", headings, rows, range(1, len(headings)))
    body = join((tag("div", LEGEND, join(parts), class_="card"), tag("h3", "In numbers"), numbers))
    return Section("costs", "Costs by layer", body), missing


def _cost_chart(subject: Subject, resource: str, shares: Mapping[str, float]) -> Html:
    """Columns of what each site takes; of activation bytes, those of the step that needs most stand out."""
    recipe = subject.recipe
    total, limit = sum(shares.values()), recipe.budget.get(resource)
    unit = subject.details.units.get(resource, "") if subject.details else ""
    head = f"{words(resource)}: {figure(total)}" + ("" if unit in words(resource) else f" {unit}")
    head += "" if limit is None else f" of at most {figure(limit)}"
    every = dict(shares)
    if resource == "activation_bytes":
        every = {entry.site: entry.total_bits / 8 for entry in recipe.activations}
        head += " at the step that needs most, in full colour"
    sites = [site for site in recipe if site in every]
    high = max((every[site] for site in sites), default=0.0) or 1.0
    bars = []
    for site in sites:
        part = f" ({100 * shares[site] / (total or 1):.1f} %)" if site in shares else ""
        kind = recipe.site(site).kind + ("" if site in shares else " rest")
        bars.append(Column(every[site] / high, f"{site}: {figure(every[site])}{part}", kind))
    chart = charts.columns(f"{words(resource)} by layer", bars, charts.linear_ticks(high), subject.ticks(sites))
    return join((tag("h3", head), chart))


def figure(value: float) -> str:
    """A number to be read: whole where it is large.

    >>> figure(1151367168.0), figure(2.998032)
    ('1,151,367,168', '2.998')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
