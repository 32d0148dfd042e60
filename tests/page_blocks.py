"""The fenced blocks of README and docs: which run, which are only read, and why.

A block runs unless a comment stands right above it, which no page shows: `<!-- not run: REASON -->`, or
`<!-- run by tests/... -->` for a test of its own. Blocks without a language show output.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NOTEBOOK = DOCS / "notebook.ipynb"
FROM_NOTHING = [DOCS / "tutorial.md", DOCS / "users" / "screening.md"]
"""Pages that run and make their own cohort."""
AFTER_THE_DEMO = [DOCS / "users" / "retrainer.md", DOCS / "users" / "study.md", DOCS / "detectors.md"]
"""Pages that run where `make demo` has been. Blocks of all other pages are marked."""
FENCE = re.compile(
    r"^(?: *<!-- (?P<comment>[^\n]*?) -->\n)?(?P<indent> *)```(?P<language>[\w{}]*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")
MARK = re.compile(r"not run: .+|run by tests/.+\.py")
PROMPT = re.compile(r"^\w*\$ ")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None
    """Why it does not run here, or None."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that its first line says it is."""
        found = FILE.match(self.text)
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        """Commands and Python without a mark, but for what is a file."""
        return self.reason is None and self.file is None and self.language in ("python", "console")

    def commands(self) -> Iterator[list[str]]:
        """What a console block types, as words without comments; output and what goes on is put together."""
        lines = self.text.replace("\\\n", " ").splitlines()
        for line in lines:
            if PROMPT.match(line):
                for part in PROMPT.sub("", line.strip()).split(" && "):
                    yield shlex.split(part, comments=True)


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page from top to bottom."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        reason = match["comment"] if MARK.fullmatch(match["comment"] or "") else None
        line = text[: match.start("language")].count("\n") + 1
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        found.append(Block(page, line, match["language"], body, reason))
    return found


def all_blocks() -> list[Block]:
    """Every block of every page."""
    return [block for page in PAGES for block in blocks_of(page)]


def cells_of(notebook: Path) -> list[str]:
    """The code of a notebook, cell by cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
