"""A plan that is kept, its shares, and tasks that know nothing of each other."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import slicecache
from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.header import OPEN
from cache_schema.move.remove import remove_participant
from cache_schema.store.create import fixed_at
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from extract.cli import read_extract_section
from extract.engines import station
from extract.engines.device import Machine
from extract.extraction import create_planned, run_extraction
from extract.outcome import Outcome
from extract.planning.kept import kept_plan, plan_place
from extract.planning.shard import Shard, parse_shard, places_of

SLICES = (9, 30, 17, 4, 22, 13, 8)
ARRAY = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MAX": "7"}


@given(st.lists(st.none() | st.integers(0, 400), max_size=60), st.integers(1, 12))
def test_shares_are_a_partition_and_differ_by_one_volume_at_most(slices, count):
    shares = [places_of(slices, Shard(index, count)) for index in range(count)]
    assert sorted(place for share in shares for place in share) == list(range(len(slices)))
    sums = [sum(slices[place] or 0 for place in share) for share in shares]
    assert max(sums) - min(sums) <= max((n or 0 for n in slices), default=0)
    refused = [sum(slices[place] is None for place in share) for share in shares]
    assert max(refused) - min(refused) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_eight_shares_of_a_cohort_are_within_1_15_of_equal_work(seed):
    drawn = np.random.default_rng(seed).choice([24, 50, 160, 181, 256], size=200)
    slices = [int(n) for n in drawn]
    sums = [sum(slices[place] for place in places_of(slices, Shard(i, 8))) for i in range(8)]
    assert max(sums) <= 1.15 * sum(sums) / 8


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("3/8", {}, Shard(3, 8)),
        ("auto/40", {"SLURM_ARRAY_TASK_ID": "39"}, Shard(39, 40)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "2", **ARRAY}, Shard(2, 8)),
    ],
)
def test_a_share_is_read(text, environment, shard):
    assert parse_shard(text, environment) == shard


@pytest.mark.parametrize(
    ("text", "environment", "sentence"),
    [
        ("8/8", {}, "counted from 0/8"),
        ("0/0", {}, "no such share"),
        ("-1/8", {}, "takes I/N"),
        ("1/8/2", {}, "takes I/N"),
        ("auto", {}, "this is no array task"),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "x"}, "this is no array task"),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "4"}, "no such share"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", **ARRAY, "SLURM_ARRAY_TASK_MIN": "7"}, "say --shard auto/N"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", **ARRAY, "SLURM_ARRAY_TASK_COUNT": "4"}, "say --shard auto/N"),
    ],
)
def test_a_share_that_is_none_is_refused(text, environment, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_shard(text, environment)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Seven volumes of unequal size, one of which fails when it is read and one whose header is refused."""
    rows = ["participant_id\tpath"]
    rng = np.random.default_rng(0)
    for number, slices in enumerate(SLICES):
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (21, 23, slices)), indexing="ij"))
        values = (((grid**2).sum(axis=0) < 0.9) * rng.uniform(50, 200, grid.shape[1:])).astype(np.float32)
        if number == 2:
            values[:] = 7
        nib.save(nib.Nifti1Image(values, np.diag([8, 8, 5, 1])), tmp_path / f"{number}.nii.gz")
        rows.append(f"{number}\t{number}.nii.gz")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "volumes.tsv").write_text("\n".join([*rows, "9\tempty.nii.gz"]) + "\n")
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "cache.zarr"},
        "extract": {
            "input": {"manifest": "volumes.tsv"},
            "canvas": 28,
            "backbone": {"kind": "untrained", "size": "tiny"},
            "workers": 0,
        },
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def loaded(cohort: Path, *sets: str):
    pipeline = load_pipeline(cohort / "pipeline.yaml", sets)
    return pipeline, read_extract_section(pipeline)


def run(cohort: Path, shard: Shard | None = None, *sets: str) -> Outcome:
    return run_extraction(*loaded(cohort, *sets), progress=False, shard=shard)


def failed(cohort: Path) -> list[tuple[str, str]]:
    with (cohort / "run/failures.tsv").open() as table:
        return [(row["participant_id"], row["reason"][:9]) for row in csv.DictReader(table, delimiter="\t")]


def test_shares_give_what_one_process_gives(cohort):
    pipeline, section = loaded(cohort)
    (plan,) = create_planned(pipeline, section)
    assert open_store(cohort / "cache.zarr").header.numerics.compute_dtype == OPEN
    kept = kept_plan(plan_place(cohort / "run"), [section], cohort)
    whole = replace(plan, volumes=tuple(replace(v, file=None, warnings=()) for v in plan.volumes))
    assert kept.whole() == whole
    assert sorted(v.candidate.key for i in range(3) for v in kept.share(Shard(i, 3)).volumes) == [
        v.candidate.key for v in plan.volumes
    ]
    assert (*kept.longest, plan.longest) == (max(SLICES),) * 2
    outcomes = [run(cohort, Shard(i, 3)) for i in (2, 0, 1)]
    assert sum(outcome.embedded for outcome in outcomes) == len(SLICES) - 1
    assert sum(outcome.failed for outcome in outcomes) == 2
    assert [outcome.content_digest for outcome in outcomes] == [""] * 3
    assert [who for who, _ in sorted(failed(cohort))] == ["2", "9"]
    alone = run(cohort, None, "cache.store=alone.zarr", "run.folder=alone")
    assert open_store(cohort / "cache.zarr").content_digest() == alone.content_digest
    again = run(cohort)
    assert (again.embedded, again.skipped, again.failed) == (0, len(SLICES) - 1, 2)
    assert fixed_at(cohort / "cache.zarr").device == "cpu"


def test_the_first_task_plans_where_nobody_has_and_others_take_its_plan(cohort):
    run(cohort, Shard(0, 2))
    (cohort / "7.nii.gz").write_bytes((cohort / "1.nii.gz").read_bytes())
    with (cohort / "volumes.tsv").open("a") as table:
        table.write("7\t7.nii.gz\n")
    run(cohort, Shard(1, 2))
    assert len(open_store(cohort / "cache.zarr").entries) == len(SLICES) - 1
    assert create_planned(*loaded(cohort))[0].longest == max(SLICES)
    for index in range(2):
        run(cohort, Shard(index, 2))
    assert len(open_store(cohort / "cache.zarr").entries) == len(SLICES)


def test_a_plan_for_something_else_or_a_damaged_one_is_refused(cohort):
    create_planned(*loaded(cohort))
    with pytest.raises(ConfigError, match=r"made for something else: slices.*plan --create"):
        run(cohort, Shard(0, 2), "extract.slices={kind: all}", "cache.store=b.zarr")
    place = plan_place(cohort / "run")
    whole = place.read_bytes()
    for damaged in (b"", b"[]", whole[:-40], b"\n".join(whole.splitlines()[:-1]), b"\xff\xfe"):
        place.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"plan\.jsonl.*`slicecache plan --create` makes it anew"):
            run(cohort, Shard(0, 2))


def test_who_was_withdrawn_since_the_plan_is_left_out(cohort):
    create_planned(*loaded(cohort))
    run(cohort, Shard(0, 1))
    remove_participant(str(cohort / "cache.zarr"), "1")
    outcome = run(cohort, Shard(0, 1))
    assert [key.participant_id for key in outcome.withdrawn] == ["1"]
    assert (outcome.embedded, outcome.skipped) == (0, len(SLICES) - 2)


def test_a_task_without_the_device_that_the_store_was_begun_on_stops_before_it_embeds(cohort, monkeypatch):
    pipeline, section = loaded(cohort)
    create_planned(pipeline, section)
    store = str(cohort / "cache.zarr")
    header = open_store(store).header
    wanted = header.numerics.model_copy(update={"compute_dtype": "bfloat16", "engine": "torch"})
    StoreWriter.open(store, header, ()).fix_numerics(wanted, "cuda", {})
    monkeypatch.setattr(station, "this_machine", Machine)
    with pytest.raises(MachineError, match="begun on cuda"):
        run(cohort, Shard(0, 2))
    assert not open_store(store).entries
    # said aloud, it goes on here in the store's own dtype, and says so
    outcome = run(cohort, Shard(0, 2), "extract.device=cpu")
    assert outcome.embedded
    assert any("begun on cuda" in note for note in outcome.notes)


def test_a_faster_task_decides_and_the_slower_obeys(cohort, monkeypatch):
    """Between opening the store and embedding, somebody else fixes another dtype."""
    opened = StoreWriter.fix_numerics

    def late(writer, numerics, device, made):
        other = numerics.model_copy(update={"compute_dtype": "bfloat16", "engine": "torch"})
        opened(writer, other, "cpu", {})
        return opened(writer, numerics, device, made)

    monkeypatch.setattr(StoreWriter, "fix_numerics", late)
    monkeypatch.setattr(station, "this_machine", Machine)
    run(cohort)
    monkeypatch.undo()
    slower = open_store(cohort / "cache.zarr")
    alone = run(cohort, None, "extract.dtype=bfloat16", "cache.store=b.zarr", "run.folder=b")
    assert slower.header.numerics.compute_dtype == "bfloat16"
    assert slower.content_digest() == alone.content_digest


def test_three_tasks_race_to_create_the_store(cohort):
    command = [sys.executable, "-m", "slicecache", "extract", "pipeline.yaml", "--json"]
    tasks = [
        subprocess.Popen(
            [*command, "--shard", f"{index}/3"], cwd=cohort, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for index in range(3)
    ]
    said = [task.communicate(timeout=120) for task in tasks]
    found = [json.loads(out) for out, _ in said]
    assert sum(each["embedded"] for each in found) == len(SLICES) - 1
    assert sorted(task.returncode for task in tasks) in ([0, 1, 1], [0, 0, 1])
    alone = run(cohort, None, "cache.store=alone.zarr", "run.folder=alone")
    assert open_store(cohort / "cache.zarr").content_digest() == alone.content_digest
    assert len(failed(cohort)) == 2


def test_the_command_says_which_share_it_was(cohort, capsys, monkeypatch):
    monkeypatch.chdir(cohort)
    assert slicecache.guarded(slicecache.cli.main, ["plan", "pipeline.yaml", "--create"]) == 1
    assert "created" in capsys.readouterr().out
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    slicecache.guarded(slicecache.cli.main, ["extract", "pipeline.yaml", "--shard", "auto/2"])
    assert "share 1/2" in capsys.readouterr().out


def test_an_array_task_without_a_share_is_told(cohort, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "1")
    slicecache.guarded(slicecache.cli.main, ["extract", str(cohort / "pipeline.yaml")])
    assert "--shard" not in capsys.readouterr().err
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "40")
    slicecache.guarded(slicecache.cli.main, ["extract", str(cohort / "pipeline.yaml")])
    assert "one of 40 tasks" in capsys.readouterr().err
