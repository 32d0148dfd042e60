"""The site builds without a warning, every page is reached, and nothing in it asks another host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from page_blocks import PAGES, ROOT, all_blocks

pytest.importorskip("furo")
pytest.importorskip("myst_parser")
pytestmark = pytest.mark.slow

ASKS = re.compile(
    r"""<(?:script|img|iframe|video|source)[^>]+src=["']?(?:https?:)?//"""
    r"""|<link[^>]+rel=["'](?:stylesheet|preconnect|preload|icon)["'][^>]+href=["']?(?:https?:)?//"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//|url\(["']?(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` makes."""
    place = tmp_path_factory.mktemp("site")
    (line,) = re.findall(r"-m (sphinx .*)", (ROOT / "Makefile").read_text())
    words = line.replace("build/", f"{place}/").split()
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return place / "docs"


def test_every_page_is_there_and_in_the_navigation(site):
    first = (site / "docs" / "index.html").read_text()
    for page in PAGES:
        made = site / page.relative_to(ROOT).with_suffix(".html")
        assert made.is_file()
        assert f'{made.stem}.html"' in first or page.stem == "index", f"{page} is in no list"
    assert 'url=docs/index.html"' in (site / "index.html").read_text()


def test_the_notebook_is_a_page(site):
    made = (site / "docs" / "notebook.html").read_text()
    assert "HeadClassifier" in made
    assert '"cell_type"' not in made


def test_marks_of_blocks_are_not_shown(site):
    marked = [block for block in all_blocks() if block.reason is not None]
    assert len(marked) > 30
    for block in marked:
        made = site / block.page.relative_to(ROOT).with_suffix(".html")
        assert str(block.reason) not in re.sub(r"<!--.*?-->", "", made.read_text(), flags=re.DOTALL)


def test_no_page_asks_another_host(site):
    files = [path for suffix in ("html", "css") for path in site.rglob(f"*.{suffix}")]
    assert len(files) > 40
    for path in files:
        found = ASKS.search(path.read_text())
        assert found is None, f"{path.relative_to(site)}: {found[0]}"
    scripts = "".join(path.read_text() for path in site.rglob("*.js"))
    assert "googletagmanager" not in scripts
    assert "google-analytics" not in scripts
    assert ASKS.search('<script src="https://cdn.example.org/a.js">')
