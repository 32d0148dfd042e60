"""Confounds and scanner on another cohort: learnt in training, held to scikit-learn."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store, words
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

import slicecache
from aggregate.predict.bundle import load_bundle
from cache_schema.common.errors import SlicecacheError

N, OUT = 36, 20


def rows(letter: str, n: int, seed: int, sites: tuple[str, ...]) -> pd.DataFrame:
    """Patients are older; sites are dealt by chance, and some ages are missing."""
    stream = np.random.default_rng(seed)
    sick = np.arange(n) % 2 == 0
    age = stream.normal(60 + 8 * sick, 5).round(1)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{letter}{i:02d}" for i in range(n)],
            "diagnosis": words(sick.tolist()),
            "age": ["n/a" if i % 9 == 4 else str(a) for i, a in enumerate(age)],
            "sex": stream.choice(["F", "M"], n),
            "site": stream.choice(sites, n),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder's parent, with another cohort beside."""
    folder = tmp_path_factory.mktemp("columns")
    for letter, n, seed, sites in (("a", N, 1, ("1", "2", "3")), ("b", OUT, 2, ("2", "9"))):
        table = rows(letter, n, seed, sites)
        table.to_csv(folder / f"{letter}.tsv", sep="\t", index=False)
        people_store(
            folder / f"{letter}.zarr", table["participant_id"], table["diagnosis"] == "patient", seed
        )
    section = {"cohort": "a.tsv", "target": "diagnosis", "head": {"kind": "mean"}, "folds": {"n": 2}}
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    assert slicecache.guarded(slicecache.cli.main, ["train", str(folder / "pipeline.yaml")]) == 0
    return folder


def evaluate(trained: Path, run: Path, cohort: Path) -> dict:
    given = [str(trained / "run"), "--store", str(trained / "b.zarr"), "--cohort", str(cohort)]
    assert slicecache.guarded(slicecache.cli.main, ["evaluate", *given, "--run", str(run)]) == 0
    return json.loads((run / "evaluate" / "metrics.json").read_text())


def reference(trained: Path) -> np.ndarray:
    """Log-odds of confounds only, by scikit-learn: the mean over folds of log-probabilities."""
    here, there = (pd.read_csv(trained / f"{name}.tsv", sep="\t") for name in "ab")
    found = []
    for member in load_bundle(trained / "run" / "train" / "bundle").card.members:
        own = here[here["participant_id"].isin(member.participants)]
        middle, common = own["age"].median(), own["sex"].mode().min()
        values = {"sex": ["F", "M"], "site": sorted(own["site"].unique())}

        def matrix(table: pd.DataFrame, middle=middle, common=common, values=values) -> np.ndarray:
            parts = [(table[name].fillna(common) == v) for name in values for v in values[name]]
            return np.column_stack([*parts, table["age"].fillna(middle)]).astype(float)

        x = matrix(own)
        sd = np.where(x.std(0) > 0, x.std(0), 1)
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10000)
        model.fit((x - x.mean(0)) / sd, own["diagnosis"] == "patient")
        found.append(model.predict_log_proba((matrix(there) - x.mean(0)) / sd))
    mean = np.mean(found, axis=0)
    return mean[:, 1] - mean[:, 0]


def test_confounds_say_outside_what_scikit_learn_says(trained, tmp_path) -> None:
    metrics = evaluate(trained, tmp_path, trained / "b.tsv")
    assert set(metrics["baselines"]) >= {"mean_pool_logistic", "confounds_only"}
    assert metrics["baselines"]["confounds_only"]["auroc"]["value"] > 0.6
    assert "p" in metrics["comparison"]["confounds_only"]
    table = pd.read_csv(tmp_path / "evaluate" / "predictions.csv")
    own = table[table["configuration"] == "confounds_only"].set_index("participant_id")
    own = own.loc[pd.read_csv(trained / "b.tsv", sep="\t")["participant_id"]]
    np.testing.assert_allclose(own["logit_patient"] - own["logit_control"], reference(trained), atol=2e-3)
    strange = (pd.read_csv(trained / "b.tsv", sep="\t")["site"] == 9).sum()
    note = f"confounds_only: {strange} of {OUT} rows have a site that the training did not have"
    assert note in metrics["notes"]


def test_other_names_and_missing_columns(trained, tmp_path) -> None:
    table = pd.read_csv(trained / "b.tsv", sep="\t", dtype=str, keep_default_na=False)
    table = table.rename(columns={"sex": "Gender"}).drop(columns="site")
    table.to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    metrics = evaluate(trained, tmp_path, tmp_path / "c.tsv")
    assert "confounds_only: site of the training is not in this cohort and tells nothing" in metrics["notes"]
    assert metrics["baselines"]["confounds_only"]["auroc"]["value"] > 0.6
    table[["participant_id", "diagnosis"]].to_csv(tmp_path / "d.tsv", sep="\t", index=False)
    metrics = evaluate(trained, tmp_path, tmp_path / "d.tsv")
    assert "confounds_only" not in metrics["baselines"]
    assert any(note.startswith("confounds_only is not judged here") for note in metrics["notes"])


@pytest.mark.parametrize("part", ["columns/confounds_only/1/weight", "columns/confounds_only/0/sd"])
def test_a_bundle_that_lacks_a_part_is_refused(trained, tmp_path, part) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    own = trained / "run" / "train" / "bundle"
    tensors = load_file(own / "members.safetensors")
    card = json.loads((own / "bundle.json").read_text())
    save_file(
        {name: value for name, value in tensors.items() if name != part}, folder / "members.safetensors"
    )
    card["weights_sha256"] = sha256((folder / "members.safetensors").read_bytes()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(card))
    with pytest.raises(SlicecacheError, match=rf"does not hold {part.rsplit('/', 1)[0]} soundly"):
        load_bundle(folder)
