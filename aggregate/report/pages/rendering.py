"""How every page is made of its template, and what of others' text may stand in it."""

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from aggregate.report.pages.outline import outlined
from cache_schema.common.terminal.visible import shortened, visible

LONGEST = 600
"""Characters of one text; labels of ten thousand must not bury the page."""


def rendered(template: str, content: dict[str, Any]) -> str:
    """A page as text, with its list of contents; the same content gives the same text."""
    return outlined(filled(template, content))


def filled(template: str, content: dict[str, Any]) -> str:
    """A template with its content and nothing more, for a page that holds a program."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["whole"] = whole
    return environment.get_template(template).render(**content)


def shown(value: Any) -> Any:
    """Text as the page shows it; numbers and our own markup as they are."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return shortened(visible(value), LONGEST)
    return value


class Whole(Markup):
    """Text that is shown however long it is."""


class Picture(Markup):
    """The bytes of a PNG for a `data:` address."""


def whole(text: str) -> Whole:
    """Text that is shown however long it is: a configuration, a command."""
    return Whole(escape(visible(text)))


def encoded(data: bytes) -> Picture:
    """Bytes for a `data:` address."""
    return Picture(base64.b64encode(data).decode("ascii"))
