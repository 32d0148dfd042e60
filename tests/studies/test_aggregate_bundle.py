"""A bundle comes back as it was saved, and a damaged one is refused with a sentence."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from aggregate.heads.attention import AttentionSpec
from aggregate.losses.registry import LossSpec
from aggregate.predict.bundle import Bundle, BundleCard, Member, load_bundle, member_of, save_bundle
from aggregate.training.runs import RunSpec, TrainedRun
from aggregate.training.spec import TrainSpec
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.header import BackboneIdentity, Fingerprint, Numerics

DIM = 11
HEAD = AttentionSpec(hidden=3, embedding=(5,))
FINGERPRINT = Fingerprint(
    backbone=BackboneIdentity(
        architecture={"kind": "untrained"}, weights_sha256="0" * 64, position_table="x"
    ),
    preprocessing=({"step": "field", "mm": 224},),
    slices={"kind": "foreground"},
)
NUMERICS = Numerics(compute_dtype="float32", storage_dtype="float16", resize_backend="matmul-float32")


def trained_run(fold: int) -> TrainedRun:
    none = np.array([], dtype=np.int64)
    spec = RunSpec("c", 2, fold, 7, HEAD, LossSpec(), TrainSpec(), none, none)
    state = {name: v[0] for name, v in HEAD.build(DIM, 2).init([fold], torch.float32).items()}
    return TrainedRun(spec, state, best_epoch=3, epochs=5, history={"train_loss": [0.5]})


@pytest.fixture
def bundle() -> Bundle:
    runs = [trained_run(fold) for fold in range(3)]
    members = [
        member_of(run, [f"sub-{n}" for n in (9, 2, 9, run.spec.fold)], threshold=0.4, temperature=1.5)
        for run in runs
    ]
    card = BundleCard(
        fingerprint=FINGERPRINT,
        numerics=NUMERICS,
        tokens="cls",
        dim=DIM,
        classes=("control", "patient"),
        positive="patient",
        head=HEAD,
        members=tuple(members),
        training={"auroc": 0.8, "target": "diagnosis"},
    )
    return Bundle(card, tuple(run.state for run in runs))


def test_round_trip(bundle, tmp_path):
    save_bundle(tmp_path / "deep" / "bundle", bundle)
    again = load_bundle(tmp_path / "deep" / "bundle")
    assert len(again.card.weights_sha256) == 64
    assert again.card.model_copy(update={"weights_sha256": ""}) == bundle.card
    for ours, theirs in zip(bundle.states, again.states, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.card.members[1].participants == ("sub-1", "sub-2", "sub-9")
    assert again.card.members[1].name == "r2-f1-s7"
    files = sorted(path.name for path in (tmp_path / "deep" / "bundle").iterdir())
    assert files == ["bundle.json", "members.safetensors"]


def test_saving_again_replaces(bundle, tmp_path):
    save_bundle(tmp_path, bundle)
    one = Bundle(bundle.card.model_copy(update={"members": bundle.card.members[:1]}), bundle.states[:1])
    save_bundle(tmp_path, one)
    assert len(load_bundle(tmp_path).states) == 1


def test_no_python_name_is_stored(bundle, tmp_path):
    save_bundle(tmp_path, bundle)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert not any(word in data for word in (b"aggregate", b"torch", b"Attention", b"Spec"))


def test_damaged_weights_are_refused(bundle, tmp_path):
    save_bundle(tmp_path, bundle)
    path = tmp_path / "members.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SlicecacheError, match="SHA-256"):
        load_bundle(tmp_path)


def test_missing_files_are_refused(bundle, tmp_path):
    with pytest.raises(SlicecacheError, match="is not a bundle"):
        load_bundle(tmp_path)
    save_bundle(tmp_path, bundle)
    (tmp_path / "members.safetensors").unlink()
    with pytest.raises(SlicecacheError, match="weights"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"version": 2}, "version"), ({"surprise": 1}, "surprise"), ({"format": "other"}, "format")],
)
def test_other_formats_are_refused(bundle, tmp_path, change, words):
    save_bundle(tmp_path, bundle)
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SlicecacheError, match=words):
        load_bundle(tmp_path)


def test_weights_of_another_shape_are_refused(bundle, tmp_path):
    wrong = dict(bundle.states[0], **{"classifier.bias": torch.zeros(3)})
    with pytest.raises(SlicecacheError, match=r"'r2-f0-s7'.*classifier\.bias"):
        save_bundle(tmp_path, Bundle(bundle.card, (wrong, *bundle.states[1:])))
    with pytest.raises(SlicecacheError, match="3 members and has weights of 2"):
        save_bundle(tmp_path, Bundle(bundle.card, bundle.states[:2]))
    assert not list(tmp_path.iterdir())


def test_inconsistent_cards_are_refused(bundle):
    data = bundle.card.model_dump(mode="json")
    for change in (
        {"positive": "nobody"},
        {"members": [data["members"][0]] * 2},
        {"members": []},
        {"classes": ["one"], "positive": None},
    ):
        with pytest.raises(ValidationError):
            BundleCard.model_validate(data | change)
    with pytest.raises(ValidationError):
        Member.model_validate(data["members"][0] | {"name": "a/b"})
