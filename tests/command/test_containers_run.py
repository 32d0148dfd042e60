"""The container's entry point: what BIDS-Apps are called with, on a tree of ten participants."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from cache_schema.store.reader import open_store
from extract.backbones.checkpoint.lock import NAME, BackboneLock, LockedFile, file_sha256
from extract.backbones.dinov2 import write_example
from extract.backbones.weights import read_weights, weights_digest

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests" / "data" / "v1"
CONSTANT = "sub-09"
"""The one of the archive's images that cannot be embedded."""


@pytest.fixture(scope="module")
def app():
    """`containers/run.py`, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("containers_run", ROOT / "containers" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def given(tmp_path, monkeypatch):
    """IN, OUT and a pipeline whose own places are wrong here."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ARCHIVE / "images", tmp_path / "in")
    text = (ARCHIVE / "pipeline.yaml").read_text()
    for wrong in ("folder: run", "store: unsealed.zarr", "bids: images"):
        text = text.replace(wrong, wrong.replace(": ", ": /nowhere/"))
    (tmp_path / "pipeline.yaml").write_text(text.replace("images/participants.tsv", "in/participants.tsv"))
    return "in", "out"


def committed(tmp_path):
    return [entry.key.participant_id for entry in open_store(str(tmp_path / "out" / "store")).entries]


PIPELINE = ("--pipeline", "pipeline.yaml")


def test_participants_are_embedded_one_by_one_and_the_group_seals_and_trains(app, given, tmp_path):
    labels = [f"{i:02}" for i in range(9)]
    assert app.main([*given, "participant", "--participant-label", "sub-03", "07", *PIPELINE]) == 0
    assert committed(tmp_path) == ["sub-03", "sub-07"]
    header = json.loads((tmp_path / "out" / "store" / "header.json").read_text())["header"]
    # The store is everybody's: `recompute` finds all images by its header.
    assert "participant" not in header["created"]["configuration"]["input"]
    assert app.main([*given, "participant", "--participant_label", *labels, *PIPELINE]) == 0
    assert len(committed(tmp_path)) == 9
    assert app.main([*given, "participant", *PIPELINE]) == 1
    assert CONSTANT in (tmp_path / "out" / "failures.tsv").read_text()
    assert app.main([*given, "group", *PIPELINE]) == 0
    assert open_store(str(tmp_path / "out" / "store")).sealed
    assert (tmp_path / "out" / "train" / "metrics.json").is_file()
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "slicecache"
    ignored = (tmp_path / "out" / ".bidsignore").read_text().split()
    others = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert not {name for name in others - {"dataset_description.json"} if not _matches(name, ignored)}


def _matches(name, patterns):
    return any(Path(name).match(pattern.rstrip("/")) for pattern in patterns)


def test_jobs_of_different_participants_keep_their_failures_apart(app, given, tmp_path):
    assert app.main([*given, "participant", "--participant-label", "09", *PIPELINE]) == 1
    assert app.main([*given, "participant", "--participant-label", "01", *PIPELINE]) == 0
    tables = {
        path.parent.name: path.read_text() for path in (tmp_path / "out" / "jobs").rglob("failures.tsv")
    }
    assert {name: CONSTANT in text for name, text in tables.items()} == {"par-09": True, "par-01": False}
    many = app.parser().parse_args([*given, "participant", "--participant-label", *map(str, range(500))])
    folder = app.participant(many, Path("p"), many.participant_label)[-1][3]
    assert len(folder) < 200


def test_a_group_whose_participants_are_not_done_is_not_sealed(app, given, tmp_path, capsys):
    assert app.main([*given, "participant", "--participant-label", "01", *PIPELINE]) == 0
    assert app.main([*given, "group", *PIPELINE]) == 2
    assert "not complete" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train").exists()


def test_without_a_pipeline_fetched_weights_are_enough(app, given, tmp_path):
    folder = write_example(tmp_path / "dino weights", gated=False, registers=False)
    files = tuple(
        LockedFile(name=path.name, bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in sorted(folder.iterdir())
    )
    digest = weights_digest(read_weights(folder))
    lock = BackboneLock(
        kind="dinov2", repository="a/b", revision="0" * 40, weights_sha256=digest, files=files
    )
    (folder / NAME).write_text(lock.model_dump_json())
    quick = ("--set", "extract.canvas=28", "--set", "extract.slices={kind: center, n: 2}", "--n-cpus", "0")
    given = (*given, "participant", "--participant-label", "01", "--weights", str(folder), *quick)
    assert app.main(given) == 0
    header = open_store(str(tmp_path / "out" / "store")).header
    assert header.fingerprint.backbone.weights_sha256 == digest
    (folder / "config.json").write_text("{}")
    assert app.main(given) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["in", "out", "participant"], "give --pipeline FILE, or --weights"),
        (["none", "out", "participant", *PIPELINE], "no BIDS folder 'none'"),
        (["in", "out", "participant", "--participant-label", "77", *PIPELINE], "no folder 'sub-77'"),
        (["in", "out", "participant", "--participant-label", "01", "--pipeline", "no.yaml"], "no.yaml"),
        (["in", "pipeline.yaml", "participant", *PIPELINE], "pipeline.yaml"),
    ],
)
def test_mistakes_are_one_line(app, given, capsys, arguments, says):
    assert app.main(arguments) in (2, 3)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("slicecache: ")]
    assert len(lines) == 1
    assert says in lines[0]


def test_an_unknown_level_is_refused(app, given, capsys):
    with pytest.raises(SystemExit) as ending:
        app.main([*given, "session"])
    assert ending.value.code == 2
