"""A bundle of a harmonised training: known sites are taken out as in training, unknown ones are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store
from safetensors.torch import load, save

import slicecache as sc
from aggregate.config.section import read_aggregate_section
from aggregate.explain.run import open_run
from aggregate.predict.bundle import load_bundle, save_bundle
from aggregate.saliency.maps import token_saliency
from aggregate.train.train import train_pipeline
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

N, M = 42, 16
SHIFT = 4.0
COLUMNS = ["participant_id", "diagnosis", "site", "age", "sex"]


def rows(names: list[str], seed: int) -> list[list[Any]]:
    """Who is sick, where, how old and of which sex; site and label have nothing to do with each other."""
    ages = np.random.default_rng(seed).integers(40, 80, len(names))
    return [
        [
            name,
            "patient" if i % 2 else "control",
            "north" if i % 4 < 2 else "south",
            int(age),
            "MF"[i % 3 % 2],
        ]
        for i, (name, age) in enumerate(zip(names, ages, strict=True))
    ]


def make(folder: Path, name: str, n: int, seed: int) -> pd.DataFrame:
    """A store in which the south is far away and patients a little, and its table."""
    people = [f"sub-{name}{i:02d}" for i in range(n)]
    table = pd.DataFrame(rows(people, seed), columns=COLUMNS)
    away = SHIFT * (table["site"] == "south") + 1.5 * (table["diagnosis"] == "patient")
    people_store(folder / f"{name}.zarr", people, away.tolist(), seed, effect=1.0)
    table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    return table


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harmonised")
    make(folder, "a", N, 1)
    make(folder, "b", M, 2)
    section = {
        "cohort": "a.tsv",
        "target": "diagnosis",
        "head": {"kind": "attention"},
        "train": {"epochs": 4},
        "folds": {"n": 3},
        "harmonise": "combat",
        "external": {"store": "b.zarr", "cohort": "b.tsv"},
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "p.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def trained(project: Path) -> Any:
    loaded = load_pipeline(project / "p.yaml")
    return train_pipeline(loaded, read_aggregate_section(loaded))


def test_predict_says_of_test_parts_what_training_said(project: Path, trained: Any) -> None:
    table = sc.predict(project / "run", project / "a.zarr", cohort=project / "a.tsv")
    own = trained.predictions
    own = own[(own["configuration"] == "attention") & (own["set"] == "out_of_fold")]
    there = table.set_index("participant_id").loc[own["participant_id"]]
    for column in ("logit_patient", "p_patient", "threshold"):
        np.testing.assert_allclose(there[column], own[column], atol=1e-5)
    assert (table["members"].str.split().str.len() == 1).all()


def gaps(project: Path, table: Path) -> tuple[float, float]:
    """How far scores of new people are apart by site, and by label."""
    said = sc.predict(project / "run", project / "b.zarr", cohort=table).set_index("participant_id")
    truth = pd.read_csv(project / "b.tsv", sep="\t").set_index("participant_id").loc[said.index]
    score = said["logit_patient"] - said["logit_control"]
    mean = score.groupby([truth["site"], truth["diagnosis"]]).mean().unstack()
    return abs(mean.loc["south"].mean() - mean.loc["north"].mean()), mean["patient"].mean() - mean[
        "control"
    ].mean()


def test_new_people_of_a_known_site_are_harmonised(project: Path, trained: Any, tmp_path: Path) -> None:
    by_site, by_label = gaps(project, project / "b.tsv")
    same = pd.read_csv(project / "b.tsv", sep="\t").assign(site="north")
    same.to_csv(tmp_path / "same.tsv", sep="\t", index=False)
    unmoved, _ = gaps(project, tmp_path / "same.tsv")
    assert by_site < unmoved / 1.5
    assert by_site < by_label
    said = sc.predict(project / "run", project / "b.zarr", cohort=project / "b.tsv").set_index(
        "participant_id"
    )
    outside = trained.metrics["external"]
    own = trained.predictions
    own = own[(own["configuration"] == "attention") & (own["set"] == "external")].set_index("participant_id")
    np.testing.assert_allclose(own["logit_patient"], said["logit_patient"].loc[own.index], atol=1e-6)
    assert outside["baselines"]["mean_pool_logistic"]["auroc"]["value"] > 0.7


def test_columns_go_by_synonyms_and_gaps_by_the_training(project: Path, trained: Any, tmp_path: Path) -> None:
    table = pd.read_csv(project / "b.tsv", sep="\t")
    other = table.rename(columns={"site": "center", "sex": "Gender"})
    other.loc[0, "age"] = np.nan
    other.to_csv(tmp_path / "t.csv", index=False)
    middle = load_bundle(project / "run" / "train" / "bundle").card.harmonised
    assert middle is not None
    assert middle.sites == ("north", "south")
    found = sc.predict(project / "run", project / "b.zarr", cohort=tmp_path / "t.csv")
    plain = sc.predict(project / "run", project / "b.zarr", cohort=project / "b.tsv")
    same = np.isclose(found["logit_patient"], plain["logit_patient"], atol=1e-6)
    assert same[1:].all()
    assert not same[0]


def command(*arguments: str | Path) -> int:
    return sc.guarded(sc.cli.main, [str(word) for word in arguments])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"site": "west"},
            "sub-b00, sub-b01, sub-b02 and 13 more are of a site that training did not see (west;",
        ),
        ({"site": None}, "training did not see ((missing); it saw north, south)"),
        ({"participant_id": "sub-x"}, "more than one row"),
        ("site", "t.tsv has no column 'site'"),
        ("age", "t.tsv has no column 'age'"),
        (slice(1, None), "t.tsv has no row for 1 of 16 volumes: sub-b00/T1w"),
        (None, "so each volume's site must be known: say --cohort TABLE"),
    ],
)
def test_what_cannot_be_harmonised_is_one_sentence(
    project: Path, trained: Any, tmp_path: Path, change: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(project / "b.tsv", sep="\t")
    if isinstance(change, dict):
        table = table.assign(**change)
    elif isinstance(change, slice):
        table = table.iloc[change]
    elif change is not None:
        table = table.drop(columns=change)
    table.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    given = [] if change is None else ["--cohort", tmp_path / "t.tsv"]
    assert command("predict", project / "run", project / "b.zarr", *given) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_an_external_cohort_of_another_site_is_refused_before_anything_is_trained(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(project / "b.tsv", sep="\t").assign(site="west")
    table.to_csv(tmp_path / "west.tsv", sep="\t", index=False)
    monkeypatch.setattr("aggregate.train.harmonised.cross_validate", lambda *_: pytest.fail("it trained"))
    loaded = load_pipeline(
        project / "p.yaml", [f"aggregate.external.cohort={tmp_path / 'west.tsv'}", f"run.folder={tmp_path}"]
    )
    with pytest.raises(SlicecacheError, match=r"training did not see \(west; it saw north, south\)"):
        train_pipeline(loaded, read_aggregate_section(loaded))


def test_a_table_is_for_bundles_that_harmonise(project: Path, trained: Any, tmp_path: Path) -> None:
    bundle = load_bundle(project / "run" / "train" / "bundle")
    nothing = {"harmonised": None, "mean_pooling": 0, "columns": {}, "familiar": None}
    plain = bundle.card.model_copy(update=nothing)
    save_bundle(tmp_path / "plain", type(bundle)(plain, bundle.states))
    assert "harmonised" not in json.loads((tmp_path / "plain" / "bundle.json").read_text())
    with pytest.raises(ConfigError, match="this one's was not"):
        sc.predict(tmp_path / "plain", project / "b.zarr", cohort=project / "b.tsv")


def test_what_reads_tokens_as_they_are_refuses_it(project: Path, trained: Any) -> None:
    bundle, store = load_bundle(project / "run" / "train" / "bundle"), open_store(str(project / "a.zarr"))
    with pytest.raises(SlicecacheError, match="saliency reads a store's tokens as they are"):
        token_saliency(bundle, store, store.entries[0].key)
    with pytest.raises(SlicecacheError, match="explain reads a store's tokens as they are"):
        open_run(project / "run")


def broken_card(card: dict[str, Any]) -> None:
    card["harmonised"]["designs"].pop()


def broken_sites(card: dict[str, Any]) -> None:
    card["harmonised"]["sites"].append("west")


@pytest.mark.parametrize(
    ("card", "tensor", "message"),
    [
        (broken_card, None, "2 harmonised folds are not 3"),
        (broken_sites, None, "does not hold harmonised/0 soundly"),
        (None, ("delta", lambda value: 0 * value), "does not hold harmonised/1 soundly"),
        (None, ("gamma", lambda value: value[:1]), "does not hold harmonised/1 soundly"),
        (None, ("alpha", lambda value: value.bfloat16()), "does not hold harmonised/1 soundly"),
        (None, ("sd", None), "does not hold harmonised/1 soundly"),
    ],
)
def test_a_bundle_from_anybody_is_looked_at(
    project: Path, trained: Any, tmp_path: Path, card: Any, tensor: Any, message: str
) -> None:
    from hashlib import sha256

    folder = Path(shutil.copytree(project / "run" / "train" / "bundle", tmp_path / "bundle"))
    said = json.loads((folder / "bundle.json").read_text())
    if card is not None:
        card(said)
    if tensor is not None:
        name, change = tensor
        values = load((folder / "members.safetensors").read_bytes())
        own = values.pop(f"harmonised/1/{name}")
        if change is not None:
            values[f"harmonised/1/{name}"] = change(own).contiguous()
        (folder / "members.safetensors").write_bytes(save(values, metadata={"format": said["format"]}))
        said["weights_sha256"] = sha256((folder / "members.safetensors").read_bytes()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(said))
    with pytest.raises(SlicecacheError, match=message):
        load_bundle(folder)
