"""HTML from Python values; whatever comes from a recipe is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as HTML text.

    >>> text("a < b"), text(Html("<b>a</b>"))
    ('a &lt; b', '<b>a</b>')
    """
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(element: str, *content: object, **attributes: object) -> Html:
    """An element with content. Attributes: ``class_`` is class, ``data_sort`` data-sort; None leaves one out.

    >>> tag("td", 3, class_="number", data_sort=3)
    '<td class="number" data-sort="3">3</td>'
    """
    return Html(f"{tag_open(element, **attributes)}{''.join(map(text, content))}</{element}>")


def tag_open(element: str, **attributes: object) -> Html:
    """An element that has no content, or the beginning of one that has.

    >>> tag_open("meta", charset="utf-8")
    '<meta charset="utf-8">'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{element}{given}>")


def join(parts: Iterable[object]) -> Html:
    """Parts one after another."""
    return Html("".join(text(part) for part in parts))


def dotted(name: str) -> Html:
    """A name that may be broken behind its dots.

    >>> dotted("conv1.weight")
    'conv1.<wbr>weight'
    """
    return Html(escape(name).replace(".", ".<wbr>"))


@dataclass(frozen=True)
class Cell:
    """A cell of a table. shown: what stands in it. value: what it is sorted by; None for what is shown.

    style: of the cell, such as its shade. name: of its class.
    """

    shown: object
    value: float | str | None = None
    style: str | None = None
    name: str | None = None


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[object]], numbers: Iterable[int] = ()) -> Html:
    """A table that the page's script sorts. numbers: columns that are aligned right; the first column names the row."""
    right = set(numbers)
    head = [
        tag("th", tag("button", heading, type="button"), scope="col", class_="number" if i in right else None)
        for i, heading in enumerate(headings)
    ]
    body = []
    for row in rows:
        cells = []
        for i, item in enumerate(row):
            cell = item if isinstance(item, Cell) else Cell(item)
            names = " ".join(n for n in ("number" if i in right else None, cell.name) if n) or None
            attributes = {"class_": names, "data_sort": cell.value, "style": cell.style}
            attributes |= {"scope": "row"} if i == 0 else {}
            cells.append(tag("th" if i == 0 else "td", cell.shown, **attributes))
        body.append(tag("tr", join(cells)))
    inner = (tag("caption", caption), tag("thead", tag("tr", join(head))), tag("tbody", join(body)))
    return tag(
        "div", tag("table", *inner, class_="sortable"), class_="scroll", tabindex=0, role="region", aria_label=caption
    )
