"""`auto` is measured once by whoever embeds first; a store of another engine is obeyed or refused."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from made_up_inputs import AFFINE, voxels

import slicecache as sc
from cache_schema.common.errors import ConfigError, MachineError, StoreMismatch
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.numerics import FixedNumerics
from cache_schema.store.create import fixed_at
from cache_schema.store.reader import open_store
from extract.arithmetic import arithmetic, auto, measure
from extract.arithmetic.arithmetic import PREFERRED, REFERENCE, Arithmetic, candidates
from extract.arithmetic.measure import Choice, Trial, choose, cosine_and_error, preferred, said_of_exactness
from extract.arithmetic.processor import processor_kind
from extract.arithmetic.trial import trial_slices
from extract.backbones.backbone import Tokens
from extract.backbones.compiled.runtime import installed
from extract.backbones.untrained import UntrainedSpec
from extract.cli import read_extract_section
from extract.engines import station
from extract.extraction import run_extraction
from extract.outcome import Outcome
from extract.planning.shard import Shard
from extract.recompute.recompute import recompute

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
OPENVINO = Arithmetic("openvino", "float32")
needs_openvino = pytest.mark.skipif(not installed(), reason="openvino is not installed")


def trials(*rates: float, lame: int | None = None) -> list[Trial]:
    names = zip(PREFERRED, rates, strict=False)
    return [Trial(each, rate, why_not="no" * (place == lame)) for place, (each, rate) in enumerate(names)]


@pytest.mark.parametrize(
    ("seen", "taken"),
    [
        (trials(10, 20, 25, 50), PREFERRED[3]),
        (trials(10, 20, 25, 50, lame=3), PREFERRED[2]),
        (trials(9.1, 9.5, 10, 10), PREFERRED[0]),
        (trials(8.9, 9.1, 10, 10), PREFERRED[1]),
        (trials(1, lame=0), None),
        ([], None),
    ],
)
def test_the_fastest_is_taken_and_of_equals_the_more_exact(seen, taken):
    assert preferred(seen) == taken


@pytest.mark.parametrize(
    ("compute", "cosine", "error", "said"),
    [
        ("bfloat16", 0.99991, 0.009, ""),
        ("bfloat16", 0.99989, 0.009, "cosine 0.999890, at least 0.9999"),
        ("bfloat16", 0.99991, 0.011, "1.10% of the spread"),
        ("bfloat16", float("nan"), 0.0, "cosine nan"),
        ("float32", 0.5, 9e-5, ""),
        ("float32", 1.0, 2e-4, "0.02% of the spread, at most 0.01%"),
    ],
)
def test_what_is_exact_enough(compute, cosine, error, said):
    found = said_of_exactness(Arithmetic("openvino", compute), cosine, error)
    assert said in found
    assert bool(said) == bool(found)


def test_the_error_is_a_share_of_how_far_slices_lie_apart():
    cls = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    patches = torch.ones(2, 1, 1, 2)
    off = torch.tensor([[1.0, 0.02], [3.0, 0.02]])
    cosine, error = cosine_and_error(Tokens({"cls": cls}, patches), Tokens({"cls": off}, patches))
    assert error == pytest.approx(0.02 / 2**0.5 / 2)
    assert cosine == pytest.approx(1 / (1 + 0.02**2) ** 0.5)


def test_what_is_tried_where(monkeypatch):
    monkeypatch.setattr(arithmetic, "installed", lambda: True)
    assert candidates("auto", "auto", CPU, slow=False) == PREFERRED
    assert candidates("auto", "float32", CPU, slow=False) == (REFERENCE, OPENVINO)
    assert candidates("openvino", "bfloat16", CPU, slow=False) == (PREFERRED[3],)
    assert candidates("auto", "auto", CUDA, slow=False) == (REFERENCE, Arithmetic("torch", "bfloat16"))
    assert candidates("auto", "auto", CUDA, slow=True) == (REFERENCE,)
    assert candidates("auto", "auto", torch.device("mps"), slow=False) == (REFERENCE,)
    assert candidates("openvino", "auto", CUDA, slow=False) == ()
    monkeypatch.setattr(arithmetic, "installed", lambda: False)
    assert candidates("auto", "auto", CPU, slow=False) == (REFERENCE, Arithmetic("torch", "bfloat16"))
    with pytest.raises(ConfigError, match=r"pip install 'slicecache\[openvino\]'"):
        auto.decided("openvino", "auto", CPU, False, place=None, canvas=28, rows=8, slices=9)


def test_what_fails_or_is_inexact_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    backbone = UntrainedSpec().build(28, CPU, torch.float32)

    def place(each: Arithmetic):
        if each.engine == "openvino" and each.compute == "bfloat16":
            raise RuntimeError("no\nsuch node")
        if each.engine == "openvino":
            return lambda pixels: backbone(pixels * 1.5)
        return backbone

    choice = choose(PREFERRED, place, trial_slices(28, 8), slices=10**9, little=8.0)
    assert choice.taken.engine == "torch"
    told = {
        row["engine"] + row["compute_dtype"]: row.get("why_not", "") for row in choice.as_json()["trials"]
    }
    assert told["openvinobfloat16"] == "fails: no such node"
    assert "of the spread" in told["openvinofloat32"]
    assert choice.as_json()["processor"] == processor_kind()
    assert choice.said().startswith(f"auto took {choice.taken} (")
    little = choose(PREFERRED, place, trial_slices(28, 8), slices=1, little=8.0)
    assert (little.taken, little.trials) == (REFERENCE, ())


@pytest.mark.parametrize(
    ("asked", "taken", "volumes", "said"),
    [
        ("auto", "bfloat16", 99, True),
        ("auto", "bfloat16", 100, False),
        ("auto", "float32", 3, False),
        ("bfloat16", "bfloat16", 3, False),
    ],
)
def test_small_cohorts_hear_of_float32_where_auto_took_bfloat16(asked, taken, volumes, said):
    line = auto.beside_few(asked, Arithmetic("torch", taken), volumes)
    assert bool(line) == said
    assert ("extract.dtype: float32 costs little" in line) == said


def test_the_line_on_what_auto_took_says_so_for_few_volumes(cohort, monkeypatch):
    taken = Arithmetic("torch", "bfloat16")
    monkeypatch.setattr(station, "decided", lambda *_, **__: (taken, {}, ["auto took it"]))
    monkeypatch.setattr(station, "imitates_bfloat16", lambda *_: False)
    (note,) = (note for note in run(cohort).notes if note.startswith("auto took"))
    assert note.startswith("auto took it; extract.dtype: float32 costs little for fewer than 100 volumes")


def test_the_kind_of_processor(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(
        "model name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512_bf16\n\nmodel name\t: Other\n"
    )
    assert processor_kind(info, {}) == "Some CPU, avx512_bf16"
    assert (
        processor_kind(info, {"ONEDNN_MAX_CPU_ISA": "AVX2"})
        == "Some CPU, avx512_bf16, ONEDNN_MAX_CPU_ISA=AVX2"
    )
    assert processor_kind(tmp_path / "absent", {})


@pytest.fixture
def cohort(tmp_path, monkeypatch) -> Path:
    import nibabel as nib

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines = ["participant_id\tpath"]
    for number in range(3):
        nib.save(nib.Nifti1Image(voxels(number), AFFINE), tmp_path / f"{number}.nii")
        lines.append(f"{number}\t{number}.nii")
    (tmp_path / "volumes.tsv").write_text("\n".join(lines) + "\n")
    section = {
        "input": {"manifest": "volumes.tsv"},
        "canvas": 56,
        "backbone": {"kind": "untrained", "size": "tiny", "registers": True},
        "tokens": ["patch_mean", "cls_attention"],
        "workers": 0,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads multiply, and has it as it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def run(cohort: Path, *sets: str, shard: Shard | None = None) -> Outcome:
    pipeline = load_pipeline(cohort / "pipeline.yaml", sets)
    return run_extraction(pipeline, read_extract_section(pipeline), progress=False, shard=shard)


def fixed(place: Path) -> FixedNumerics:
    found = fixed_at(place)
    assert found is not None
    return found


def test_little_is_not_worth_measuring(cohort):
    outcome = run(cohort)
    assert fixed(cohort / "a.zarr").made["auto"] == {"why": "too little to embed for trying to be worth it"}
    assert open_store(cohort / "a.zarr").header.numerics.said()["engine"] == "torch"
    assert not any("auto" in note for note in outcome.notes)


@needs_openvino
def test_auto_measures_once_and_writes_down_what_it_saw(cohort, monkeypatch):
    monkeypatch.setattr(auto, "LITTLE_SECONDS", 0.0)
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    outcome = run(cohort, shard=Shard(0, 2))
    (note,) = (note for note in outcome.notes if note.startswith("auto took"))
    table = fixed(cohort / "a.zarr").made["auto"]
    assert [(row["engine"], row["compute_dtype"]) for row in table["trials"]] == [
        (each.engine, each.compute) for each in PREFERRED
    ]
    taken = open_store(cohort / "a.zarr").header.numerics
    assert (taken.engine, taken.compute_dtype) == (table["engine"], table["compute_dtype"])
    assert f"auto took {taken.engine} in {taken.compute_dtype}" in note
    other = run(cohort, shard=Shard(1, 2))
    assert not any("auto" in note for note in other.notes)
    assert fixed(cohort / "a.zarr").made["auto"] == table


def extracted(cohort: Path, name: str, *sets: str) -> FixedNumerics:
    run(cohort, f"cache.store={name}.zarr", f"run.folder={name}", *sets)
    return fixed(cohort / f"{name}.zarr")


def test_a_trial_is_remembered_by_the_machine_that_made_it(cohort, monkeypatch, threads):
    made: list[Choice] = []

    def counted(*given) -> Choice:
        made.append(choose(*given))
        return made[-1]

    monkeypatch.setattr(auto, "choose", counted)
    monkeypatch.setattr(auto, "LITTLE_SECONDS", 0.0)
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    first, again = extracted(cohort, "first"), extracted(cohort, "again")
    assert len(made) == 1
    assert again.numerics == first.numerics
    told = again.made["auto"]
    assert told["trials"] == first.made["auto"]["trials"]
    assert told["seconds"] == 0.0
    assert "remembered" in told
    assert "remembered" not in first.made["auto"]
    # Where next to nothing is embedded nothing is taken from another day either.
    monkeypatch.setattr(auto, "LITTLE_SECONDS", 1e9)
    assert extracted(cohort, "little").made["auto"] == {
        "why": "too little to embed for trying to be worth it"
    }
    monkeypatch.setattr(auto, "LITTLE_SECONDS", 0.0)
    assert len(made) == 1
    (kept,) = (cohort / "cache/slicecache/trials").iterdir()
    whole = kept.read_bytes()
    for damaged in (whole[:-9], whole.replace(b"bfloat16", b"float8"), b"[" * 70000):
        kept.write_bytes(damaged)
        before = len(made)
        extracted(cohort, f"damaged{before}")
        assert len(made) == before + 1
    os.utime(kept, (0, 0))
    extracted(cohort, "old")
    assert len(made) == 5
    threads(1 if torch.get_num_threads() > 1 else 3)
    extracted(cohort, "threads")
    extracted(cohort, "tokens", "extract.tokens=[patch_mean]")
    assert len(made) == 7


def test_who_is_clearly_beaten_takes_no_turn(monkeypatch):
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    passes: list[str] = []
    slow, quick = Arithmetic("torch", "bfloat16"), REFERENCE
    clock = iter(range(10**6))
    cost = {slow: 2, quick: 1}
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0] + 1e-9 * next(clock))

    def place(each: Arithmetic):
        def forward(pixels: torch.Tensor) -> Tokens:
            passes.append(str(each))
            now[0] += cost[each] * len(pixels)
            return Tokens({"cls": pixels.mean((1, 2))}, pixels[:, :1, :1, :1].float())

        return forward

    choice = choose((quick, slow), place, trial_slices(28, 8), slices=10**9, little=8.0)
    assert choice.taken == quick
    # Two passes of a slice and one of all show that it is slower; the fastest needs no turn alone.
    assert passes == ["torch in float32", *["torch in bfloat16"] * 3]


@pytest.mark.numerics
@pytest.mark.parametrize("each", PREFERRED, ids=str)
def test_digests_do_not_depend_on_batch_workers_shards_and_threads(cohort, each, threads):
    if each.engine == "openvino" and not installed():
        pytest.skip("openvino is not installed")
    engine, compute = each.engine, each.compute
    asked = (f"extract.engine={engine}", f"extract.dtype={compute}")
    try:
        whole = run(cohort, *asked)
    except MachineError as error:
        assert (engine, compute) == ("openvino", "bfloat16")
        pytest.skip(str(error))
    reader = open_store(whole.store)
    said = reader.header.numerics.said()
    assert (said["engine"], said["compute_dtype"]) == (engine, compute)
    assert {reader.record(entry.key).processor for entry in reader.entries} == {processor_kind()}
    for index in range(2):
        run(cohort, *asked, "cache.store=b.zarr", "run.folder=b", shard=Shard(index, 2))
    assert open_store(cohort / "b.zarr").content_digest() == whole.content_digest
    threads(1 if torch.get_num_threads() > 1 else 3)
    more = (*asked, "extract.batch_size=3", "extract.workers=1", "cache.store=c.zarr", "run.folder=c")
    assert run(cohort, *more).content_digest == whole.content_digest
    found = recompute(whole.store, 4)
    assert found.problems == ()
    alone = sc.embed(
        cohort / "0.nii",
        backbone={"kind": "untrained", "size": "tiny", "registers": True},
        canvas=56,
        engine=engine,
        dtype=compute,
    )
    stored = reader.read_volume("cls", reader.entries[0].key)
    np.testing.assert_array_equal(alone["cls"].astype(np.float16), stored)


@needs_openvino
def test_a_store_of_another_engine_is_obeyed_or_refused(cohort, monkeypatch):
    run(cohort, "extract.engine=openvino", "extract.dtype=float32", shard=Shard(0, 2))
    with pytest.raises(StoreMismatch, match=r"numerics\.engine is 'torch' here and 'openvino' there"):
        run(cohort, "extract.engine=torch")
    with pytest.raises(StoreMismatch, match="compute_dtype is 'bfloat16' here and 'float32' there"):
        run(cohort, "extract.dtype=bfloat16")
    with monkeypatch.context() as patch:
        patch.setattr(arithmetic, "installed", lambda: False)
        with pytest.raises(MachineError, match=r"embedded by openvino, which is not installed here: pip"):
            run(cohort)
    rest = run(cohort)
    assert rest.embedded
    assert open_store(rest.store).header.numerics.engine == "openvino"
    header = json.loads((cohort / "a.zarr/header.json").read_text())["header"]
    assert header["numerics"]["engine"] == "openvino"


def test_an_engine_for_cpus_says_so(cohort):
    with pytest.raises(ConfigError, match="engine: openvino runs on the CPU, and device is 'cuda'"):
        run(cohort, "extract.engine=openvino", "extract.device=cuda")
