"""Two of four classes at a time: the same as training on these two alone, in one command."""

import html.parser
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store, people_table

import slicecache
from aggregate.cli import train_and_report
from aggregate.config.section import read_aggregate_section
from aggregate.predict.bundle import load_bundle
from aggregate.statistics.holm import holm
from aggregate.targets.classification import ClassificationSpec
from aggregate.targets.pairs import Contrast, contrasts_of, folder_names, narrowed
from aggregate.train.terminal import training_summary
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import load_pipeline

N = 40
CLASSES = ("CN", "MCI", "AD", "FTD")
PAIRS = {"pairs": [["CN", "AD"], ["AD", "MCI"]]}


def table(folder: Path, name: str, people: list[str]) -> None:
    labels = [CLASSES[i % 4] for i in range(len(people))]
    people_table(folder / name, people, labels)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline over four classes, and another cohort."""
    folder = tmp_path_factory.mktemp("pairs")
    for letter, n, seed in (("a", N, 1), ("b", 24, 2)):
        names = [f"sub-{letter}{i:02d}" for i in range(n)]
        people_store(folder / f"{letter}.zarr", names, [i % 4 for i in range(n)], seed, effect=1.5)
        table(folder, f"{letter}.tsv", names)
    section = {
        "cohort": str(folder / "a.tsv"),
        "target": {"column": "diagnosis", "classes": {name: [name] for name in CLASSES}, **PAIRS},
        "head": {"kind": "mean"},
        "folds": {"n": 2, "repeats": 2},
        "baselines": ["mean_pool_logistic", "scanner_only"],
    }
    data = {"run": {"folder": "run"}, "cache": {"store": str(folder / "a.zarr")}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


def train(file: Path, *overrides: str) -> Any:
    loaded = load_pipeline(file, overrides)
    return train_and_report(loaded, read_aggregate_section(loaded), 0)


@pytest.fixture(scope="module")
def trained(study: Path) -> Any:
    """Trained once, and judged outside."""
    stale = study / "run" / "train" / "pairs" / "CN_vs_MCI"
    (stale / "bundle").mkdir(parents=True)
    for name in ("metrics.json", "report.html", "bundle/bundle.json"):
        (stale / name).write_text("{}")
    return train(
        study / "pipeline.yaml", f"aggregate.external={{store: {study}/b.zarr, cohort: {study}/b.tsv}}"
    )


def test_every_contrast_has_a_folder_like_the_whole_ones(trained, study) -> None:
    whole = study / "run" / "train"
    names = {path.name for path in whole.iterdir()} - {"pairs", "products.json"}
    for name in ("CN_vs_AD", "AD_vs_MCI"):
        assert {path.name for path in (whole / "pairs" / name).iterdir()} == names
    stale = whole / "pairs" / "CN_vs_MCI"  # of an earlier run, for which nothing passes any more
    assert [path.name for path in stale.rglob("*") if path.is_file()] == []


def test_a_contrast_is_what_training_on_its_two_classes_gives(trained, study, tmp_path) -> None:
    two = "{column: diagnosis, classes: {CN: [CN], AD: [AD]}, positive: AD}"
    alone = train(study / "pipeline.yaml", f"run.folder={tmp_path}", f"aggregate.target={two}")
    found = json.loads((study / "run" / "train" / "pairs" / "CN_vs_AD" / "metrics.json").read_text())
    for part in ("metrics", "baselines", "n_per_class", "positive", "comparison", "confusion"):
        assert found[part] == alone.metrics[part], part
    own, other = trained.contrasts[0].predictions, alone.predictions
    own = own[own["set"] == "out_of_fold"]
    assert set(own) >= {*other, "contrast"}
    np.testing.assert_allclose(own["logit_AD"], other["logit_AD"], atol=1e-6)
    assert set(own["contrast"]) == {"CN_vs_AD"}


def test_the_whole_has_a_table_of_contrasts_with_holms_p(trained, study) -> None:
    pairs = json.loads((study / "run" / "train" / "metrics.json").read_text())["pairs"]
    assert list(pairs) == ["CN_vs_AD", "AD_vs_MCI"]
    assert pairs["AD_vs_MCI"]["positive"] == "MCI"
    assert pairs["CN_vs_AD"]["n_per_class"] == {"CN": 10, "AD": 10}
    p = [row["against_guessing"]["p"] for row in pairs.values()]
    assert [row["against_guessing"]["p_holm"] for row in pairs.values()] == holm(p)
    other = [row["comparison"]["scanner_only"] for row in pairs.values()]
    assert [found["p_holm"] for found in other] == holm([found["p"] for found in other])
    assert all((study / "run" / "train" / row["folder"] / "bundle").is_dir() for row in pairs.values())
    assert all(
        row["metrics"] == found.metrics["metrics"]
        for row, found in zip(pairs.values(), trained.contrasts, strict=True)
    )


def test_terminal_report_and_index_lead_to_them(trained, study) -> None:
    told = training_summary(trained)
    assert "AD against CN" in told
    assert "p after Holm" in told
    page = (study / "run" / "train" / "report.html").read_text()
    assert '<a href="pairs/CN_vs_AD/report.html">AD against CN</a>' in page
    assert "diagnosis: CN or AD" in (study / "run/train/pairs/CN_vs_AD/report.html").read_text()
    index = (study / "run" / "index.html").read_text()
    assert 'href="train/pairs/AD_vs_MCI/report.html"' in index
    html.parser.HTMLParser().feed(page)


def test_the_external_cohort_is_narrowed_too(trained, study) -> None:
    whole = json.loads((study / "run" / "train" / "metrics.json").read_text())
    assert whole["external"]["n_participants"] == 24
    assert set(whole["external"]["per_class"]["MCI"]) >= {"n", "ppv", "calibration_slope", "ece"}
    own = json.loads((study / "run" / "train" / "pairs" / "CN_vs_AD" / "metrics.json").read_text())
    assert own["external"]["n_per_class"] == {"CN": 6, "AD": 6}
    assert (study / "run/train/pairs/CN_vs_AD/figures/external_confusion.csv").is_file()


def evaluate(bundle: Path, study: Path, *more: str) -> int:
    given = [str(bundle), "--store", str(study / "b.zarr"), "--cohort", str(study / "b.tsv"), *more]
    return slicecache.guarded(slicecache.cli.main, ["evaluate", *given])


def test_evaluate_and_predict_take_a_contrast(trained, study, capsys) -> None:
    place = study / "run" / "train" / "pairs" / "CN_vs_AD"
    assert evaluate(place, study) == 0
    found = json.loads((study / "run/evaluate/pairs/CN_vs_AD/metrics.json").read_text())
    external = json.loads((place / "metrics.json").read_text())["external"]
    assert found["metrics"] == external["metrics"]
    assert not (study / "run" / "evaluate" / "metrics.json").exists()
    index = (study / "run" / "index.html").read_text()
    assert "Not finished" not in index
    assert 'href="evaluate/pairs/CN_vs_AD/report.html"' in index
    assert slicecache.guarded(slicecache.cli.main, ["predict", str(place), str(study / "b.zarr")]) == 0
    assert "p_AD" in capsys.readouterr().out
    assert load_bundle(place / "bundle").card.positive == "AD"
    assert slicecache.guarded(slicecache.cli.main, ["predict", str(place.parent), str(study / "b.zarr")]) == 2
    assert "holds 2 bundles" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"pairs": [["CN", "XX"]]}, "'XX' is not a class"),
        ({"pairs": [["CN", "CN"]]}, "'CN' against itself"),
        ({"pairs": [["CN", "AD"], ["AD", "CN"]]}, "twice"),
        ({"pairs": "all", "classes": {"CN": ["CN"], "AD": ["AD"]}}, "more than two classes, not for 2"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_trained(study, tmp_path, monkeypatch, target, told):
    monkeypatch.setattr("aggregate.train.harmonised.cross_validate", lambda *_: pytest.fail("it trained"))
    given = {"column": "diagnosis", "classes": {name: [name] for name in CLASSES}, **target}
    with pytest.raises(ConfigError, match=told):
        train(
            study / "pipeline.yaml",
            f"run.folder={tmp_path}",
            f"aggregate.target={yaml.safe_dump(given, default_flow_style=True, width=1000).strip()}",
        )


def test_names_of_contrasts_are_folders_on_any_disk() -> None:
    labels = ("../up", "a/b", "A B", "a b", "\u00e4", "", "x" * 300)
    found = contrasts_of(ClassificationSpec(column="d", pairs="all"), labels)
    assert len({contrast.name.lower() for contrast in found}) == len(found) == 21
    assert all(set(c.name) <= set("abx-ABupcls_v0123456789") and len(c.name) < 100 for c in found)
    assert folder_names(["a", "A", "a-2", "a"]) == ["a", "A-2", "a-2-2", "a-3"]


def test_sessions_and_rows_stay_with_who_they_are_of(study) -> None:
    from aggregate.cohort.cohort import load_cohort
    from cache_schema.store.reader import open_store

    loaded = load_pipeline(study / "pipeline.yaml")
    request = read_aggregate_section(loaded).cohort_request(loaded)
    whole = load_cohort(request, open_store(str(study / "a.zarr")))
    found = narrowed(whole, Contrast("x", "AD", "CN"))
    frame = pd.DataFrame({"name": found.participants, "y": found.y})
    rows = pd.read_csv(study / "a.tsv", sep="\t").set_index("participant_id")["diagnosis"]
    assert (rows[frame["name"].str.removeprefix("sub-").radd("sub-")].to_numpy() == "CN").tolist() == (
        frame["y"] == 1
    ).tolist()
    assert [entry.key.participant_id for entry in found.entries] == found.participants.tolist()
    assert [record.participant_id for record in found.records] == found.participants.tolist()
    assert found.bag.tolist() == list(range(20))
    assert sum("is in neither class" in item.reason for item in found.left_out) == 20


def test_python_keeps_contrasts_where_it_is_told(study, tmp_path) -> None:
    found = slicecache.train(study / "pipeline.yaml", folds={"n": 2}, baselines=["mean_pool_logistic"])
    found.save(tmp_path / "kept")
    place = tmp_path / "kept" / "train" / "pairs" / "CN_vs_AD"
    assert {"report.html", "bundle", "metrics.json"} <= {path.name for path in place.iterdir()}
    assert str(tmp_path / "kept") in (place / "report.html").read_text()
    assert list(found.metrics["pairs"]) == ["CN_vs_AD", "AD_vs_MCI"]
