"""`references.bib`: of all that sentences may cite (`bibliography.bib`) what a text cites, and only that."""

import re
from functools import cache
from pathlib import Path

ALL = Path(__file__).with_name("bibliography.bib")
CITED = re.compile(r"@([a-z][a-z0-9]*)")
IN_BRACKETS = re.compile(r"\[(@[^\]]*)\]")
ENTRY = re.compile(r"^@\w+\{(\w+),.*?^\}$", re.DOTALL | re.MULTILINE)


@cache
def references() -> dict[str, str]:
    """Every entry as BibTeX, by key. `and others` stands where a list of authors is long."""
    return {found[1]: found[0] for found in ENTRY.finditer(ALL.read_text(encoding="utf-8"))}


def cited(text: str) -> list[str]:
    """Keys that a text cites in brackets, in order of first appearance.

    Example:
        >>> cited("by Holm [@holm1979simple], at a@b and again [@holm1979simple; @zarr]")
        ['holm1979simple', 'zarr']
    """
    found = [key for inside in IN_BRACKETS.findall(text) for key in CITED.findall(inside)]
    return [key for key in dict.fromkeys(found) if key in references()]


def bibtex(keys: list[str]) -> str:
    """Entries of these keys, by key."""
    return "\n\n".join(references()[key] for key in sorted(keys)) + "\n"
