"""Pages of participants: whose, under which names, in which order, each with its neighbours.

They lie in `participants/` beside the report. Those of an earlier run go: who is not on this run's list must
not pass for one of its participants.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aggregate.common.artefacts import write_text
from aggregate.common.run_folder import INDEX, PARTICIPANTS, REPORT
from aggregate.report.pages.rendering import rendered
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.progress import counting

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
LISTED = 40
"""Pages that a report links; the list of all is behind one more link."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A participant in the list of pages."""

    why: str
    """Why there is a page."""
    score: str
    """In a word or two."""


def file_names(participants: Iterable[str]) -> dict[str, str]:
    """A file name for everybody, safe in any file system and address.

    An id of letters, digits, `_` and `-` is its own; another, or one that differs from its neighbour's by the
    case of a letter alone, gets eight digits of its hash.
    """
    people = list(participants)
    folded = Counter(name.casefold() for name in people)
    found = {}
    for name in people:
        plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:60].lstrip("_-") or "participant"
        alone = SAFE.fullmatch(name) and folded[name.casefold()] == 1 and name.casefold() != "index"
        found[name] = f"{name if alone else f'{plain}-{sha256(name.encode()).hexdigest()[:8]}'}.html"
    return found


def viewer_file(page: str, number: int) -> str:
    """The name of the viewer of one of a participant's volumes; no page's name has a point before `.html`."""
    return f"{page.removesuffix('.html')}.viewer-{number}.html"


def write_pages(
    folder: Path,
    kind: str,
    people: Mapping[str, Listed],
    total: int,
    content: Callable[[str], dict[str, Any]],
) -> dict[str, Any]:
    """Write a page for everybody, and their list.

    Args:
        folder: The verb's.
        kind: What the run is called above the heading.
        people: In the order of the pages.
        total: Participants who could have one.
        content: Of a participant's page, but for what leads elsewhere; writes viewers beside it.

    Returns:
        What the report says of them.

    Raises:
        ConfigError: If the folder is a link.
    """
    remove_pages(folder)
    place = folder / PARTICIPANTS
    place.mkdir(parents=True, exist_ok=True)
    files, names = file_names(people), list(people)
    with counting("pages of participants", len(names)) as count:
        for number, name in enumerate(names):
            around = {
                "kind": kind,
                "report": f"../{REPORT}",
                "list": INDEX,
                "previous": _neighbour(files, names, number - 1),
                "next": _neighbour(files, names, number + 1),
                "place": f"{number + 1} of {len(names)}",
                "why": people[name].why,
            }
            write_text(place / files[name], rendered("person.html", {**around, **content(name)}))
            count()
    rows = [(name, quote(files[name]), people[name].score, people[name].why) for name in names]
    write_text(
        place / INDEX,
        rendered("people.html", {"kind": kind, "report": f"../{REPORT}", "rows": rows, "total": total}),
    )
    linked = [(name, f"{PARTICIPANTS}/{address}", score, why) for name, address, score, why in rows[:LISTED]]
    return {"rows": linked, "list": f"{PARTICIPANTS}/{INDEX}", "pages": len(names), "total": total}


def remove_pages(folder: Path) -> None:
    """Take an earlier run's pages away.

    Raises:
        ConfigError: If the folder is a link.
    """
    place = folder / PARTICIPANTS
    if place.is_symlink():
        raise ConfigError(f"{str(place)!r} is a link: pages would be written and removed elsewhere")
    for path in place.glob("*.html"):
        path.unlink()
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()


def _neighbour(files: Mapping[str, str], names: list[str], place: int) -> tuple[str, str] | None:
    """Name and address of the page before or after."""
    if not 0 <= place < len(names):
        return None
    return names[place], quote(files[names[place]])
