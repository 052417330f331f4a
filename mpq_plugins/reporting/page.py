"""The page: its parts in order, with style and script inside it."""

from __future__ import annotations

from importlib.resources import files

from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.registry.version import __version__
from mpq_plugins.reporting import evidence, overview
from mpq_plugins.reporting.details import Details
from mpq_plugins.reporting.front import Front
from mpq_plugins.reporting.markup import Html, join, tag, tag_open
from mpq_plugins.reporting.subject import LeftOut, Section, Subject

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What the page may load: nothing but what is inside it. A browser refuses, and says so, if it tries."""


def page(
    recipe: Recipe, details: Details | None = None, front: Front | None = None, name: str = "recipe.json"
) -> tuple[str, list[str]]:
    """The HTML of a report, and what it leaves out, in a sentence each.

    name: of the recipe's file. Raises RecipeMismatch for details or a front of another recipe.
    """
    subject = Subject(recipe, details, front, name)
    costs, costs_missing = overview.costs(subject)
    parts: list[Section | LeftOut] = [
        overview.asked(subject),
        overview.bits(subject),
        costs,
        *costs_missing,
        evidence.errors(subject),
        evidence.sensitivity(subject),
        evidence.noise(subject),
        evidence.front(subject),
        evidence.reasons(subject),
        evidence.verification(subject),
    ]
    sections = [part for part in parts if isinstance(part, Section)]
    missing = [part for part in parts if isinstance(part, LeftOut)]
    if missing:
        items = join(tag("li", tag("b", part.title), f": {part.reason}.") for part in missing)
        sections.append(Section("missing", "Not in this report", tag("ul", items)))
    return _document(subject, sections), [f"{part.title}: {part.reason}" for part in missing]


def _document(subject: Subject, sections: list[Section]) -> str:
    recipe = subject.recipe
    title = f"{recipe.average_weight_bits:.2f}-bit weights for {recipe.target}"
    source = files("mpq_plugins.reporting")
    head = join(
        (
            tag_open("meta", charset="utf-8"),
            tag_open("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag_open("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag_open("link", rel="icon", href="data:,"),  # else a browser asks for one
            tag("title", title),
            tag("style", Html(source.joinpath("page.css").read_text(encoding="utf-8"))),
        )
    )
    sites = f"{len(recipe.weights)} weights and {len(recipe.activations)} activations"
    said = f"Recipe {subject.name}: method {recipe.method}, {sites}"
    top = tag(
        "header",
        tag("div", tag("h1", title), tag("p", said, class_="soft")),
        tag("button", "theme", id="theme", type="button", hidden="", title="light, dark, or as the system says"),
    )
    links = join(tag("li", tag("a", part.title, href=f"#{part.anchor}")) for part in sections)
    navigation = tag("nav", tag("ul", links), aria_label="parts of the report")
    body = join(
        tag("section", tag("h2", part.title, id=f"{part.anchor}-title"), part.body, id=part.anchor,
            aria_labelledby=f"{part.anchor}-title")
        for part in sections
    )  # fmt: skip
    foot = tag("footer", f"mpq-plugins {__version__}. This page is one file and loads nothing from elsewhere.")
    script = tag("script", Html(source.joinpath("page.js").read_text(encoding="utf-8")))
    skip = tag("a", "to the content", href="#content", class_="skip")
    main = tag("main", overview.tiles(subject), body, id="content")
    document = tag("html", tag("head", head), tag("body", skip, top, navigation, main, foot, script), lang="en")
    return f"<!doctype html>\n{document}\n"
