"""Shortcuts in a whole training: a site that gives the label away, copies of one image, and neither."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store, people_table, words
from made_up_store import example_draft, example_header, example_row

from aggregate.ablate.ablate import ablate_pipeline
from aggregate.bags.bags import read_bags
from aggregate.baselines.baselines import mean_pool
from aggregate.cli import train_and_report
from aggregate.cohort.cohort import load_cohort
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import FoldSpec
from aggregate.cohort.request import CohortRequest
from aggregate.config.section import read_aggregate_section
from aggregate.harmonise.harmoniser import harmoniser_of
from aggregate.harmonise.spec import HarmoniseSpec
from aggregate.shortcuts.adjusted import adjusted_facts
from aggregate.shortcuts.places import find_places
from aggregate.shortcuts.shortcuts import look_for_shortcuts
from aggregate.targets.classification import ClassificationSpec
from aggregate.targets.regression import RegressionSpec
from aggregate.train.terminal import training_summary
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.identity import VolumeKey
from cache_schema.store.writer import StoreWriter

N = 40
PEOPLE = [f"sub-{i:02d}" for i in range(N)]
SICK = [i % 2 == 0 for i in range(N)]


def made(folder, sites=None, effect=0.0, store=True):
    """A store, a table with a site where it is given, and a pipeline."""
    if store:
        people_store(folder / "a.zarr", PEOPLE, SICK, 1, effect=effect)
    people_table(folder / "a.tsv", PEOPLE, words(SICK))
    if sites is not None:
        lines = (folder / "a.tsv").read_text().splitlines()
        rows = [f"{line}\t{cell}" for line, cell in zip(lines, ["site", *sites], strict=True)]
        (folder / "a.tsv").write_text("\n".join(rows) + "\n")
    section = {
        "cohort": "a.tsv",
        "target": "diagnosis",
        "head": {"kind": "mean"},
        "folds": {"n": 3},
        "baselines": ["mean_pool_logistic", "confounds_only"],
    }
    file = folder / "p.yaml"
    file.write_text(
        yaml.safe_dump({"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section})
    )
    return file


def trained(file, *overrides):
    loaded = load_pipeline(file, overrides)
    return train_and_report(loaded, read_aggregate_section(loaded), 0)


def test_a_site_that_gives_the_label_away_is_red(tmp_path):
    # The effect stands for the site's shift: where the label goes with the site, nothing tells them apart.
    sites = ["north" if s == (i % 5 > 0) else "south" for i, s in enumerate(SICK)]
    results = trained(made(tmp_path, sites, effect=6.0))
    found = results.metrics["site"]
    assert found["predictable"]["told"]
    assert found["with_label"]["cramers_v"] > 0.4
    red = [line for line in results.warnings if "can win by the site alone" in line]
    assert len(red) == 1
    assert "WARNING: the embedding tells sites apart" in training_summary(results)
    assert "can win by the site alone" in (results.folder / "report.html").read_text()
    kept = json.loads((results.folder / "metrics.json").read_text())
    assert kept["site"] == found


def test_sites_that_say_nothing_are_calm(tmp_path):
    results = trained(
        made(tmp_path, [("a", "b", "a", "b", "rare")[i // 2 % 5] for i in range(N - 3)] + ["x"] * 3)
    )
    found = results.metrics["site"]
    assert found["sites"] == ["a", "b", "rare"]
    assert found["too_small"] == ["x"]
    assert not found["predictable"]["told"]
    assert "is not shown to tell sites apart" in found["said"]
    assert found["said"] in results.notes
    assert found["said"] in training_summary(results)
    assert not [line for line in results.warnings if "site alone" in line]


def test_without_sites_one_kind_of_scan_is_said(tmp_path):
    file = made(tmp_path, store=False)
    copied(tmp_path, 3.0)  # far enough to be nobody's copy
    found = trained(file).metrics["site"]
    assert found["column"] is None
    assert "cannot be asked" in found["said"]
    assert "predictable" not in found


def test_the_scanner_stands_for_the_site(make_store, scan, tmp_path):
    example = example_draft(VolumeKey("a", "", "T1w"), 3).geometry
    thick = {"geometry": example.model_copy(update={"spacing_mm": (1.0, 1.0, 5.0)})}
    store = make_store([scan(name, changes=thick if i < 12 else {}) for i, name in enumerate(PEOPLE)])
    people_table(tmp_path / "t.tsv", PEOPLE, words(SICK))
    cohort = load_cohort(
        CohortRequest(table=tmp_path / "t.tsv", target=ClassificationSpec(column="diagnosis")), store
    )
    places = find_places(cohort)
    assert (places.what, len(places.names)) == ("scanner", 2)
    assert sorted(np.bincount(places.site)) == [12, N - 12]


def copied(folder, nudge, **changes):
    """Forty people of whom the last is the fifth again, tokens moved by `nudge`, its record changed."""
    header = example_header(("cls",), dim=7, slice_chunk=9)
    keys = [VolumeKey(name, "", "T1w") for name in PEOPLE]
    writer = StoreWriter.open(str(folder / "a.zarr"), header, [example_row(key, 8) for key in keys])
    for number, key in enumerate(keys):
        stream = np.random.default_rng(4 if number == N - 1 else number)
        tokens = stream.normal(size=7) + 0.3 * stream.normal(size=(8, 7))
        own = {"q0.5": 3.0, "q50": 220.0 + (4 if number == N - 1 else number), "q99.5": 870.0}
        fields = {"intensity_quantiles": own, **(changes if number == N - 1 else {})}
        moved = tokens + (nudge if number == N - 1 else 0)
        writer.commit(example_draft(key, 8, **fields), {"cls": moved.astype(np.float32)})
    people_table(folder / "a.tsv", PEOPLE, words(SICK))


def test_a_copy_of_other_intensities_is_red(tmp_path):
    file = made(tmp_path, store=False)
    copied(tmp_path, 0.01, intensity_quantiles={"q0.5": 3.0, "q50": 448.0, "q99.5": 870.0})
    results = trained(file)
    (pair,) = results.metrics["copies"]["pairs"]
    assert (pair["a"], pair["b"]) == ("sub-04 T1w", "sub-39 T1w")
    assert pair["nearer"] > 20
    (said,) = [line for line in results.warnings if "one image under two participants" in line]
    assert "sub-04 T1w and sub-39 T1w" in said


def test_a_copy_of_equal_intensities_is_refused_before_training(tmp_path):
    file = made(tmp_path, store=False)
    copied(tmp_path, 0.01)
    with pytest.raises(SlicecacheError, match="sub-04 T1w and sub-39 T1w are one image saved twice"):
        trained(file)
    assert not (tmp_path / "run" / "train" / "metrics.json").exists()


def test_a_harmonised_training_forgets_the_site(tmp_path):
    sites = ["north" if i % 4 < 2 else "south" for i in range(N)]
    file = made(tmp_path, sites, store=False)
    people_store(tmp_path / "a.zarr", PEOPLE, [s == "south" for s in sites], 1, effect=8.0)
    results = trained(file, "aggregate.harmonise=combat")
    found = results.metrics["site"]
    assert found["predictable"]["auroc"]["value"] > 0.95
    assert found["harmonised"]["auroc"]["value"] < 0.75
    assert "harmonised tokens are not shown to tell them apart" in found["said"]
    assert len(results.predictions) == 3 * N
    shuffled = trained(file, "aggregate.harmonise=combat", "aggregate.shuffle_labels=2")
    assert shuffled.metrics["null"]["auroc"]["n"] == 2


def test_harmonising_is_a_configuration_of_an_ablation(tmp_path):
    sites = ["north" if i % 4 < 2 else "south" for i in range(N)]
    file = made(tmp_path, sites, store=False)
    people_store(tmp_path / "a.zarr", PEOPLE, [s == "south" for s in sites], 1, effect=8.0)
    named = "{plain: {}, combat: {harmonise: combat}, same: {harmonise.kind: combat}}"
    study = f"{{configurations: {named}, repeats: 1}}"
    results = ablate_pipeline(load_pipeline(file, (f"aggregate.ablate={study}",)))
    assert results.metrics["ablation"]["n_distinct"] == 2
    alone = trained(file, "aggregate.harmonise=combat")
    both = pd.read_csv(results.folder / "predictions.csv").query("configuration == 'combat'")
    ours = alone.predictions.query("configuration == 'mean'").set_index("participant_id")
    assert both["logit_patient"].to_numpy() == pytest.approx(
        ours.loc[both["participant_id"], "logit_patient"].to_numpy(), abs=1e-4
    )
    again = ablate_pipeline(load_pipeline(file, (f"aggregate.ablate={study}",)))
    assert (again.n_trained, again.n_found) == (0, 6)


def test_a_number_as_target_has_sites_and_no_classes(make_store, scan, tmp_path):
    store = make_store([scan(name, shift=4.0 * (i % 4 < 2)) for i, name in enumerate(PEOPLE)])
    rows = [f"{name}\t{50 + 7 * i % 23}\t{'ab'[i % 4 < 2]}" for i, name in enumerate(PEOPLE)]
    (tmp_path / "t.tsv").write_text("\n".join(["participant_id\tage\tsite", *rows]) + "\n")
    cohort = load_cohort(CohortRequest(tmp_path / "t.tsv", target=RegressionSpec(column="age")), store)
    pooled = mean_pool(read_bags(store, cohort.entries, "cls"))
    folds = make_folds(cohort, FoldSpec(n=3))
    harmoniser = harmoniser_of(HarmoniseSpec(), cohort, pooled, folds)
    assert list(harmoniser.preserved) == []  # age is the target
    found = look_for_shortcuts(cohort, pooled, harmonised=harmoniser.vectors).facts["site"]
    assert found["predictable"]["told"]
    assert not found["harmonised"]["told"]
    assert found["with_label"] is None
    assert "nothing can be said of site and label" in found["said"]
    assert adjusted_facts(cohort, ()) == {}
