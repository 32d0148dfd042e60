"""A store whose extraction refused volumes is sound: they have a failure and no row."""

import json
import os
from pathlib import Path

import pytest
from attacks.scene import Scene, run
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.format.canonical import canonical_json
from cache_schema.format.layout import failure_name
from cache_schema.format.record import Failure
from cache_schema.move.pack import pack, unpack
from cache_schema.move.remove import remove_participant
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

HEADER = example_header()


def failure(number: int) -> Failure:
    key = example_key(number)
    names = dict(zip(("participant_id", "session_id", "volume_id"), key.as_list(), strict=True))
    return Failure(**names, path="sha256:00", reason="4D with 20 volumes")


@pytest.fixture
def location(tmp_path: Path) -> str:
    """Two volumes of three committed, one of the table failed, two refused at planning."""
    place = str(tmp_path / "store.zarr")
    keys = [example_key(number) for number in range(3)]
    writer = StoreWriter.open(place, HEADER, [example_row(key, 5) for key in keys])
    for number, key in enumerate(keys[:2]):
        writer.commit(example_draft(key, 5), example_arrays(HEADER, 5, number))
    for number in (2, 7, 8):
        writer.fail(failure(number))
    return place


def test_refused_volumes_are_no_damage_in_any_form(location):
    for change in (lambda place: None, seal, pack, unpack):
        change(location)
        for full in (False, True):
            verification = verify_store(location, full=full)
            assert verification.problems == ()
        assert len(open_store(location).failures()) == 3


def test_a_refused_volume_that_is_mended_has_a_row_and_no_failure(location):
    key = example_key(7)
    writer = StoreWriter.open(location, HEADER, [example_row(key, 5)])
    writer.commit(example_draft(key, 5), example_arrays(HEADER, 5, 7))
    assert verify_store(location, full=True).ok
    assert [each.participant_id for each in open_store(location).failures()] == ["p002", "p008"]


def put(location: str, name: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(f"{location}/{name}"), exist_ok=True)
    Path(f"{location}/{name}").write_bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        (failure_name(example_key(9)), canonical_json(failure(7).model_dump(mode="json")), "another volume"),
        ("failures/notes.txt", b"x", "cannot be read"),
        (failure_name(example_key(9)), b"{", "cannot be read"),
        (failure_name(example_key(9)), b"", "cannot be read"),
        (
            failure_name(example_key(0)),
            canonical_json(failure(0).model_dump(mode="json")),
            "as failed as well",
        ),
    ],
)
def test_nonsense_among_failures_is_still_caught(location, name, data, says):
    put(location, name, data)
    (problem,) = verify_store(location, full=True).problems
    assert says in problem.problem
    assert problem.array == "failures"


def test_every_failure_that_is_wrong_is_named(location):
    for number in (10, 11, 12):
        put(location, failure_name(example_key(number)), b"{")
    assert len(verify_store(location).problems) == 3


def test_a_preview_without_a_row_is_still_a_stray(location):
    put(location, f"previews/{'ab' * 32}.png", tiny_png(1))
    (problem,) = verify_store(location, full=True).problems
    assert "a preview of a volume that the table does not have" in problem.problem


def test_removing_a_participant_that_was_only_refused_leaves_nothing(location):
    assert remove_participant(location, "p007").volumes == (example_key(7),)
    assert [each.participant_id for each in open_store(location).failures()] == ["p002", "p008"]
    assert not any("p007" in file.read_text() for file in Path(location).rglob("failures/*"))
    assert remove_participant(location, "p007").volumes == ()


def test_after_an_ordinary_extraction_of_odd_files(shared_data, tmp_path):
    scene = Scene.below(tmp_path)
    odd = sorted((shared_data / "odd").iterdir())
    odd.remove(shared_data / "odd" / "ras.hdr")  # is ras.img, and twice is once too often
    rows = ["participant_id\tpath", *(f"{path.name}\t{path}" for path in odd)]
    (scene.folder / "volumes.tsv").write_text("\n".join(rows) + "\n")
    (scene.folder / "pipeline.yaml").write_text(
        "run: {folder: run}\ncache: {store: run/cache.zarr}\n"
        "extract: {input: {manifest: volumes.tsv}, canvas: 28, workers: 0, dtype: float32,"
        " backbone: {kind: untrained, size: tiny}}\n"
    )
    answer = run("extract", [str(scene.folder / "pipeline.yaml"), "--json"])
    assert answer.code == 1
    failures = json.loads(answer.out)["failures"]
    assert {Path(each["path"]) for each in failures} < set(odd)  # as they were given
    table = (scene.folder / "run" / "failures.tsv").read_text()
    assert "sha256:" not in table
    store = scene.folder / "run" / "cache.zarr"
    assert all(each.path.startswith("sha256:") for each in open_store(store).failures())
    for verb in ("cache verify", "cache seal", "cache verify", "cache pack", "cache verify"):
        answer = run(verb, [str(store), *(["--full"] if verb == "cache verify" else [])])
        assert answer.code == 0, answer.text
        assert verb != "cache verify" or "all right" in answer.out
