"""Several volumes, sessions and token arrays of a participant: from training to predictions of the bundle."""

import logging

import numpy as np
import pytest

import slicecache as sc
from aggregate.predict.bundle import load_bundle
from aggregate.predict.predict import predict_store
from cache_schema.format.record import Entities

N = 24
KEYS = {
    "target": "dx",
    "train": {"epochs": 4, "learning_rate": 0.01},
    "folds": {"n": 2},
    "baselines": ["mean_pool_logistic"],
}


def sick(i):
    return i % 2 == 0


def table(folder, n=N):
    rows = [f"{i:02d}\t{'patient' if sick(i) else 'control'}" for i in range(n)]
    path = folder / "p.tsv"
    path.write_text("\n".join(["participant_id\tdx", *rows]) + "\n")
    return path


@pytest.fixture
def contrasts(make_store, scan):
    """A T1w and a FLAIR volume each, but the last has a T1w alone; stored FLAIR last for odd ones."""
    found = []
    for i in range(N):
        kinds = ["FLAIR", "T1w"][:: 1 if sick(i) else -1] if i < N - 1 else ["T1w"]
        for kind in kinds:
            changes = {"entities": Entities(contrast=kind)}
            found.append(scan(f"{i:02d}", volume_id=kind, n_slices=2 + i % 3, shift=sick(i), changes=changes))
    return make_store(found)


def logits(predictions, configuration="attention"):
    own = predictions[predictions["configuration"] == configuration]
    return own.set_index(["participant_id", "volume_id"])["logit_patient"]


def test_two_contrasts_are_one_bag_in_training_and_in_prediction(contrasts, tmp_path, caplog):
    with pytest.raises(
        sc.SlicecacheError, match=r"differ in contrast: FLAIR, T1w; .*combine: concat or mean"
    ):
        sc.train(store=contrasts.location, cohort=table(tmp_path), **KEYS)
    found = sc.train(store=contrasts.location, cohort=table(tmp_path), combine="concat", **KEYS)
    assert "sessions do not all hold the same volumes: FLAIR+T1w (23), T1w (1)" in found.warnings[0]
    own = logits(found.predictions)
    assert set(own.index.get_level_values("volume_id")) == {"FLAIR+T1w", "T1w"}
    found.save(tmp_path / "run")
    bundle = load_bundle(tmp_path / "run" / "train" / "bundle")
    assert bundle.card.combine == "concat"
    there = predict_store(bundle, contrasts).set_index(["participant_id", "volume_id"])["logit_patient"]
    np.testing.assert_allclose(there[own.index], own, atol=1e-5)
    assert found.attention["volume_id"].value_counts().to_dict() == {
        kind: sum(e.n_slices for e in contrasts.entries if e.key.volume_id == kind)
        for kind in ("FLAIR", "T1w")
    }


def test_a_bundle_of_one_contrast_says_which_volumes_it_is_not_for(contrasts, tmp_path, caplog):
    found = sc.train(
        store=contrasts.location, cohort=table(tmp_path), select={"contrast": ["T1w", "T2w"]}, **KEYS
    )
    found.save(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        rows = predict_store(load_bundle(tmp_path / "run" / "train" / "bundle"), contrasts)
    assert set(rows["volume_id"]) == {"T1w"}
    assert f"23 of {2 * N - 1} volumes are not of the kind" in caplog.text
    assert "contrast: T1w or T2w" in caplog.text


def test_tokens_side_by_side_are_trained_bundled_and_predicted(make_store, scan, tmp_path):
    store = make_store([scan(f"{i:02d}", n_slices=2 + i % 3, shift=sick(i)) for i in range(N)])
    found = sc.train(store=store.location, cohort=table(tmp_path), tokens=["cls", "patch_mean"], **KEYS)
    found.save(tmp_path / "run")
    bundle = load_bundle(tmp_path / "run" / "train" / "bundle")
    assert (bundle.card.tokens, bundle.card.dim) == ("cls+patch_mean", 14)
    own = logits(found.predictions)
    there = predict_store(bundle, store).set_index(["participant_id", "volume_id"])["logit_patient"]
    np.testing.assert_allclose(there[own.index], own, atol=1e-5)
    one = sc.train(store=store.location, cohort=table(tmp_path), tokens="cls", **KEYS)
    assert not np.allclose(logits(one.predictions), own, atol=1e-3)


def test_with_all_sessions_a_participant_is_their_mean_logit(make_store, scan, tmp_path):
    sessions = [(i, session) for i in range(N) for session in "abc"[: 1 + i % 3]]
    store = make_store([scan(f"{i:02d}", s, n_slices=2 + i % 3, shift=sick(i)) for i, s in sessions])
    found = sc.train(store=store.location, cohort=table(tmp_path), sessions="all", **KEYS)
    assert found.metrics["n_participants"] == N
    assert found.metrics["n_bags"] == len(sessions)
    own = found.predictions[found.predictions["configuration"] == "attention"]
    by = own.groupby(["fold", "participant_id"])[["logit_patient", "logit_control"]].mean().reset_index()
    by["score"] = by["logit_patient"] - by["logit_control"]
    by["sick"] = [sick(int(name)) for name in by["participant_id"]]
    aurocs = []
    for _, fold in by.groupby("fold"):
        ill, well = (fold.loc[fold["sick"] == side, "score"].to_numpy() for side in (True, False))
        aurocs.append((ill[:, None] > well).mean())
    assert found.metrics["metrics"]["auroc"]["value"] == pytest.approx(np.mean(aurocs))
