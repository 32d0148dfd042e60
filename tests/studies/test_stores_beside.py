"""Two backbones' stores of the same volumes: their numbers side by side, from training to prediction."""

import json

import numpy as np
import pytest
import torch
import yaml
from made_up_store import example_arrays, example_draft, example_header, example_row

import slicecache as sc
from aggregate.bags.bags import lazy_bags, read_bags
from aggregate.predict.bundle import load_bundle
from cache_schema.common.errors import ConfigError
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

N = 24
SECTION = {
    "target": "dx",
    "train": {"epochs": 3, "learning_rate": 0.01},
    "folds": {"n": 2},
    "baselines": ["mean_pool_logistic"],
}
BOTH = {"tokens": ["cls", "large:patch_mean"], "stores": {"large": "large.zarr"}}


def make(location, *, dim, weights, people=range(N), slices=lambda i: 2 + i % 4, lowest=0.0):
    """A store of another backbone; the first slice may lie elsewhere."""
    header = example_header(("cls", "patch_mean"), dim=dim, weights=weights, slice_chunk=5)
    keys = {i: VolumeKey(f"{i:02d}", "", "T1w") for i in people}
    writer = StoreWriter.open(str(location), header, [example_row(keys[i], slices(i)) for i in people])
    for i in reversed(list(people)):  # in another order of rows
        draft = example_draft(keys[i], slices(i))
        moved = tuple(height + lowest for height in draft.slices.height_mm)
        draft = draft.model_copy(update={"slices": draft.slices.model_copy(update={"height_mm": moved})})
        values = example_arrays(header, slices(i), seed=i + dim)
        writer.commit(draft, {name: value + np.float32(i % 2) for name, value in values.items()})
    return open_store(location)


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / "small.zarr", dim=5, weights="small")
    make(tmp_path / "large.zarr", dim=9, weights="large")
    rows = [f"{i:02d}\t{'patient' if i % 2 else 'control'}" for i in range(N)]
    (tmp_path / "p.tsv").write_text("\n".join(["participant_id\tdx", *rows]) + "\n")
    return tmp_path


def pipeline(folder, **keys):
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "small.zarr"},
        "aggregate": {"cohort": "p.tsv", **SECTION, **BOTH, **keys},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return folder / "pipeline.yaml"


def command(*arguments):
    return sc.guarded(sc.cli.main, list(map(str, arguments)))


def test_numbers_of_a_slice_stand_side_by_side(folder):
    small, large = open_store(folder / "small.zarr"), open_store(folder / "large.zarr")
    entries = [small.entries[place] for place in (3, 0, 7)]
    both = read_bags(small, entries, "cls+large:patch_mean", beside={"large": large})
    theirs = read_bags(large, [large.entry(entry.key) for entry in entries], "patch_mean")
    assert torch.equal(both.x, torch.cat([read_bags(small, entries, "cls").x, theirs.x], dim=2))
    lazy = lazy_bags(small, entries, "cls+large:patch_mean", beside={"large": large})
    assert torch.equal(lazy.x[0:3], both.x)
    alone = read_bags(small, entries, "large:patch_mean", beside={"large": large})
    assert torch.equal(alone.x, theirs.x)


def test_training_bundle_and_predictions_know_both(folder, capsys):
    file = pipeline(folder)
    assert command("train", file) == 0
    card = load_bundle(folder / "run" / "train" / "bundle").card
    large = open_store(folder / "large.zarr")
    assert (card.tokens, card.dim) == ("cls+large:patch_mean", 14)
    assert card.beside["large"].fingerprint == large.header.fingerprint
    metrics = json.loads((folder / "run" / "train" / "metrics.json").read_text())
    assert metrics["beside"] == {"large": large.header.fingerprint.digest}
    again = yaml.safe_load((folder / "run" / "train" / "config.yaml").read_text())
    assert again["aggregate"]["stores"] == {"large": str(folder / "large.zarr")}

    own = sc.train(str(file))
    expected = own.predictions[own.predictions["configuration"] == "attention"]
    expected = expected.set_index("participant_id")["logit_patient"]
    found = sc.predict(own, folder / "small.zarr", beside={"large": folder / "large.zarr"})
    found = found.set_index("participant_id")["logit_patient"]
    np.testing.assert_allclose(found[expected.index], expected, atol=1e-5)

    run, small = folder / "run", folder / "small.zarr"
    assert (
        command("predict", run, small, "--beside", f"large={large.location}", "--out", folder / "o.csv") == 0
    )
    capsys.readouterr()
    for more, message in (
        ([], "reads from large beside its main store, and none was given: say --beside large=LOCATION"),
        (["--beside", "large"], "--beside takes NAME=STORE"),
        (["--beside", f"other={small}"], "and other was given"),
        (["--beside", f"large={small}"], "was trained on other embeddings than the store 'large'"),
    ):
        assert command("predict", run, small, *more) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"people": range(N - 2)},
            r"lacks 2 of the 24 volumes that are read .*: 22/T1w, 23/T1w; extract them",
        ),
        (
            {"slices": lambda i: 2 + i % 4 + (i == 3)},
            r"slices of 1 volume are not the same .*03/T1w \(5 slices from 0 to 8 mm and 6 slices",
        ),
        ({"lowest": 0.5}, r"slices of 24 volumes are not the same"),
    ],
)
def test_other_slices_or_volumes_are_refused(folder, other, message):
    make(folder / "odd.zarr", dim=9, weights="large", **other)
    with pytest.raises(sc.SlicecacheError, match=message):
        sc.train(str(pipeline(folder, stores={"large": "odd.zarr"})))


def test_a_store_that_is_not_named_and_names_that_are_none(folder):
    with pytest.raises(
        ConfigError, match=r"reads from a store 'large', which is not given; .*stores: \{large:"
    ):
        sc.train(str(pipeline(folder, stores={})))
    with pytest.raises(ConfigError, match=r"the store has no array 'clz'; did you mean 'cls'"):
        sc.train(str(pipeline(folder, tokens="large:clz")))
    with pytest.raises(ConfigError, match=r"aggregate\.stores"):
        sc.train(str(pipeline(folder, stores={"../x": "large.zarr"})))


def test_one_two_and_both_are_an_axis_of_an_ablation(folder):
    file = pipeline(
        folder,
        tokens="cls",
        ablate={
            "configurations": {"mean": {"head.kind": "mean"}},
            "tokens": ["cls", "large:cls", ["cls", "large:cls"]],
            "repeats": 1,
        },
    )
    found = sc.ablate(str(file))
    names = ["mean", "mean tokens=large:cls", "mean tokens=cls+large:cls"]
    assert found.table["configuration"].tolist()[:3] == names
