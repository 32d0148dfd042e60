"""How every page is made of its template, and what of others' text may stand in it."""

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from cache_schema.common.terminal.visible import shortened, visible

LONGEST = 600
"""Characters of one text; labels of ten thousand must not bury the page."""


def rendered(template: str, content: dict[str, Any]) -> str:
    """A page as text; the same content gives the same text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)


def shown(value: Any) -> Any:
    """Text as the page shows it; numbers and our own markup as they are."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return shortened(visible(value), LONGEST)
    return value


def whole(text: str) -> Markup:
    """Text that is shown however long it is: a configuration, a command."""
    return escape(visible(text))


def encoded(data: bytes) -> Markup:
    """Bytes for a `data:` address."""
    return Markup(base64.b64encode(data).decode("ascii"))
