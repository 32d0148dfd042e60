"""A study with turned references and with zero-shot, and the files of components and densities."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest

from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.anomaly.study.predict import predict_detectors
from aggregate.report.figures.redraw import redrawn
from cache_schema.store.reader import open_store

DPMM = {"kind": "dpmm", "components": 12, "epochs": 2}


@pytest.fixture
def turned(study, normal_store):
    """The study's cohort seen otherwise, its odd tokens included: a store that differs in its view alone."""

    def change(arrays, place):
        study.odd(arrays, place)
        arrays["patches"] += 0.05

    return normal_store(study.lengths, name="turned.zarr", change=change, view={"rotate_deg": 90.0})


def test_references_in_two_views_and_nobody_for_a_reference(study, turned, tmp_path):
    detectors = [
        {"kind": "memory_bank", "name": "plain", "bank": "all"},
        {"kind": "memory_bank", "name": "both", "bank": "all", "views": ["turned.zarr"]},
        {"kind": "memory_bank", "name": "mutual", "bank": "cohort"},
    ]
    results = study.run(study.write(detectors=detectors))
    table = results.detectors.set_index(["detector", "region"])
    kept = table.xs("all", level="region")["numbers"]
    assert kept["both"] > 1.9 * kept["plain"]
    # Four of twelve volumes are fitted on, and none of those is among the others.
    assert 1.5 * kept["plain"] < kept["mutual"] < 3 * kept["plain"]
    assert (
        table.xs("foreground", level="region").loc[["plain", "both", "mutual"], "pixel_auroc"] > 0.9
    ).all()
    card = load_detectors(tmp_path / "run" / "detect" / "bundle").card
    assert [member.detector.view_stores for member in card.members] == [(), (), ()]
    assert card.training["views"] == [{"rotate_deg": 90.0}]
    again = study.run(tmp_path / "run" / "detect" / "config.yaml")
    assert again.n_scored == 0
    pd.testing.assert_frame_equal(again.scores, results.scores)

    bundle = load_detectors(tmp_path / "run" / "detect" / "bundle")
    rows, _ = predict_detectors(bundle, open_store(tmp_path / "normal.zarr"))
    keys = ["detector", "participant_id"]
    there = results.scores[results.scores["detector"] != "position"].set_index(keys)["score"]
    found = rows.set_index(keys)["score"].dropna()
    np.testing.assert_allclose(found, there[found.index], rtol=1e-5, atol=1e-6)


def test_components_and_densities_are_files_in_the_volumes_own_space(study, tmp_path):
    file = study.write(detectors=[{"kind": "mahalanobis"}, DPMM], component_maps=True)
    study.run(file)
    run = tmp_path / "run" / "detect"
    maps = sorted((run / "maps").rglob("*_dseg.nii.gz"))
    assert len(maps) == len(list((run / "maps").rglob("*desc-dpmm_anomalymap.nii.gz"))) > 0
    assert not list((run / "maps").rglob("*mahalanobis_dseg*"))
    path = next(path for path in maps if "p009" in path.name)
    store = open_store(tmp_path / "normal.zarr")
    entry = next(entry for entry in store.entries if entry.key.participant_id == "p009")
    fitted = next(one for one in load_detectors(run / "bundle").fitted if one.name == "dpmm")
    ((_, batch),) = open_stream(store, [entry]).in_order(99)
    components, density = fitted.detector.nearest_part(batch), fitted.detector.log_likelihood(batch)

    image = nibabel.load(path)
    likelihood = nibabel.load(path.with_name(path.name.replace("dseg", "loglikelihood")))
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(image.affine, likelihood.affine)
    voxels, values = np.asarray(image.dataobj), np.asarray(likelihood.dataobj)
    index = store.record(entry.key).slices.index
    rows, cols = components.shape[1:]
    height, width = 70 // rows, 70 // cols  # a canvas of 70 x 70 pixels, and a pixel is a voxel
    for place, native in enumerate(index):
        for row in range(rows):
            for col in range(cols):
                at = row * height + height // 2, col * width + width // 2
                if at[0] < voxels.shape[0] and at[1] < voxels.shape[1]:
                    assert voxels[(*at, native)] == int(components[place, row, col]) + 1
    off = [n for n in range(voxels.shape[2]) if n not in index]
    assert not voxels[..., off].any()
    assert not values[..., off].any()
    low, high = float(density.min()), float(density.max())
    on = values[..., list(index)][voxels[..., list(index)] > 0]
    assert low - 1e-3 <= on.min() < on.max() <= high + 1e-3
    told = json.loads((run / "maps" / "desc-dpmm_dseg.json").read_text())
    assert "counted from 1" in told["Description"]

    before = path.stat().st_mtime_ns
    study.run(file)
    assert path.stat().st_mtime_ns == before


def test_figures_are_files_with_the_numbers_behind_them(study, tmp_path):
    study.run(study.write(detectors=[DPMM]), "aggregate.detect.seeds=2")
    run = tmp_path / "run" / "detect"
    files = {path.name: path.read_bytes() for path in (run / "figures").iterdir()}
    told = files.pop("captions.md").decode()
    assert "**fit_dpmm** (`fit_dpmm.svg`" in told
    names = ("fit_dpmm", "components_dpmm", "detected_dpmm", "volume_roc", "volume_precision_recall")
    assert set(files) == {f"{n}.{e}" for n in names for e in ("svg", "pdf", "csv")}
    curves = pd.read_csv(run / "curves.csv")
    drawn = pd.read_csv(run / "figures" / "fit_dpmm.csv")
    assert len(drawn) == len(curves[curves["quantity"].str.endswith("loss")]) == 2 * 2 * 2
    table = pd.read_csv(run / "figures" / "components_dpmm.csv")
    assert len(table) == 3 * 5
    assert table["component"].between(1, 12).all()
    report = (run / "report.html").read_bytes()
    assert files["components_dpmm.svg"] in report
    again = redrawn("components-dpmm", "components_dpmm", table, {"detector": "dpmm", "scorer": "dpmm"})
    assert again.encode() == files["components_dpmm.svg"]
