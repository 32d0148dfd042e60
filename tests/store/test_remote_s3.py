"""Against a server that speaks S3: it reads, trains and predicts as a folder; stopped, and started again."""

import json
from pathlib import Path

import numpy as np
import pytest
from attacks.scene import ARCHIVE, Answer, run
from swift_server import Swift, swift, swift_python, upload

import slicecache as sc
from cache_schema.files.remote.objects import RemoteObjects

pytestmark = pytest.mark.slow

STORES = ("sealed.zarr", "packed.zarr", "unsealed.zarr")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Swift with the archive's stores in the bucket `cohort`."""
    python = swift_python()
    if python is None:
        pytest.skip("OpenStack Swift is not there; `make .venv-s3/.done` installs it beside")
    with (
        swift(tmp_path_factory.mktemp("swift"), python) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in {**server.environment, "SLICECACHE_REMOTE_RETRIES": "1"}.items():
            environment.setenv(name, value)
        server.bucket("cohort")
        for name in STORES:
            upload(ARCHIVE / name, f"s3://cohort/v1/{name}")
        yield server


def of(name: str) -> str:
    return f"s3://cohort/v1/{name}"


def asked(verb: str, *words: str) -> Answer:
    answer = run(verb, words)
    assert "Traceback" not in answer.text
    return answer


def said(verb: str, *words: str) -> tuple[int, str]:
    """How it ended and its results; what it warns of names the place."""
    answer = asked(verb, *words)
    return answer.code, answer.out


@pytest.mark.parametrize("name", STORES)
def test_it_inspects_and_verifies_as_a_folder(server, name):
    here, there = (
        json.loads(asked("cache inspect", place, "--json").out) for place in (str(ARCHIVE / name), of(name))
    )
    apart = {"location", "size"}
    assert {k: v for k, v in here.items() if k not in apart} == {
        k: v for k, v in there.items() if k not in apart
    }
    found = asked("cache verify", "--full", of(name))
    assert found.code == 0, found.text
    assert "lists nothing" not in found.text


@pytest.mark.parametrize("name", STORES)
def test_it_predicts_as_from_a_folder(server, name):
    bundle = str(ARCHIVE / "train")
    assert said("predict", bundle, of(name)) == said("predict", bundle, str(ARCHIVE / name))


def test_it_opens_in_python(server):
    here, there = sc.open(ARCHIVE / "sealed.zarr"), sc.open(of("sealed.zarr"))
    np.testing.assert_array_equal(there.tokens("cls").x, here.tokens("cls").x)
    entry = here.reader.entries[0]
    np.testing.assert_array_equal(
        there.reader.read_slices("patches", entry, [1]), here.reader.read_slices("patches", entry, [1])
    )


@pytest.mark.parametrize("name", ["sealed.zarr", "packed.zarr"])
def test_it_trains_as_from_a_folder(server, tmp_path, name):
    for run_folder, place in (("here", str(ARCHIVE / name)), ("there", of(name))):
        answer = asked(
            "train",
            str(ARCHIVE / "pipeline.yaml"),
            *("--set", f"cache.store={place}", "--set", f"run.folder={tmp_path / run_folder}"),
        )
        assert answer.code == 0, answer.text
    here, there = (
        Path(tmp_path / folder / "train/predictions.csv").read_bytes() for folder in ("here", "there")
    )
    assert here == there


def test_verify_sees_what_lies_beside(server):
    import obstore
    from obstore.store import from_url

    place = from_url(of("unsealed.zarr"), client_options={"allow_http": True})
    name = "cls/c.9.0.0"
    obstore.put(place, name, b"somebody's")
    found = asked("cache verify", "--full", of("unsealed.zarr"))
    obstore.delete(place, name)
    assert (found.code, "data without a record" in found.text) == (1, True)


def test_what_is_wrong_is_one_line(server, monkeypatch):
    answer = asked("cache inspect", "s3://cohort/v1/absent.zarr")
    assert (answer.code, "no store at 's3://cohort/v1/absent.zarr'" in answer.err) == (2, True)
    answer = asked("cache inspect", "s3://elsewhere/sealed.zarr")
    assert (answer.code, "there is no such bucket" in answer.err) == (2, True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a wrong one")
    answer = asked("cache verify", of("sealed.zarr"))
    assert (answer.code, "403 Forbidden" in answer.err, "a wrong one" in answer.text) == (3, True, False)


def test_stopped_in_the_middle_and_started_again(server: Swift, monkeypatch):
    asks, after = RemoteObjects._whole, iter(range(5))

    def stopping(objects: RemoteObjects, name: str) -> object:
        if "/c." in name and next(after, None) is None:
            server.stop()
        return asks(objects, name)

    words = (str(ARCHIVE / "train"), of("sealed.zarr"))
    with monkeypatch.context() as patched:
        patched.setattr(RemoteObjects, "_whole", stopping)
        answer = asked("predict", *words)
    assert answer.code == 3
    assert len(answer.err.splitlines()) == 1
    assert "slicecache: cannot read 's3://cohort/v1/sealed.zarr/cls/c." in answer.err
    server.start()
    assert said("predict", *words) == said("predict", words[0], str(ARCHIVE / "sealed.zarr"))
