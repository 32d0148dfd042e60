"""A bundle applied to a store: training's own logits, members that did not see the participant, refusals."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from aggregate.bags.bags import read_bags
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.mst import MstSpec
from aggregate.heads.registry import HEADS
from aggregate.losses.registry import LossSpec
from aggregate.predict.bundle import Bundle, BundleCard, load_bundle, member_of, save_bundle
from aggregate.predict.predict import predict_store
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, apply_head, train_stacked
from cache_schema.common.errors import SlicecacheError, StoreMismatch
from cache_schema.format.header import BackboneIdentity, Fingerprint, Header, Numerics
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import token_arrays
from cache_schema.format.record import (
    Entities,
    Geometry,
    Slices,
    SourceFile,
    TableRow,
    UsedForeground,
    VolumeDraft,
)
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.writer import StoreWriter

pytestmark = pytest.mark.numerics

DIM, TRAINED, STRANGERS = 11, 17, 3
HEAD = AttentionSpec(hidden=3, embedding=(5,))
IDENTITY = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def make_header(field_mm: int = 224, compute: str = "float32", storage: str = "float16") -> Header:
    backbone = BackboneIdentity(
        architecture={"kind": "untrained"}, weights_sha256="0" * 64, position_table="none"
    )
    return Header(
        fingerprint=Fingerprint(
            backbone=backbone,
            preprocessing=({"step": "field", "mm": field_mm},),
            slices={"kind": "foreground"},
        ),
        numerics=Numerics.model_validate(
            {"compute_dtype": compute, "storage_dtype": storage, "resize_backend": "matmul-float32"}
        ),
        arrays=token_arrays(["cls"], dim=DIM, heads=1, grid=(2, 2), dtype=storage),
        slice_chunk=8,
    )


def make_draft(key: VolumeKey, n: int) -> VolumeDraft:
    return VolumeDraft(
        participant_id=key.participant_id,
        session_id=key.session_id,
        volume_id=key.volume_id,
        entities=Entities(contrast="T1w"),
        source=SourceFile(path=f"{key.participant_id}.nii.gz", bytes=1, mtime_ns=1, sha256="0" * 64),
        geometry=Geometry(
            native_shape=(3, 3, n),
            affine=IDENTITY,
            orientation="RAS",
            spacing_mm=(1, 1, 1),
            oblique_degrees=0,
            canvas=(28, 28),
            pixel_mm=(1, 1),
            canvas_to_native=IDENTITY[:3],
            outside_field=0,
        ),
        slices=Slices(
            index=tuple(range(n)),
            height_mm=tuple(float(n - i) for i in range(n)),
            world_z_mm=tuple(float(i) for i in range(n)),
            n_volume=n,
            spacing_mm=1,
        ),
        foreground=UsedForeground(kind="head", millilitres=1.0),
        intensity_quantiles={"q50": 1.0},
    )


def make_store(location, header: Header) -> StoreReader:
    """A store of 20 participants, the last three strangers to the bundle, one with two sessions."""
    keys = [VolumeKey(f"sub-{n:02d}", "", "T1w") for n in range(TRAINED + STRANGERS - 1)]
    keys += [VolumeKey("sub-19", session, "T1w") for session in ("a", "b")]
    rows = [
        TableRow(
            participant_id=k.participant_id, session_id=k.session_id, volume_id="T1w", path="p", max_slices=8
        )
        for k in keys
    ]
    writer = StoreWriter.open(str(location), header, rows)
    stream = np.random.default_rng(0)
    for n, key in enumerate(keys):
        length = 2 + n % 6
        writer.commit(make_draft(key, length), {"cls": stream.normal(size=(length, DIM)).astype(np.float32)})
    return open_store(location)


@dataclass
class Trained:
    store: StoreReader
    bundle: Bundle
    logits: np.ndarray
    """Out-of-fold logits as training gave them, (volume, class); of trained volumes only."""
    fold: np.ndarray


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("predict")
    store = make_store(folder / "store", make_header())
    bags = read_bags(store, store.entries[:TRAINED], "cls")
    y, fold = torch.arange(TRAINED) % 2, np.arange(TRAINED) % 3
    train = TrainSpec(epochs=5, batch_size=4, learning_rate=0.05)
    runs = [
        RunSpec(
            "c",
            0,
            k,
            0,
            HEAD,
            LossSpec(),
            train,
            np.flatnonzero(fold == (k + 1) % 3),
            np.flatnonzero(fold == (k + 2) % 3),
        )
        for k in range(3)
    ]
    out = train_stacked(bags, y, torch.ones(TRAINED), 2, runs)
    logits = np.zeros((TRAINED, 2))
    members = []
    for run in out:
        test = np.flatnonzero(fold == run.spec.fold)
        logits[test] = apply_head(HEAD.build(DIM, 2), [run.state], bags.take(test)).logits[0].numpy()
        seen = [store.entries[i].key.participant_id for i in np.flatnonzero(fold != run.spec.fold)]
        members.append(member_of(run, seen, threshold=0.3 + 0.1 * run.spec.fold, temperature=2.0))
    card = BundleCard(
        fingerprint=store.header.fingerprint,
        numerics=store.header.numerics,
        tokens="cls",
        dim=DIM,
        classes=("control", "patient"),
        positive="patient",
        head=HEAD,
        members=tuple(members),
    )
    save_bundle(folder / "bundle", Bundle(card, tuple(run.state for run in out)))
    return Trained(store, load_bundle(folder / "bundle"), logits, fold)


def changed(bundle: Bundle, **update) -> Bundle:
    return Bundle(bundle.card.model_copy(update=update), bundle.states)


def test_logits_are_those_that_training_gave(trained):
    table = predict_store(trained.bundle, trained.store)
    own = table.iloc[:TRAINED]
    np.testing.assert_allclose(own[["logit_control", "logit_patient"]], trained.logits, rtol=0, atol=1e-6)
    assert list(own["members"]) == [f"r0-f{fold}-s0" for fold in trained.fold]
    np.testing.assert_allclose(own["threshold"], 0.3 + 0.1 * trained.fold)
    z = (trained.logits[:, 1] - trained.logits[:, 0]) / 2.0
    np.testing.assert_allclose(own["p_patient"], 1 / (1 + np.exp(-z)), atol=1e-6)
    assert ((own["p_patient"] >= own["threshold"]) == (own["predicted"] == "patient")).all()
    assert not table.isna().any().any()


def test_strangers_get_the_mean_of_all_members(trained):
    table = predict_store(trained.bundle, trained.store)
    strangers = table.iloc[TRAINED:]
    assert set(strangers["members"]) == {"r0-f0-s0 r0-f1-s0 r0-f2-s0"}
    assert list(strangers["session_id"]) == ["", "", "a", "b"]
    bags = read_bags(trained.store, trained.store.entries[TRAINED:], "cls")
    mean = apply_head(trained.bundle.head(), trained.bundle.states, bags).logits.mean(0)
    np.testing.assert_allclose(strangers[["logit_control", "logit_patient"]], mean, atol=1e-6)


def test_columns(trained):
    logits = ["logit_control", "logit_patient", "p_control", "p_patient"]
    keys = ["participant_id", "session_id", "volume_id", "members"]
    assert list(predict_store(trained.bundle, trained.store)) == [*keys, *logits, "threshold", "predicted"]
    without = predict_store(changed(trained.bundle, positive=None), trained.store)
    assert list(without) == [*keys, *logits, "predicted"]
    assert ((without["p_patient"] > 0.5) == (without["predicted"] == "patient")).all()


def test_batches_change_nothing(trained, monkeypatch):
    whole = predict_store(trained.bundle, trained.store)
    monkeypatch.setattr("aggregate.predict.predict.READ_BATCH", 3)
    pd.testing.assert_frame_equal(predict_store(trained.bundle, trained.store), whole, rtol=0, atol=1e-6)


def test_participant_whom_all_members_saw_gets_none(trained, caplog):
    members = trained.bundle.card.members[:1]
    one = Bundle(trained.bundle.card.model_copy(update={"members": members}), trained.bundle.states[:1])
    with caplog.at_level(logging.WARNING, "slicecache"):
        table = predict_store(one, trained.store)
    seen = table["participant_id"].isin(members[0].participants)
    assert table.loc[seen, ["logit_control", "p_patient", "threshold"]].isna().all().all()
    assert (table.loc[seen, "predicted"] == "").all()
    assert not table.loc[~seen].isna().any().any()
    assert f"{seen.sum()} participants had a part" in caplog.text


def test_other_fingerprint_is_refused_by_name(trained, tmp_path):
    other = make_store(tmp_path / "other", make_header(field_mm=200))
    with pytest.raises(StoreMismatch, match=r"preprocessing\[field\]\.mm is 224 here and 200 there"):
        predict_store(trained.bundle, other)


def test_other_numerics_warn(trained, tmp_path, caplog):
    other = make_store(tmp_path / "other", make_header(compute="bfloat16"))
    with caplog.at_level(logging.WARNING, "slicecache"):
        predict_store(trained.bundle, other)
    assert "compute_dtype is 'float32' here and 'bfloat16' there" in caplog.text
    caplog.clear()
    predict_store(trained.bundle, trained.store)
    assert not caplog.records


def test_finer_storage_is_rounded_first(trained, tmp_path):
    finer = make_store(tmp_path / "finer", make_header(storage="float32"))
    pd.testing.assert_frame_equal(
        predict_store(trained.bundle, finer), predict_store(trained.bundle, trained.store), rtol=0, atol=1e-7
    )


def test_missing_tokens_are_refused(trained):
    with pytest.raises(SlicecacheError, match=r"'patch_mean', but the store .* has cls"):
        predict_store(changed(trained.bundle, tokens="patch_mean"), trained.store)


EVERY_HEAD = [spec for kind in HEADS if kind is not MstSpec for spec in kind.examples()]
EVERY_HEAD += [MstSpec(heads=1, positions=name) for name in ("none", "learned", "sinusoidal")]
# DIM is odd, and rotary positions need pairs, so that one is left to the tests of the head itself.


@pytest.mark.parametrize("head", EVERY_HEAD, ids=lambda head: head.model_dump_json(exclude_defaults=True))
def test_every_head_comes_back_and_predicts(trained, head, tmp_path):
    """Saved, loaded and applied to a store: the logits of the weights as they were."""
    built = head.build(DIM, 2)
    drawn = built.init([1, 2, 3])
    states = tuple({name: value[run] for name, value in drawn.items()} for run in range(3))
    save_bundle(tmp_path, Bundle(trained.bundle.card.model_copy(update={"head": head}), states))
    again = load_bundle(tmp_path)
    assert again.card.head == head
    table = predict_store(again, trained.store).iloc[TRAINED:]
    bags = read_bags(trained.store, trained.store.entries[TRAINED:], "cls")
    mean = built(drawn, bags.x, bags.keep, bags.height_mm).logits.mean(0)
    np.testing.assert_allclose(table[["logit_control", "logit_patient"]], mean, rtol=0, atol=1e-5)
