"""`figures/captions.md`: below which words each figure stands in the report."""

import re
from collections.abc import Mapping
from html import unescape

from aggregate.report.figures.drawing import Drawing

HEAD = "# Captions of these figures, as the report has them\n\n"
CAPTION = re.compile(r"<figcaption>(.*?)</figcaption>", re.DOTALL)
CODE = re.compile(r"</?code>")
TAG = re.compile(r"<[^>]*>")
SHOWS = re.compile(r'aria-label="([^"]*)"')
"""What a figure shows, for those who cannot see it."""


def captions(page: str, drawings: Mapping[str, Drawing]) -> str:
    """A paragraph per figure, in the order of the page; those that stand in no page come last.

    Args:
        page: The report as HTML.
        drawings: By the name of their files.
    """
    places = {name: page.find(str(drawing)) for name, drawing in drawings.items()}
    ordered = sorted(places, key=lambda name: (places[name] < 0, places[name]))
    told = [
        f"**{name}** (`{name}.svg`, `.pdf`, `.csv`): {caption_of(page, places[name], drawings[name])}\n"
        for name in ordered
    ]
    return HEAD + "\n".join(told)


def caption_of(page: str, place: int, drawing: Drawing) -> str:
    """The caption below a figure of a page, or what the figure shows where it has none.

    Args:
        page: The report as HTML.
        place: Where the figure begins in it, below 0 if it is not in it.
        drawing: The figure.
    """
    if place >= 0:
        start = place + len(drawing)
        found = CAPTION.search(page, start, max(start, page.find("</figure>", start)))
        if found:
            return plain_text(found[1])
    shown = SHOWS.search(drawing)
    return plain_text(shown[1]) if shown else ""


def plain_text(html: str) -> str:
    """Words without tags on one line; nothing of it is markup in Markdown that takes HTML."""
    text = unescape(TAG.sub("", CODE.sub("`", html)))
    return " ".join(text.split()).replace("<", "&lt;")
