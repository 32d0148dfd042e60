"""`extract.stores`: several stores over one cohort, each volume decoded once."""

import csv
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import slicecache
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline, load_pipeline
from cache_schema.move.remove import remove_participant
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store
from extract.cli import read_extract_section
from extract.extraction import run_extraction
from extract.outcome import Outcome
from extract.planning.config import EmbeddingOptions
from extract.planning.shard import Shard
from extract.recompute.recompute import recompute
from extract.slices import prepare
from extract.volume import read

STORES = {
    "main": {},
    "paper": {"preset": "dinoatten3d", "canvas": 14, "slices": {"kind": "center", "n": 5}},
    "wide": {"backbone": {"kind": "untrained", "size": "tiny", "seed": 1}, "storage": "float32"},
}
BAND = {"kind": "band", "from_vertex_mm": [33, 200]}


def write_volume(path: Path, seed: int, slices: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (31, 37, slices)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    values = ((grid**2).sum(axis=0) < 0.6) * rng.uniform(50, 200, shape)
    image = nib.Nifti1Image(values.astype(np.int16), np.diag([5, 5, 5, 1]))
    image.header.set_slope_inter(0.1, 3.0)
    nib.save(image, path)


@pytest.fixture
def cohort(tmp_path) -> Path:
    """Three volumes of 9 to 13 slices; one file is no image."""
    for index in range(3):
        write_volume(tmp_path / f"{index}.nii.gz", index, 9 + 2 * index)
    (tmp_path / "bad.nii.gz").write_bytes(b"this is no image")
    rows = [f"{index}\t{index}.nii.gz" for index in range(3)] + ["bad\tbad.nii.gz"]
    (tmp_path / "volumes.tsv").write_text("\n".join(["participant_id\tpath", *rows]) + "\n")
    section = {
        "input": {"manifest": "volumes.tsv"},
        "canvas": 28,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "dtype": "float32",
        "workers": 0,
        "stores": STORES,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "cache.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return tmp_path


@pytest.fixture
def reads(monkeypatch) -> Counter[str]:
    """How often each file was decoded from here on."""
    seen: Counter[str] = Counter()
    original = read.open_volume

    def counting(candidate):
        seen[candidate.path.name] += 1
        return original(candidate)

    monkeypatch.setattr(read, "open_volume", counting)
    return seen


def loaded(cohort: Path, *sets: str) -> Pipeline:
    return load_pipeline(cohort / "pipeline.yaml", sets)


def run(cohort: Path, *sets: str, shard: Shard | None = None, **options) -> dict[str, Outcome]:
    pipeline = loaded(cohort, *sets)
    section = read_extract_section(pipeline)
    found = run_extraction(pipeline, section, progress=False, shard=shard, **options)
    return {each.name: each for each in found.every}


def counts(found: dict[str, Outcome]) -> dict[str, tuple[int, int, int]]:
    return {name: (each.embedded, each.skipped, each.failed) for name, each in found.items()}


def alone(cohort: Path, name: str) -> Outcome:
    """The same store by a pass of its own, without `stores`."""
    pipeline = loaded(cohort, f"cache.store=alone-{name}.zarr", f"run.folder=alone-{name}")
    section = pipeline.data["extract"]
    stores = section.pop("stores")
    pipeline.data["extract"] = section | stores[name]
    return run_extraction(pipeline, read_extract_section(pipeline), progress=False)


def failed(cohort: Path) -> list[tuple[str, ...]]:
    with (cohort / "run/failures.tsv").open() as table:
        header, *rows = csv.reader(table, delimiter="\t")
    assert header == ["participant_id", "session_id", "volume_id", "path", "reason", "store"]
    return [(row[0], row[-1]) for row in rows]


def test_one_pass_gives_what_three_give_and_opens_each_file_once(cohort, reads):
    found = run(cohort)
    assert set(reads.values()) == {1}  # the bad one is refused by its header
    assert len(reads) == 3
    assert counts(found) == dict.fromkeys(STORES, (3, 0, 1))
    assert failed(cohort) == [("bad", name) for name in STORES]
    assert {name: Path(each.store).name for name, each in found.items()} == {
        "main": "cache.zarr",
        "paper": "cache-paper.zarr",
        "wide": "cache-wide.zarr",
    }
    for name, each in found.items():
        expected = alone(cohort, name)
        assert each.content_digest == expected.content_digest
        ours, theirs = open_store(each.store), open_store(expected.store)
        assert ours.header.fingerprint == theirs.header.fingerprint
        assert ours.header.arrays == theirs.header.arrays
    assert len({each.content_digest for each in found.values()}) == 3


@pytest.mark.slow
def test_processes_give_the_same(cohort):
    one = run(cohort)
    two = run(cohort, "cache.store=two.zarr", "extract.workers=2", "run.folder=two")
    assert {name: each.content_digest for name, each in one.items()} == {
        name: each.content_digest for name, each in two.items()
    }


def test_resume_embeds_what_is_missing_where(cohort, reads):
    found = run(cohort)
    reads.clear()
    assert counts(run(cohort)) == dict.fromkeys(STORES, (0, 3, 1))
    assert not reads
    for name, who in (("paper", "1"), ("wide", "1"), ("wide", "2")):
        store = open_store(found[name].store)
        writer = StoreWriter.open(found[name].store, store.header, [])
        writer.remove_record(next(e.key for e in store.entries if e.key.participant_id == who))
    assert counts(run(cohort)) == {"main": (0, 3, 1), "paper": (1, 2, 1), "wide": (2, 1, 1)}
    assert reads == {"1.nii.gz": 1, "2.nii.gz": 1}


def test_stores_share_what_is_the_same(cohort, monkeypatch):
    """One network for equal backbones, one foreground for equal rules, one set of images for equal steps."""
    built: list[object] = []
    found: Counter[str] = Counter()
    build, find = EmbeddingOptions.build_backbone, prepare._foreground
    monkeypatch.setattr(
        EmbeddingOptions, "build_backbone", lambda *given: built.append(given) or build(*given)
    )

    def finding(volume, *given):
        found[volume.source.path] += 1
        return find(volume, *given)

    monkeypatch.setattr(prepare, "_foreground", finding)
    stores = {
        "main": {},
        "coronal": {"plane": "coronal"},
        "twin": {"tokens": ["patches"]},
        "wide": STORES["wide"],
    }
    outcomes = run(cohort, f"extract.stores={json.dumps(stores)}")
    assert len(built) == 2
    assert set(found.values()) == {1}
    assert {each.embedded for each in outcomes.values()} == {3}
    digests = {name: open_store(each.store).header.fingerprint.digest for name, each in outcomes.items()}
    assert digests["main"] == digests["twin"] != digests["coronal"]
    key = open_store(outcomes["main"].store).entries[0].key
    one, two = (open_store(outcomes[name].store).read_volume("cls", key) for name in ("main", "twin"))
    np.testing.assert_array_equal(one, two)


def test_a_store_that_comes_later_leaves_the_others_as_they_are(cohort, reads):
    first = run(cohort)
    reads.clear()
    second = run(cohort, "extract.stores.late={canvas: 14}")
    assert counts(second) == {**dict.fromkeys(STORES, (0, 3, 1)), "late": (3, 0, 1)}
    assert set(reads.values()) == {1}
    assert second["main"].content_digest == first["main"].content_digest


def test_a_volume_that_fails_for_one_store_is_in_the_others(cohort):
    found = run(cohort, f"extract.stores.paper.slices={json.dumps(BAND)}")
    embedded = {name: each.embedded for name, each in found.items()}
    assert (embedded["main"], embedded["wide"]) == (3, 3)
    assert 0 < embedded["paper"] < 3
    rows = failed(cohort)
    assert Counter(name for _, name in rows) == {"main": 1, "paper": 4 - embedded["paper"], "wide": 1}
    assert "keeps no slice" in found["paper"].failures[0].reason


def test_shares_together_are_the_whole(cohort, reads):
    whole = run(cohort, "cache.store=whole.zarr", "run.folder=whole")
    reads.clear()
    for index in (1, 0, 2):
        run(cohort, shard=Shard(index, 3))
    assert set(reads.values()) == {1}
    assert sorted(failed(cohort)) == [("bad", name) for name in sorted(STORES)]
    for name, each in whole.items():
        place = loaded(cohort).stores()[name]
        assert open_store(place).content_digest() == each.content_digest
    with pytest.raises(ConfigError, match=r"made for something else: others\[0\]\.slices.*plan --create"):
        run(cohort, "extract.stores.paper.slices={kind: all}", shard=Shard(0, 3))


def test_who_was_withdrawn_from_one_store_is_in_the_others(cohort):
    found = run(cohort)
    remove_participant(found["paper"].store, "2")
    again = run(cohort)
    assert counts(again) == {"main": (0, 3, 1), "paper": (0, 2, 1), "wide": (0, 3, 1)}
    assert [key.participant_id for key in again["paper"].withdrawn] == ["2"]
    assert not again["main"].withdrawn
    assert counts(run(cohort, readmit=["2"]))["paper"] == (1, 2, 1)


def test_the_command_plans_extracts_and_says_all(cohort, capsys):
    file = str(cohort / "pipeline.yaml")

    def command(*arguments):
        code = slicecache.guarded(slicecache.cli.main, [*arguments, file, "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, plan = command("plan", "--create")
    assert code == 1
    assert {name: (each["max_slices"], each["max_bytes"] > 0) for name, each in plan["stores"].items()} == {
        "main": (33, True),
        "paper": (15, True),
        "wide": (33, True),
    }
    code, found = command("extract")
    assert code == 1
    assert {name: each["embedded"] for name, each in found["stores"].items()} == dict.fromkeys(STORES, 3)
    assert found["content_digest"] == found["stores"]["main"]["content_digest"]
    assert slicecache.guarded(slicecache.cli.main, ["extract", file]) == 1
    said = capsys.readouterr().out
    assert f"store paper: {cohort / 'cache-paper.zarr'}" in said


def test_recompute_finds_the_section_of_a_store(cohort):
    found = run(cohort)
    for each in found.values():
        assert recompute(each.store, 3, 0, pipeline=loaded(cohort)).ok
        assert recompute(each.store, 3, 0).ok  # by the header's own provenance
    (cohort / "moved.zarr").symlink_to(found["wide"].store)
    with pytest.raises(ConfigError, match=r"none of the pipeline's stores lies at .*moved"):
        recompute(str(cohort / "moved.zarr"), 3, 0, pipeline=loaded(cohort))


@pytest.mark.slow
def test_a_kill_leaves_every_store_whole_and_the_next_run_finishes_all(cohort):
    expected = run(cohort, "cache.store=whole.zarr", "run.folder=whole")
    command = [sys.executable, "-m", "slicecache", "extract", str(cohort / "pipeline.yaml")]
    first = cohort / "cache.zarr" / "records"
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not any(first.rglob("*.json")):
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    for name in STORES:
        if (place := Path(loaded(cohort).stores()[name])).exists():
            assert verify_store(str(place)).ok
    found = run(cohort)
    for name, each in found.items():
        assert each.content_digest == expected[name].content_digest
        assert each.embedded + each.skipped == 3


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["extract.stores.paper.preset=letterbx"], r"extract\.stores\.paper\.preset.*letterbox"),
        (["extract.stores.paper.presett=x"], r"presett.*preset"),
        (["extract.stores.paper.workers=2"], r"workers"),
        (["extract.stores.Paper={}"], r"extract\.stores\.Paper"),
        (["extract.stores.paper.allow_unknown_orientation=true"], r"it is said beside `stores`"),
        (["cache.stores.papre=x.zarr"], r"'papre'.*did you mean 'paper'"),
        (["cache.stores.paper=cache.zarr"], r"'main' and 'paper' lie in one place"),
        (["cache.stores.main=x.zarr"], r"main lies at cache\.store"),
    ],
)
def test_mistakes_are_one_sentence(cohort, sets, message):
    with pytest.raises(ConfigError, match=message):
        run(cohort, *sets)
    assert not (cohort / "cache.zarr").exists()


@pytest.mark.parametrize(
    ("store", "names", "expected"),
    [
        ("a/cache.zarr", {"main": {}, "b": {}}, {"main": "a/cache.zarr", "b": "a/cache-b.zarr"}),
        (
            "a/cache.zarr",
            {"axial": {}, "coronal": {}},
            {"axial": "a/cache.zarr", "coronal": "a/cache-coronal.zarr"},
        ),
        ("s3://x/y.zarr/", {"a": {}, "main": {}}, {"a": "s3://x/y-a.zarr", "main": "s3://x/y.zarr/"}),
        ("a/.cache", {"main": {}, "b": {}}, {"main": "a/.cache", "b": "a/.cache-b"}),
        ("a/cache", {"main": {}, "b": {}}, {"main": "a/cache", "b": "a/cache-b"}),
        ("a/cache.zarr", None, {"main": "a/cache.zarr", "own": "else.zarr"}),
    ],
)
def test_where_stores_lie(tmp_path, store, names, expected):
    data = {"cache": {"store": store}, "extract": {"stores": names}}
    if names is None:
        data = {"cache": {"store": store, "stores": {"own": "else.zarr"}}}
    pipeline = Pipeline(data, tmp_path)
    found = pipeline.stores()
    assert found == {name: at if "://" in at else str(tmp_path / at) for name, at in expected.items()}
    assert list(found) == list(expected)
