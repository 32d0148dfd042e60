"""Every page that the house makes, looked at by a browser: a desktop, a phone, and in the dark."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from browsing import VIEWS, View, browser, wrong_with

import slicecache
from aggregate.report.pages.outline import CONTENTS, with_contents

MOST_BYTES = 10_000_000
PAGES = (
    *(
        "index.html",
        "train/report.html",
        "train/checklist.html",
        "ablate/report.html",
        "ablate/checklist.html",
    ),
    *("detect/report.html", "detect/checklist.html", "evaluate/report.html", "evaluate/checklist.html"),
    *("explain/report.html", "explain/participants/index.html", "detect/participants/index.html"),
)
VIEWER = ("--viewer",) if find_spec("ipyniivue") else ()
pytestmark = pytest.mark.slow


def told(*words: str | Path) -> None:
    assert slicecache.guarded(slicecache.cli.main, [str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder in which every verb has ended, from images on; six people are kept for `evaluate`."""
    folder = tmp_path_factory.mktemp("pages")
    told("simulate", folder / "cohort", "--participants", 18, "--effect", "lesion", "--seed", 0)
    head, *rows = (folder / "cohort" / "participants.tsv").read_text().splitlines()
    for name, own in (("inside", rows[6:]), ("outside", rows[:6])):
        (folder / f"{name}.tsv").write_text("\n".join([head, *own, ""]))
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(PIPELINE))
    for verb in ("extract", "train", "ablate"):
        told(verb, folder / "pipeline.yaml")
    told("detect", folder / "pipeline.yaml", "--pages", 2, *VIEWER)
    told("explain", folder / "run", "--no-maps", "--pages", 2)
    outside = ("--store", folder / "cohort.zarr", "--cohort", folder / "outside.tsv")
    told("evaluate", folder / "run", *outside)
    return folder / "run"


PIPELINE: dict[str, Any] = {
    "run": {"folder": "run"},
    "cache": {"store": "cohort.zarr"},
    "extract": {
        "input": {"bids": "cohort", "suffix": "T1w"},
        "slices": {"kind": "every", "step_mm": 15},
        "backbone": {"kind": "untrained", "size": "tiny", "seed": 0},
        "tokens": ["cls", "patches"],
    },
    "aggregate": {
        "cohort": "inside.tsv",
        "target": {"column": "diagnosis", "positive": "patient"},
        "tokens": "cls",
        "train": {"epochs": 6},
        "folds": {"n": 3, "repeats": 2},
        "ablate": {
            "configurations": {"mean_pool": {"head.kind": "mean"}, "abmil": {"head.kind": "attention"}},
            "grid": {"from": "abmil", "train.learning_rate": [0.001, 0.003], "head.hidden": [4, 8]},
            "primary": [["abmil", "mean_pool_logistic"]],
            "repeats": 1,
        },
        "detect": {
            "reference": {"column": "diagnosis", "value": "control"},
            "detectors": [{"kind": "mahalanobis"}, {"kind": "dpmm", "components": 20, "epochs": 3}],
        },
    },
}
"""One of everything that pages show."""


def pages_of(run: Path) -> list[Path]:
    """Every page, and of those of participants, which are made alike, the list, one a verb, and a viewer."""
    people = [*run.glob("*/participants/*.html")]
    viewers = sorted(path for path in people if "viewer" in path.stem)
    some = [
        sorted(path for path in people if path.parent == place and path not in viewers)[:2]
        for place in {path.parent for path in people}
    ]
    return sorted(({*run.rglob("*.html")} - {*people}).union(*some, viewers[:1]))


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as one:
        yield one


def test_every_page_is_there_and_light_enough(run: Path) -> None:
    there = {str(path.relative_to(run)) for path in run.rglob("*.html")}
    assert there >= set(PAGES)
    assert {name: size for name in there if (size := (run / name).stat().st_size) >= MOST_BYTES} == {}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_nothing_is_wrong_with_any_page(opened: Any, run: Path, view: View) -> None:
    found = {str(path.relative_to(run)): wrong_with(opened, path, view) for path in pages_of(run)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_a_page_that_is_wrong_is_found_to_be(opened: Any, run: Path, tmp_path: Path) -> None:
    """The test above can fail: by contrast, width, network, console and small text."""
    wrongs = {
        "color-contrast": '<p style="color:#ccc;background:#fff">pale</p>',
        "px wide": '<p style="width:3000px">wide</p>',
        "request": '<img alt="" src="http://127.0.0.1:9/picture.png">',
        "console": "<script>console.error('no')</script>",
        "in a figure": '<svg width="100" viewBox="0 0 100 100"><text y="9" font-size="6">small</text></svg>',
    }
    text = (run / "index.html").read_text()
    path = tmp_path / "page.html"
    for word, wrong in wrongs.items():
        path.write_text(text.replace("</main>", f"{wrong}</main>"))
        assert word in "; ".join(wrong_with(opened, path, VIEWS[1]))


def test_a_page_is_walked_by_the_keyboard(opened: Any, run: Path) -> None:
    page = opened.new_page()
    page.goto((run / "train" / "report.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "report"
    links = page.eval_on_selector_all(
        "nav a", "links => links.map(link => link.getAttribute('href').slice(1))"
    )
    assert len(links) > 5
    assert page.evaluate("ids => ids.every(id => document.getElementById(id).tagName == 'H2')", links)
    page.close()


@pytest.mark.parametrize("width", [700, 1200, 1600])
def test_the_list_of_contents_does_not_scroll_sideways(opened: Any, tmp_path: Path, width: int) -> None:
    headings = "".join(f"<h2>A heading of some length, number {n}</h2>" for n in range(12))
    style = (Path(slicecache.__file__).parent / "aggregate/report/pages/templates/style.css").read_text()
    path = tmp_path / "page.html"
    path.write_text(f"<style>{style}</style><body>{with_contents(f'<nav>{CONTENTS}</nav>{headings}')}</body>")
    page = opened.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    wide, there = page.eval_on_selector("nav ol", "list => [list.scrollWidth, list.clientWidth]")
    assert wide <= there
    page.close()


def test_on_paper_there_is_no_list_of_links_and_nothing_is_dark(
    opened: Any, run: Path, tmp_path: Path
) -> None:
    page = opened.new_context(color_scheme="dark").new_page()
    page.goto((run / "train" / "report.html").as_uri())
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 22, 29)"
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not page.is_visible("nav")
    page.context.close()
