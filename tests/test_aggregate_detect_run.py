"""Detection as a whole on a small cohort with planted odd tokens: files, figures, refusals, resume."""

import html.parser
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml

import slicecache as conductor
from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.detectors.memory_bank import MemoryBank
from aggregate.anomaly.findings import measure
from aggregate.anomaly.fitting.normalise import calibrate
from aggregate.anomaly.reference.prepare import prepare
from aggregate.anomaly.scoring.execute import reader, reference_stream
from aggregate.anomaly.scoring.finished import Book
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.anomaly.study.detect import detect_pipeline
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.record import Entities, Foreground

LENGTHS = (9, 7, 11, 8, 9, 10, 7, 8, 9, 8, 9, 7)
SICK = range(8, 12)
"""The last four are patients, with odd tokens in two slices."""
COLUMNS = (
    "detector,seed,region,prevalence,pixel_auroc,pixel_ap,aupro,dice_oracle,dice_fpr05,lesion_sensitivity,"
    "slice_auroc,volume_auroc,ms_per_slice"
)
DETECTORS = [{"kind": "memory_bank", "size": 500}, {"kind": "mahalanobis", "shrinkage": 0.1}]


@pytest.fixture(autouse=True)
def few_lesions_are_enough(monkeypatch):
    """The made-up cohort is too small for intervals that would be shown to anybody."""
    monkeypatch.setattr("aggregate.anomaly.measure.intervals.FEWEST", 1)


def odd(arrays: dict[str, Any], place: int) -> None:
    """Plant tokens that no normal has in row 1, columns 2 and 3 of a patient's slices 3 and 4."""
    if place in SICK:
        noise = np.random.default_rng([5, place]).standard_normal(arrays["patches"][3:5, 1, 2:4].shape)
        arrays["patches"][3:5, 1, 2:4] += 4 * noise.astype(np.float32)


def write_mask(path: Path, n_slices: int, shift: int = 0) -> None:
    """The voxels of the planted tokens (or others) in the made-up geometry: canvas pixels are voxels."""
    values = np.zeros((60, 70, n_slices + 4), dtype=np.uint8)
    values[24 + shift : 46 + shift, 28:56, 5:7] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header.set_sform(np.eye(4), code=1)
    nibabel.save(image, path)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "DRAWS", 40)


@pytest.fixture
def project(normal_store: Callable[..., Any], tmp_path: Path) -> Path:
    """A store, a table with lesion masks of the patients, and a pipeline that has no target."""
    normal_store(LENGTHS, change=odd)
    rows = ["participant_id\tdiagnosis\tlesion_mask"]
    for place, length in enumerate(LENGTHS):
        cell = f"masks/p{place:03d}.nii.gz" if place in SICK else "n/a"
        rows.append(f"sub-p{place:03d}\t{'patient' if place in SICK else 'control'}\t{cell}")
        if place in SICK:
            write_mask(tmp_path / "masks" / f"p{place:03d}.nii.gz", length)
    (tmp_path / "participants.tsv").write_text("\n".join(rows) + "\n")
    return write_pipeline(tmp_path)


def write_pipeline(folder: Path, name: str = "pipeline.yaml", run: str = "run", **changes: Any) -> Path:
    detect = {
        "reference": {"column": "diagnosis", "value": "control"},
        "detectors": DETECTORS,
        "truth": {"column": "lesion_mask"},
        "split": {"fit": 0.5, "calibration": 0.25, "test": 0.25},
        **changes,
    }
    data = {
        "run": {"folder": run},
        "cache": {"store": "normal.zarr"},
        "aggregate": {"cohort": "participants.tsv", "detect": detect},
    }
    file = folder / name
    file.write_text(yaml.safe_dump(data))
    return file


def detect(file: Path, *overrides: str) -> Any:
    return detect_pipeline(load_pipeline(file, overrides))


def test_the_run_folder_holds_what_the_design_says(project, tmp_path):
    results = detect(project, "aggregate.detect.seeds=2", "aggregate.detect.slice_scores=true")
    run = tmp_path / "run"
    table = pd.read_csv(run / "detectors.csv", dtype={"seed": str})
    assert ",".join(table.columns) == COLUMNS
    assert list(dict.fromkeys(table["detector"])) == ["memory_bank", "mahalanobis", "position", "intensity"]
    seeds = table.groupby("detector")["seed"].agg(lambda values: list(dict.fromkeys(values)))
    assert seeds["memory_bank"] == ["0", "1", "mean", "sd"]
    assert seeds["position"] == ["0"]
    found = table.set_index(["detector", "seed", "region"]).sort_index()
    assert (found.loc["mahalanobis"].loc["mean"]["pixel_auroc"] > 0.9).all()
    assert found.loc["memory_bank", "mean", "foreground"]["pixel_auroc"] > 0.9
    whole = table.set_index("detector").loc["memory_bank"]
    mean = whole[whole["seed"].isin(["0", "1"])].groupby("region")["pixel_ap"].mean()
    np.testing.assert_allclose(found.loc["memory_bank", "mean"]["pixel_ap"].sort_index(), mean.sort_index())

    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["task"] == "detection"
    assert set(metrics["baselines"]) == {"position", "intensity"}
    ap = metrics["metrics"]["memory_bank"]["foreground"]["pixel_ap"]
    assert ap["ci_low"] <= ap["value"] <= ap["ci_high"]
    compared = metrics["comparison"]["memory_bank"]["position"]["foreground_pixel_auroc"]
    assert compared["ci_low"] <= compared["difference"] <= compared["ci_high"]
    assert "memory_bank beats position and intensity" in " ".join(metrics["verdict"])

    scores = pd.read_csv(run / "scores.csv", dtype={"session_id": str})
    assert len(scores) == 12 * 6
    assert scores[scores["part"] == "fit"]["score"].isna().all()
    assert scores[scores["part"] != "fit"]["score"].notna().all()
    slices = pd.read_csv(run / "slices.csv")
    assert len(slices) == 6 * sum(
        LENGTHS[int(name[1:])] for name in scores[scores["part"] != "fit"]["participant_id"].unique()
    )
    assert results.n_scored == len(scores[scores["part"] != "fit"]["participant_id"].unique())
    again = detect(run / "config.yaml")
    assert again.n_scored == 0


def test_the_report_is_whole_and_says_what_matters(project, tmp_path):
    detect(project)
    text = (tmp_path / "run" / "report.html").read_text()
    html.parser.HTMLParser().feed(text)
    for words in ("Random weights", "memory_bank beats position and intensity", "position", "Make it again"):
        assert words in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert text.count("data:image/png;base64,") == 5


def test_maps_are_of_held_out_volumes_in_their_own_space(project, tmp_path):
    detect(project)
    scores = pd.read_csv(tmp_path / "run" / "scores.csv")
    own = scores[(scores["detector"] == "memory_bank") & scores["part"].isin(["test", "other"])]
    files = sorted((tmp_path / "run" / "maps").rglob("*desc-memorybank_anomalymap.nii.gz"))
    assert [path.name.split("_")[0] for path in files] == sorted("sub-" + own["participant_id"])
    image = nibabel.load(next(path for path in files if "p009" in path.name))
    assert image.shape == (60, 70, LENGTHS[9] + 4)
    values = np.asarray(image.dataobj)
    inside = values[30:40, 35:50, 5:7].mean()
    assert inside > 5 * values[30:40, 35:50, 8:].mean()


def test_which_volumes_get_maps_is_chosen(project, tmp_path):
    detect(project, "aggregate.detect.maps=none")
    assert not (tmp_path / "run" / "maps").exists()
    detect(project, "aggregate.detect.maps=all")
    # 8 controls: 4 fitted on, which have no honest map.
    assert len(list((tmp_path / "run" / "maps").rglob("*memorybank*.nii.gz"))) == 8


def test_without_masks_nothing_is_claimed_of_voxels(project, tmp_path):
    results = detect(project, "aggregate.detect.truth=none")
    assert results.detectors["pixel_auroc"].isna().all()
    assert results.detectors["slice_auroc"].isna().all()
    assert results.detectors["volume_auroc"].notna().all()
    assert "nothing is known about how well lesions are found in voxels" in results.verdict[0]
    assert "nothing is known" in (tmp_path / "run" / "report.html").read_text()


def test_without_masks_and_labels_that_is_said_too(project, tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_text(table.read_text().replace("patient\t", "n/a\t"))
    results = detect(project, "aggregate.detect.truth=none")
    assert results.detectors["volume_auroc"].isna().all()
    assert "nothing at all is known about accuracy" in " ".join(results.verdict)


def test_masks_are_found_by_bids_names(project, tmp_path):
    root = tmp_path / "bids"
    for place in SICK:
        write_mask(
            root / "derivatives" / "x" / f"sub-p{place:03d}" / "anat" / "label-lesion_mask.nii.gz",
            LENGTHS[place],
        )
    by_name = detect(project, f"aggregate.detect.truth={{bids: {root}}}", "run.folder=other")
    by_column = detect(project)
    pd.testing.assert_frame_equal(
        by_name.detectors.drop(columns="ms_per_slice"), by_column.detectors.drop(columns="ms_per_slice")
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlicecacheError, match="no volume has a lesion mask"):
        detect(project, f"aggregate.detect.truth={{bids: {tmp_path / 'empty'}}}")


def thresholds(results: Any) -> Any:
    return results.metrics["thresholds"]


def test_truth_and_the_others_have_no_say_in_thresholds(project, normal_store, tmp_path):
    honest = detect(project)
    for place in SICK:
        write_mask(tmp_path / "masks" / f"p{place:03d}.nii.gz", LENGTHS[place], shift=-20)
    poisoned = detect(project, "run.folder=poisoned")
    assert thresholds(poisoned) == thresholds(honest)
    before, after = honest.detectors["pixel_auroc"], poisoned.detectors["pixel_auroc"]
    assert (before != after).any()

    def worse(arrays: dict[str, Any], place: int) -> None:
        odd(arrays, place)
        if place in SICK:
            arrays["patches"] *= 3

    normal_store(LENGTHS, change=worse, name="worse.zarr")
    file = write_pipeline(tmp_path, "worse.yaml", "worse")
    assert thresholds(detect(file, "cache.store=worse.zarr")) == thresholds(honest)


@pytest.mark.parametrize("per_height", [False, True])
def test_thresholds_are_those_of_a_read_of_their_own(project, per_height, tmp_path):
    loaded = load_pipeline(project, [f"aggregate.detect.per_height={str(per_height).lower()}"])
    detect_pipeline(loaded)
    (work,) = prepare(loaded).works
    stream = reference_stream(work, "calibration", 2**24)
    for fitted in load_detectors(tmp_path / "run" / "bundle").fitted:
        alone = calibrate(fitted.detector, stream, per_height=per_height)
        assert fitted.calibration.n_tokens == alone.n_tokens
        for rate, threshold in alone.thresholds.items():
            assert fitted.calibration.thresholds[rate] == pytest.approx(threshold, rel=1e-5, abs=1e-6)


def test_baselines_are_not_standardised_by_height(project):
    plain = detect(project).detectors.set_index("detector")["pixel_auroc"]
    scaled = detect(project, "aggregate.detect.per_height=true").detectors.set_index("detector")[
        "pixel_auroc"
    ]
    for name in ("position", "intensity"):
        assert list(plain[name]) == list(scaled[name])
    assert list(plain["mahalanobis"]) != list(scaled["mahalanobis"])


def test_lesion_free_slices_may_be_the_reference(project, tmp_path):
    table = tmp_path / "participants.tsv"
    lines = table.read_text().splitlines()
    for place in range(8):
        write_mask(tmp_path / "masks" / f"p{place:03d}.nii.gz", LENGTHS[place])
        lines[1 + place] = f"sub-p{place:03d}\tcontrol\tmasks/p{place:03d}.nii.gz"
    table.write_text("\n".join(lines) + "\n")
    loaded = load_pipeline(project, ["aggregate.detect.reference={slices: lesion_free}"])
    (work,) = prepare(loaded).works
    for member in work.part("fit", "calibration"):
        assert member.slices == tuple(place for place in range(member.entry.n_slices) if place not in (3, 4))
    results = detect_pipeline(loaded)
    assert results.detectors["slice_auroc"].notna().all()
    with pytest.raises(SlicecacheError, match="needs lesion masks"):
        detect(project, "aggregate.detect.reference={slices: lesion_free}", "aggregate.detect.truth=none")


def test_normals_with_a_lesion_are_warned_of(project, tmp_path):
    table = tmp_path / "participants.tsv"
    text = table.read_text()
    for place in range(8):
        write_mask(tmp_path / "masks" / f"p{place:03d}.nii.gz", LENGTHS[place])
        text = text.replace(
            f"sub-p{place:03d}\tcontrol\tn/a", f"sub-p{place:03d}\tcontrol\tmasks/p{place:03d}.nii.gz"
        )
    table.write_text(text)
    warnings = prepare(load_pipeline(project)).warnings
    assert any("6 volume(s) of the reference group have a lesion in their mask" in one for one in warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entities": Entities(contrast="T2w")}, "contrast T2w: p010/T1w"),
        ({"foreground": Foreground(kind="stripped", millilitres=1400.0)}, "foreground stripped: p010/T1w"),
    ],
)
def test_a_volume_unlike_the_reference_is_refused_unless_allowed(
    project, normal_store, tmp_path, change, words
):
    normal_store(LENGTHS, change=odd, name="unlike.zarr", record=lambda place: change if place == 10 else {})
    with pytest.raises(SlicecacheError, match=words) as refusal:
        detect(project, "cache.store=unlike.zarr")
    assert "allow_unlike_reference: true" in str(refusal.value)
    assert not (tmp_path / "run").exists()
    allowed = ["cache.store=unlike.zarr", "aggregate.detect.allow_unlike_reference=true"]
    results = detect(project, *allowed)
    assert any(words in warning for warning in results.warnings)
    assert words in (tmp_path / "run" / "report.html").read_text()


class Killed(BaseException):
    pass


def files_of(run: Path) -> dict[str, bytes]:
    """Every file that a killed run must leave as an unkilled one does, bit for bit, seconds taken out."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_dir() or name.startswith(
            ("scores/", "log.txt", "report.html", "config.yaml", "metrics.json")
        ):
            continue
        found[name] = path.read_bytes()
        if name == "detectors.csv":
            found[name] = pd.read_csv(path).drop(columns="ms_per_slice").to_csv().encode()
        if name == "bundle/bundle.json":
            card = json.loads(path.read_text())
            for one in card["training"]["metrics"].values():
                del one["ms_per_slice"]
            found[name] = json.dumps(card).encode()
    return found


@pytest.mark.numerics
@pytest.mark.parametrize("where", ["fit", "score", "maps"])
def test_a_killed_run_goes_on_to_the_same_files(project, tmp_path, monkeypatch, where):
    detect(project, "run.folder=whole")
    calls = {"n": 0}

    def dying(original: Callable[..., Any], at: int) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            calls["n"] += 1
            if calls["n"] == at:
                raise Killed
            return original(*args, **kwargs)

        return called

    with monkeypatch.context() as patch:
        if where == "fit":
            patch.setattr(MemoryBank, "observe", dying(MemoryBank.observe, 2))
        elif where == "score":
            patch.setattr(Book, "write", dying(Book.write, 14))
        else:
            import aggregate.anomaly.study.detect as module

            patch.setattr(module, "write_map_once", dying(module.write_map_once, 3))
        with pytest.raises(Killed):
            detect(project)
    assert not (tmp_path / "run" / "metrics.json").exists()
    results = detect(project)
    assert files_of(tmp_path / "run") == files_of(tmp_path / "whole")
    # 8 volumes are scored by 4 detectors; the kill came at the 14th of their 32 files.
    assert results.n_scored == {"fit": 8, "score": 5, "maps": 0}[where]


def test_nothing_is_scored_or_drawn_twice(project, tmp_path, monkeypatch):
    detect(project)
    maps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "maps").rglob("*.nii.gz")}

    def refuse(*args: Any) -> Any:
        raise AssertionError("scored again")

    monkeypatch.setattr(MemoryBank, "score", refuse)
    detect(project)
    assert {path: path.stat().st_mtime_ns for path in maps} == maps


def test_another_fit_is_scored_anew_and_a_damaged_score_too(project, tmp_path):
    detect(project)
    held = sorted((tmp_path / "run" / "scores").glob("memory_bank*/*.safetensors"))
    held[0].write_bytes(held[0].read_bytes()[:-3])
    assert detect(project).n_scored == 1
    other = detect(project, "aggregate.detect.split.seed=1")
    fresh = detect(project, "aggregate.detect.split.seed=1", "run.folder=fresh")
    pd.testing.assert_frame_equal(other.scores, fresh.scores)


def test_detectors_may_have_stores_of_their_own(project, normal_store, tmp_path):
    normal_store(LENGTHS, change=odd, name="fine.zarr", grid=(6, 10), weights="other")
    detectors = [*DETECTORS, {"kind": "mahalanobis", "name": "fine", "store": "fine.zarr", "shrinkage": 0.1}]
    file = write_pipeline(tmp_path, detectors=detectors)
    results = detect(file)
    names = list(dict.fromkeys(results.detectors["detector"]))
    assert names == [
        "memory_bank", "mahalanobis", "position", "intensity", "fine", "position (fine)", "intensity (fine)",
    ]  # fmt: skip
    parts = results.scores.groupby("participant_id")["part"].nunique()
    assert (parts == 1).all()
    assert {path.name for path in (tmp_path / "run" / "bundle").iterdir()} == {"main", "fine"}
    assert set(results.metrics["comparison"]["fine"]) == {"position (fine)", "intensity (fine)"}


def test_two_detectors_of_one_name_are_refused(project, tmp_path):
    file = write_pipeline(tmp_path, detectors=[DETECTORS[0], DETECTORS[0]])
    with pytest.raises(ConfigError, match="two detectors are called 'memory_bank'"):
        detect(file)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("aggregate.detect.reference.valeu=control", "did you mean 'value'"),
        ("aggregate.detect.reference.value=controls", "there are control, patient"),
        ("aggregate.detect.reference.column=diagnosys", "did you mean 'diagnosis'"),
        ("aggregate.detect.truth={column: lesion}", "did you mean 'lesion_mask'"),
        ("aggregate.detect.detectors=[]", "detectors names none"),
        ("aggregate.detect.split={fit: 0.5, calibration: 0.2, test: 0.2}", "must add up to 1"),
        ("aggregate.detect.map=all", "did you mean 'maps'"),
        ("aggregate.detect=null", "aggregate.detect is missing"),
        ("cache.store=nowhere.zarr", "there is no store"),
    ],
)
def test_mistakes_are_one_sentence_with_exit_code_2(project, override, words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slicecache"])
    assert conductor.guarded(conductor.cli.main, ["detect", str(project), "--set", override]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


def test_too_few_normals_are_refused(project, tmp_path):
    table = tmp_path / "participants.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1], lines[2], *lines[9:]]) + "\n")
    with pytest.raises(SlicecacheError, match="has 2 participant"):
        detect(project)


def test_the_command_prints_a_table_or_json(project, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slicecache", "detect"])
    assert conductor.guarded(conductor.cli.main, ["detect", str(project), "--plan"]) == 0
    assert "volumes fit 4, calibration 2, test 2, other 4" in capsys.readouterr().out
    assert not (project.parent / "run").exists()
    assert conductor.guarded(conductor.cli.main, ["detect", str(project), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "detection"
    assert conductor.guarded(conductor.cli.main, ["detect", str(project)]) == 0
    out = capsys.readouterr().out
    assert "memory_bank beats position and intensity" in out
    assert "lesion_sensitivity" in out


def test_scores_gone_during_a_run_are_named(project):
    loaded = load_pipeline(project)
    detect_pipeline(loaded)
    (work,) = prepare(loaded).works
    folder = next((loaded.folder() / "scores").glob("memory_bank*"))
    read = reader(work, Book(folder))
    member = work.part("other")[0]
    assert isinstance(read(member)[0].seconds, float)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(SlicecacheError, match="are gone"):
        read(member)


def test_training_takes_no_notice_of_detect(project):
    with pytest.raises(ConfigError, match=r"aggregate\.target is missing"):
        conductor.imported("aggregate.cli:read_section")(load_pipeline(project))
    section = conductor.imported("aggregate.cli:read_section")(
        load_pipeline(project, ["aggregate.target=diagnosis"])
    )
    assert section.detect is not None
    assert issubclass(MemoryBank, Detector)
