"""Pages of an explanation: each map beside its controls, a title that says what it is worth."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up_explained import asked_of, folded, knowing_state, planted
from made_up_store import example_arrays, example_draft, example_header, example_row

import slicecache
from aggregate.explain.controls import CENTRE, OTHER, RANDOM
from aggregate.explain.explain import explain_bags
from aggregate.explain.methods.attention import AttentionMap
from aggregate.explain.methods.leave_out import LeaveOut
from aggregate.explain.people import RIGHT, WRONG, people_of, slices_of
from cache_schema.format.identity import VolumeKey
from cache_schema.store.writer import StoreWriter

N = 14


@pytest.fixture(scope="module")
def people():
    bags, y, where = planted(24, 3)
    asked = asked_of(folded(24, 3, [knowing_state()] * 3), bags, y, [LeaveOut(), AttentionMap()])
    return people_of(explain_bags(asked)), y, where


def test_everybody_is_scored_by_who_did_not_see_them_and_mapped_beside_controls(people):
    found, y, where = people
    assert found.scores[y == 1].mean() > found.scores[y == 0].mean() + 1
    bag = int(np.flatnonzero(y == 1)[0])
    leave_out, attention = found.found.asked.methods
    maps = found.maps(bag, leave_out)
    assert set(maps.controls) == {RANDOM, OTHER, CENTRE}
    assert int(np.argmax(maps.own)) == where[bag]
    assert maps.controls[CENTRE].max() == pytest.approx(np.abs(maps.own).max())
    assert (maps.low <= maps.own).all()
    assert (maps.own <= maps.high).all()
    even = found.maps(bag, attention)
    for values in (even.own, even.controls[RANDOM], even.controls[CENTRE]):
        assert values.mean() == pytest.approx(1)  # times the number of slices: 1 is even


def test_the_most_telling_are_right_wrong_and_unsure(people):
    found, y, _ = people
    told = found.chosen(9)
    assert len(told) == 9
    scores = [found.scores[found.bags()[name]].mean() for name in told]
    assert scores == sorted(scores, reverse=True)
    for name, why in told.items():
        (bag,) = found.bags()[name]
        agrees = (found.scores[bag] > 0) == (y[bag] == 1)
        assert agrees or why != RIGHT
        assert not agrees or why != WRONG
    assert len(found.chosen(99)) == 24


def test_slices_of_a_bag_of_two_volumes_are_found_in_their_volumes():
    bag_of_entry = np.array([0, 1, 1])
    assert slices_of(bag_of_entry, [2, 1, 3], 1) == [(1, 0), (2, 0), (2, 1), (2, 2)]


def run(*words: str | Path) -> int:
    return slicecache.guarded(slicecache.cli.main, [str(word) for word in words])


@pytest.mark.slow
def test_a_page_for_each_of_them_with_titles_and_slices(tmp_path):
    header = example_header(("cls",), dim=6, slice_chunk=9)
    keys = [VolumeKey(f"sub-{i:02d}", "", "T1w") for i in range(N)]
    writer = StoreWriter.open(str(tmp_path / "a.zarr"), header, [example_row(key, 9) for key in keys])
    for number, key in enumerate(keys):
        writer.commit(example_draft(key, 9), example_arrays(header, 9, number))
    rows = [f"{key.participant_id}\t{'ab'[i % 2]}\t{60 + i}\tJane {i}" for i, key in enumerate(keys)]
    (tmp_path / "a.tsv").write_text("\n".join(["participant_id\tdiagnosis\tage\tfull_name", *rows, ""]))
    section = {"cohort": "a.tsv", "target": "diagnosis", "train": {"epochs": 4}, "folds": {"n": 3}}
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": {**section, "baselines": []}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(data))
    assert run("train", tmp_path / "p.yaml") == 0
    words = ("explain", tmp_path / "run", "--no-maps", "--method", "leave_out", "--method", "attention")
    assert run(*words, "--pages", "3") == 0
    folder = tmp_path / "run" / "explain"
    pages = {path.name: path.read_text() for path in (folder / "participants").glob("*.html")}
    assert len(pages) == 4
    assert "3 of 14 participants have a page" in (folder / "report.html").read_text()
    plain = {name: re.sub(r"</?abbr[^>]*>", "", html.unescape(text)) for name, text in pages.items()}
    shown = {name: text for name, text in plain.items() if name != "index.html"}
    for text in shown.values():
        assert "leave a slice out: not interpretable" in text  # labels say nothing here
        assert "attention: not interpretable" in text
        assert (
            "No image at hand (the image is not where it was embedded from; the store holds no preview)"
            in text
        )
        assert text.count('class="slice"') == 3
        assert "Jane" not in text
    assert run(*words, "--pages", "3") == 0
    assert {name: (folder / "participants" / name).read_text() for name in pages} == pages
    assert run("report", tmp_path / "run") == 0
    assert {name: (folder / "participants" / name).read_text() for name in pages} == pages
    assert "3 of 14 participants have a page" in (folder / "report.html").read_text()
    assert run(*words, "--pages", "some") == 2
