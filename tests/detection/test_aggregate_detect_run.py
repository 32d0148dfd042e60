"""Detection as a whole on a small cohort with planted odd tokens: files, figures, the report, the command."""

import html
import html.parser
import json
import sys

import nibabel
import numpy as np
import pandas as pd

import slicecache as conductor
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.report.pages.detection import detection_page

COLUMNS = (
    "detector,seed,region,prevalence,pixel_auroc,pixel_ap,aupro,dice_oracle,dice_fpr05,lesion_sensitivity,"
    "slice_auroc,slice_ap,slice_f1_max,volume_auroc,volume_ap,volume_f1_max,numbers,ms_per_slice"
)


def test_the_run_folder_holds_what_the_design_says(study, tmp_path):
    results = study.detect("aggregate.detect.seeds=2", "aggregate.detect.slice_scores=true")
    run = tmp_path / "run" / "detect"
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
        study.lengths[int(name[1:])] for name in scores[scores["part"] != "fit"]["participant_id"].unique()
    )
    assert results.n_scored == len(scores[scores["part"] != "fit"]["participant_id"].unique())
    again = study.run(run / "config.yaml")
    assert again.n_scored == 0


def test_the_report_is_whole_and_says_what_matters(study, tmp_path):
    study.detect()
    text = (tmp_path / "run" / "detect" / "report.html").read_text()
    html.parser.HTMLParser().feed(text)
    for words in ("Random weights", "memory_bank beats position and intensity", "position", "Make it again"):
        assert words in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert text.count("data:image/png;base64,") == 5


def test_maps_are_of_held_out_volumes_in_their_own_space(study, tmp_path):
    study.detect()
    scores = pd.read_csv(tmp_path / "run" / "detect" / "scores.csv")
    own = scores[(scores["detector"] == "memory_bank") & scores["part"].isin(["test", "other"])]
    files = sorted((tmp_path / "run" / "detect" / "maps").rglob("*desc-memorybank_anomalymap.nii.gz"))
    assert [path.name.split("_")[0] for path in files] == sorted("sub-" + own["participant_id"])
    image = nibabel.load(next(path for path in files if "p009" in path.name))
    assert image.shape == (60, 70, study.lengths[9] + 4)
    values = np.asarray(image.dataobj)
    inside = values[30:40, 35:50, 5:7].mean()
    assert inside > 5 * values[30:40, 35:50, 8:].mean()


def test_which_volumes_get_maps_is_chosen(study, tmp_path):
    study.detect("aggregate.detect.maps=none")
    assert not (tmp_path / "run" / "detect" / "maps").exists()
    study.detect("aggregate.detect.maps=all")
    # 8 controls: 4 fitted on, which have no honest map.
    assert len(list((tmp_path / "run" / "detect" / "maps").rglob("*memorybank*.nii.gz"))) == 8


def test_detectors_may_have_stores_of_their_own(study, normal_store, tmp_path):
    normal_store(study.lengths, change=study.odd, name="fine.zarr", grid=(6, 10), weights="other")
    detectors = [
        *study.detectors,
        {"kind": "mahalanobis", "name": "fine", "store": "fine.zarr", "shrinkage": 0.1},
    ]
    file = study.write(detectors=detectors)
    results = study.run(file)
    names = list(dict.fromkeys(results.detectors["detector"]))
    assert names == [
        "memory_bank", "mahalanobis", "position", "intensity", "fine", "position (fine)", "intensity (fine)",
    ]  # fmt: skip
    parts = results.scores.groupby("participant_id")["part"].nunique()
    assert (parts == 1).all()
    assert {path.name for path in (tmp_path / "run" / "detect" / "bundle").iterdir()} == {"main", "fine"}
    assert set(results.metrics["comparison"]["fine"]) == {"position (fine)", "intensity (fine)"}
    assert not any("planes" in note for note in results.notes)


def test_stores_of_different_planes_are_said_and_pictures_are_of_the_first(study, normal_store):
    normal_store(study.lengths, change=study.odd, name="side.zarr", plane="sagittal")
    side = {"kind": "mahalanobis", "name": "side", "store": "side.zarr", "shrinkage": 0.1}
    results = study.run(study.write(detectors=[*study.detectors, side]))
    (said,) = [note for note in results.notes if "different planes" in note]
    assert "(main axial, side sagittal)" in said
    assert "pictures are of main" in said
    page = detection_page(results)
    assert "from the vertex down" in page
    assert said in html.unescape(page)


def test_fits_are_drawn_and_components_mapped(study, tmp_path):
    detectors = [
        {"kind": "mahalanobis", "shrinkage": 0.1},
        {"kind": "dpmm", "name": "mixture", "components": 12, "epochs": 3},
        {"kind": "spatial_ar", "epochs": 2, "width": 8},
    ]
    results = study.run(study.write(detectors=detectors), "aggregate.detect.seeds=2")
    run = tmp_path / "run" / "detect"
    curves = pd.read_csv(run / "curves.csv")
    counts = curves.groupby(["detector", "seed", "quantity"])["epoch"].agg(list)
    assert counts["mixture", 1, "components_alive"] == [1, 2, 3]
    assert counts["spatial_ar", 0, "held_out_loss"] == [1, 2]
    assert "mahalanobis" not in set(curves["detector"])
    wide = curves.pivot(index=["detector", "seed", "epoch"], columns="quantity", values="value")
    assert wide.loc["mixture"]["components_alive"].between(1, 12).all()
    learnt = wide.loc["spatial_ar", 0]
    assert (learnt.loc[2] < learnt.loc[1])[["training_loss", "held_out_loss"]].all()

    text = (run / "report.html").read_text()
    assert text.count("<figure tabindex") == 8  # three distributions, two curves, two fits, components
    assert "mixture: least held-out loss" in text
    assert text.count("Which component of mixture") == len(results.shown)
    bundle = load_detectors(run / "bundle")
    fitted = next(one for one in bundle.fitted if one.name == "mixture")
    assert fitted.detector.curves()["components_alive"] == wide.loc["mixture", 0]["components_alive"].tolist()
    maps = results.shown[0].parts["mixture"]
    assert maps.shape == results.shown[0].tokens.shape
    assert maps.max() < len(fitted.detector._kept.mixture.mean)
    # A run gone on with reads the curves from the checkpoints.
    (run / "curves.csv").unlink()
    study.run(run / "config.yaml")
    pd.testing.assert_frame_equal(pd.read_csv(run / "curves.csv"), curves)


def test_the_command_prints_a_table_or_json(study, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slicecache", "detect"])
    assert conductor.guarded(conductor.cli.main, ["detect", str(study.file), "--plan"]) == 0
    assert "volumes fit 4, calibration 2, test 2, other 4" in capsys.readouterr().out
    assert not (study.folder / "run").exists()
    assert conductor.guarded(conductor.cli.main, ["detect", str(study.file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "detection"
    assert conductor.guarded(conductor.cli.main, ["detect", str(study.file)]) == 0
    out = capsys.readouterr().out
    assert "memory_bank beats position and intensity" in out
    assert "lesion_sensitivity" in out
