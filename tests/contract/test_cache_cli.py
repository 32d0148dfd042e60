"""`slicecache cache`: words for people, one JSON object for programs, exit codes for both."""

import contextlib
import io
import json

import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.cli import cache
from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.common.terminal.command import as_command
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter


@pytest.fixture
def location(tmp_path):
    location = str(tmp_path / "store.zarr")
    header = example_header()
    writer = StoreWriter.open(location, header, [example_row(example_key(i), 7) for i in range(4)])
    for i in range(2):
        writer.commit(example_draft(example_key(i), 5 + i), example_arrays(header, 5 + i, i))
    writer.fail(
        Failure(participant_id="p002", session_id="", volume_id="T1w", path="c.nii", reason="it is RGB")
    )
    return location


def call(*arguments):
    """The exit code and standard output; errors are raised."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = as_command("cache", cache).main(args=list(arguments), standalone_mode=False)
    return code, printed.getvalue()


def test_inspect_json(location):
    code, out = call("inspect", location, "--json")
    found = json.loads(out)
    store = open_store(location)
    assert code == 0
    assert out.count("\n") == 1
    expected = {
        "content_digest": store.content_digest(),
        "fingerprint": store.header.fingerprint.digest,
        "numerics": store.header.numerics.digest,
        "sealed": False,
        "n_volumes": 2,
        "n_failed": 1,
        "n_planned": 4,
        "n_pending": 1,
        "n_participants": 2,
        "n_slices": 11,
        "slices_per_volume": [5, 6],
    }
    assert {name: found[name] for name in expected} == expected
    assert [(a["name"], a["kept_bytes"]) for a in found["arrays"]] == [("cls", 154), ("patch_mean", 154)]
    assert found["size"]["parts"]["cls"]["files"] == 3
    assert found["failures"][0]["reason"] == "it is RGB"


def test_inspect_words(location):
    _, out = call("inspect", location)
    for text in (
        "2 of 4 planned are committed; 1 failed, 1 not done yet",
        "5 to 6 per volume",
        "weights sha256",
        "percentile, high 99.5",
        "content digest",
        "c.nii: it is RGB",
    ):
        assert text in out


def test_inspect_of_an_empty_store(tmp_path):
    StoreWriter.open(str(tmp_path / "s"), example_header(), [])
    assert "0 of 0 planned" in call("inspect", str(tmp_path / "s"))[1]


def test_verify_and_its_exit_code(location):
    code, out = call("verify", location)
    digest = open_store(location).content_digest()
    assert (code, out.splitlines()[-1]) == (0, f"all right, content digest {digest}")
    assert json.loads(call("verify", location, "--json")[1])["content_digest"] == digest
    with open(f"{location}/patch_mean/c.1.0.0", "r+b") as file:
        file.write(b"\x01\x02")
    code, out = call("verify", location)
    assert code == 1
    assert "p001/T1w  patch_mean  chunk patch_mean/c.1.0.0 does not match its checksum" in out
    assert "p001/T1w: extract this volume again" in out
    assert "duplicated volumes" not in out
    assert "content digest" not in out
    assert "duplicated volumes" in call("verify", location, "--full")[1]
    code, out = call("verify", location, "--json")
    assert code == 1
    assert json.loads(out)["content_digest"] is None
    problem = json.loads(out)["problems"][0]
    assert (problem["volume"], problem["array"]) == ("p001/T1w", "patch_mean")


def test_seal(location):
    with pytest.raises(StoreError, match="not complete"):
        call("seal", location)
    header = example_header()
    writer = StoreWriter.open(location, header, [])
    writer.commit(example_draft(example_key(3), 7), example_arrays(header, 7))
    code, out = call("seal", location, "--json")
    assert code == 0
    assert json.loads(out) == {
        "sealed": True,
        "n_volumes": 3,
        "content_digest": open_store(location).content_digest(),
    }
    assert "sealed" in call("inspect", location)[1]


def test_pack_unpack_and_remove(location):
    header = example_header()
    writer = StoreWriter.open(location, header, [])
    writer.commit(example_draft(example_key(3), 7), example_arrays(header, 7))
    digest = open_store(location).content_digest()
    code, out = call("pack", location, "--shard-volumes", "2", "--json")
    assert (code, json.loads(out)["content_digest"]) == (0, digest)
    assert "packed" in call("inspect", location)[1]
    assert json.loads(call("inspect", location, "--json")[1])["packed"] is True
    code, out = call("remove", location, "p003")
    assert code == 0
    assert "removed" in out
    assert "p003/T1w" in out
    assert "verify --full" in out
    assert call("verify", location, "--full")[0] == 0
    code, out = call("unpack", location)
    assert code == 0
    assert open_store(location).content_digest() in out
    assert json.loads(call("remove", location, "p001", "--json")[1]) == {
        "removed": ["p001/T1w"],
        "sealed": True,
    }
    assert [entry.key for entry in open_store(location).entries] == [example_key(0)]


def test_deep_names_its_successor(location):
    with pytest.raises(ConfigError, match=r"slicecache recompute .* --slices 7"):
        call("verify", location, "--deep", "7")


def test_what_a_stranger_wrote_does_not_act_on_the_terminal(tmp_path):
    location, evil = str(tmp_path / "store.zarr"), VolumeKey("p\x1b[2J\u202e1", "", "T1w")
    header = example_header()
    writer = StoreWriter.open(location, header, [example_row(evil, 5)])
    writer.commit(example_draft(evil, 5), example_arrays(header, 5))
    writer.fail(Failure(participant_id="p2", session_id="", volume_id="", path="a", reason="\x1b[31m\u202ex"))
    (tmp_path / "store.zarr" / "cls" / "c.0.0.0").unlink()
    for verb in ("inspect", "verify"):
        _, out = call(verb, location)
        assert "\\x1b[" in out
        assert not {"\x1b", "\u202e"} & set(out)
