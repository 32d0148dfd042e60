"""The end of an extraction by many: nothing is sealed that is short, nothing packed that is not whole."""

import json

import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.format.record import Failure
from cache_schema.move.finish import finish_store
from cache_schema.move.pack import unpack
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from slicecache import cli, guarded


@pytest.fixture
def begun(tmp_path):
    """A store of four planned volumes, of which the first three are committed."""
    header = example_header(("cls", "patch_mean"), slice_chunk=5)
    rows = [example_row(example_key(place), 3) for place in range(4)]
    writer = StoreWriter.open(str(tmp_path / "cache.zarr"), header, rows)
    for place in range(3):
        writer.commit(example_draft(example_key(place), 3), example_arrays(header, 3, place))
    return writer


def commit_last(writer: StoreWriter) -> None:
    writer.commit(example_draft(example_key(3), 3), example_arrays(writer.header, 3, 3))


def fail_last(writer: StoreWriter) -> None:
    key = example_key(3)
    names = {"participant_id": key.participant_id, "session_id": key.session_id, "volume_id": key.volume_id}
    writer.fail(Failure(**names, path="x.nii", reason="it is empty", when="2026-01-01T00:00:00+00:00"))


def test_what_nobody_came_to_is_named_and_nothing_sealed(begun):
    done = finish_store(begun.location)
    assert (done.ok, done.missing, done.sealed, done.packed) == (False, (example_key(3),), False, False)
    assert "1 missing: the same extraction again" in done.in_words()
    assert str(example_key(3)) in done.in_words()
    commit_last(begun)  # and it can be written to
    assert finish_store(begun.location).ok


def test_a_whole_store_is_sealed_and_packed_with_the_same_digest(begun):
    commit_last(begun)
    digest = open_store(begun.location).content_digest()
    done = finish_store(begun.location)
    assert (done.ok, done.sealed, done.packed, done.content_digest) == (True, True, True, digest)
    assert open_store(begun.location).sealed
    again = finish_store(begun.location)
    assert again == done


def test_a_failed_volume_leaves_the_rest_sealed_and_open_for_it(begun):
    fail_last(begun)
    done = finish_store(begun.location)
    assert (done.ok, done.sealed, done.packed) == (False, True, False)
    assert "it is empty" in done.in_words()
    commit_last(begun)
    assert finish_store(begun.location).ok


def test_a_damaged_volume_is_named_and_nothing_sealed(begun, tmp_path):
    commit_last(begun)
    chunk = next(
        path for path in sorted((tmp_path / "cache.zarr" / "cls").rglob("*")) if path.name.startswith("c")
    )
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    done = finish_store(begun.location)
    assert (done.ok, done.sealed, done.packed) == (False, False, False)
    assert "damaged" in done.in_words()


def test_without_packing_it_stays_writable(begun):
    commit_last(begun)
    done = finish_store(begun.location, pack=False)
    assert (done.ok, done.sealed, done.packed) == (True, True, False)
    with pytest.raises(Exception, match="not packed"):
        unpack(begun.location)


def test_the_command_ends_with_1_until_all_is_there(begun, capsys):
    assert guarded(cli.main, ["cache", "finish", begun.location, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["planned"], said["committed"], len(said["missing"])) == (4, 3, 1)
    commit_last(begun)
    assert guarded(cli.main, ["cache", "finish", begun.location, "--no-pack"]) == 0
    assert "4 of 4 volumes, sealed" in capsys.readouterr().out
