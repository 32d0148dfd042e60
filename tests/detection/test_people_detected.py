"""Pages of held-out participants: whose, what they show, and the same bytes from the same run."""

import html
import html.parser
import re
import shutil
from hashlib import sha256
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml

from aggregate.common.telling import PeopleShown, most_telling, read_people
from aggregate.detect import present_detection
from aggregate.report.people.pages import file_names
from cache_schema.common.errors import ConfigError
from cache_schema.format.record import SourceFile


class Links(html.parser.HTMLParser):
    """Addresses of a page, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [str(value) for name, value in attrs if name in ("href", "src")]


def images_of(study, folder: Path) -> dict[int, SourceFile]:
    """An image for every volume but the last, as records name them."""
    found = {}
    for place, length in enumerate(study.lengths[:-1]):
        values = np.zeros((60, 70, length + 4), dtype=np.int16)
        values[5:50, 5:60] = 400
        values[10:20, 10:20] = 800 + place
        name = f"sub-p{place:03d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name)
        data = (folder / name).read_bytes()
        found[place] = SourceFile(path=name, bytes=len(data), mtime_ns=1, sha256=sha256(data).hexdigest())
    return found


@pytest.fixture
def detected(study, normal_store, tmp_path, monkeypatch):
    """A detection whose images lie beside a manifest."""
    monkeypatch.setattr("aggregate.common.telling.SHOWN", 12)
    (tmp_path / "images").mkdir()
    sources = images_of(study, tmp_path / "images")
    shutil.rmtree(tmp_path / "normal.zarr")
    normal_store(
        study.lengths,
        change=study.odd,
        record=lambda place: {"source": sources[place]} if place in sources else {},
    )
    table = pd.read_csv(tmp_path / "participants.tsv", sep="\t", keep_default_na=False)
    table.insert(1, "age", [50 + place for place in range(len(table))])
    table.insert(1, "full_name", [f"Somebody Else {place}" for place in range(len(table))])
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    file = study.write()
    data = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**data, "extract": {"input": {"manifest": "images/volumes.tsv"}}}))
    return study.run(file)


def pages_of(results) -> dict[str, str]:
    """Pages without what explains a word where it is first used."""
    found = sorted((results.folder / "participants").glob("*.html"))
    return {path.name: re.sub(r"</?abbr[^>]*>", "", path.read_text()) for path in found}


def test_pages_show_what_the_report_names_and_nothing_else_of_the_table(detected):
    pages = pages_of(detected)
    shows_slices(detected, pages)
    says_where_no_image_is(html.unescape(pages["p011.html"]))
    leads_to_its_neighbours(detected, pages)
    for text in pages.values():
        assert all(a.startswith("data:") or not re.match(r"[a-z]+:|//", a) for a in Links(text).addresses)
        assert len(text) < 2_000_000
    are_the_same_again_and_old_ones_go(detected)


def shows_slices(detected, pages):
    report = (detected.folder / "report.html").read_text()
    assert set(pages) == {"index.html", *(f"p{n:03d}.html" for n in (8, 9, 10, 11))} | {
        name for name in pages if name in {f"p{n:03d}.html" for n in range(8)}
    }
    assert len(pages) == 7  # four patients and two held-out controls, and their list
    names = [name for name in pages if name != "index.html"]
    for name in names:
        assert f"participants/{name}" in Links(report).addresses
        assert name in Links(pages["index.html"]).addresses
    page = html.unescape(pages["p008.html"])
    own = detected.scores
    own = own[(own["detector"] == "memory_bank") & (own["participant_id"] == "p008")]
    assert f"Score {own['score'].item():.4g} by memory_bank, higher than" in page
    # The odd tokens lie in slices 3 and 4 of 9, which are 2 mm apart from the vertex down.
    for height in (10, 8):
        assert f"<strong>{height} mm below the vertex</strong>" in page
    assert page.count('class="truth"') >= 2
    assert "score of memory_bank, without a unit" in page
    assert "diagnosis" in page
    assert "<dd>58</dd>" in page
    assert "Somebody Else" not in "".join(pages.values())
    assert "of the image itself" in page
    # The made-up canvas: rows run along i, from the participant's left; columns along j, from behind.
    assert re.findall(r'class="side">(\w)<', page)[:4] == ["P", "A", "L", "R"]


def says_where_no_image_is(page):
    assert "No image at hand (the image is not where it was embedded from" in page
    assert page.count('class="map"') >= 3
    assert 'class="image"' not in page


def leads_to_its_neighbours(detected, pages):
    order = [a for a in Links(pages["index.html"]).addresses if a.endswith(".html") and "report" not in a]
    for place, name in enumerate(order):
        addresses = Links(pages[name]).addresses
        assert {"../report.html", "index.html"} <= set(addresses)
        assert (order[place - 1] in addresses) == (place > 0)
        assert (order[(place + 1) % len(order)] in addresses) == (place + 1 < len(order))
    scores = detected.scores
    scores = scores[(scores["detector"] == "memory_bank") & scores["part"].isin(["test", "other"])]
    ranked = scores.sort_values("score", ascending=False)["participant_id"].tolist()
    assert order == [f"{name}.html" for name in ranked]


def are_the_same_again_and_old_ones_go(detected):
    before = pages_of(detected)
    present_detection(detected)
    assert pages_of(detected) == before
    present_detection(detected, PeopleShown(2))
    assert len(pages_of(detected)) == 3
    assert "2 of 6 participants have a page" in (detected.folder / "report.html").read_text()
    present_detection(detected, PeopleShown(0))
    assert not (detected.folder / "participants").exists()
    assert "one by one" not in (detected.folder / "report.html").read_text()


def test_reasons_take_turns():
    by_reason = {"high": ["a", "b", "c"], "low": ["c", "b", "a"], "normal": ["d"]}
    assert most_telling(by_reason, 3) == {"a": "high", "c": "low", "d": "normal"}
    assert most_telling(by_reason, 9) == {"a": "high", "c": "low", "d": "normal", "b": "high"}
    assert most_telling(by_reason, 0) == {}


@pytest.mark.parametrize("pages", ["-1", "many", "1.5", "", "٣", "123456789"])
def test_what_pages_may_be(pages):
    with pytest.raises(ConfigError, match="--pages takes a number"):
        read_people(pages, False)


def test_how_many_pages_there_are(monkeypatch):
    monkeypatch.setattr("aggregate.common.telling.SHOWN", 12)
    assert [read_people(pages, False).of(40) for pages in (None, "all", "0", "7", "99")] == [12, 40, 0, 7, 40]


def test_file_names_are_safe_and_never_shared():
    people = ["sub-01", "Sub-01", "a/b", "a-b", "../x", "index", "ü", "", "x" * 200, "a\x00b"]
    names = file_names(people)
    assert len({name.casefold() for name in names.values()}) == len(people)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*\.html", name) for name in names.values())
    assert names["a-b"] == "a-b.html"
    assert names["index"] != "index.html"
    assert max(map(len, names.values())) < 100
