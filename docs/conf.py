"""The site: README, docs/, the format and the benchmarks as they lie in the repository, built by `make docs`.

Sources are found from the repository's root, so that a link between pages is the same here as where the
repository is read. Nothing that is built asks another host for anything: no fonts, no scripts, no counters.
"""

import json
from pathlib import Path
from typing import Any

from myst_parser.sphinx_ import Parser
from sphinx.application import Sphinx

project = "slicecache"
author = copyright = "the slicecache authors"

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "cache_schema/SPEC.md",
    "docs/**.md",
    "docs/notebook.ipynb",
]

myst_heading_anchors = 6  # as the headings of a page are linked to where the repository is read
suppress_warnings = ["myst.header"]  # a page may begin below its title with a heading of any level
nitpicky = True

html_theme = "furo"
html_title = "slicecache"
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


class Notebook(Parser):  # type: ignore[misc, unused-ignore]
    """A notebook as a page: its text as it is, its code as blocks."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Put the cells one below another."""
        cells = json.loads(inputstring)["cells"]
        texts = ["".join(cell["source"]) for cell in cells]
        code = [cell["cell_type"] == "code" for cell in cells]
        blocks = [f"```python\n{text}\n```" if ran else text for text, ran in zip(texts, code, strict=True)]
        super().parse("\n\n".join(blocks), document)


def lead_to_the_index(app: Sphinx, failed: Exception | None) -> None:
    """Make the folder itself open the first page."""
    if failed is None:
        page = f'<meta http-equiv="refresh" content="0; url={root_doc}.html"><title>{project}</title>'
        (Path(app.outdir) / "index.html").write_text(f'<!doctype html><html lang="en">{page}</html>')


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(Notebook)
    app.connect("build-finished", lead_to_the_index)
    return {"parallel_read_safe": True}
