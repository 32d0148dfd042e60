"""What a trained head says over several views of the same slices: the mean of its logits."""

import numpy as np
import pytest
import torch
import yaml
from made_up_store import example_arrays, example_draft, example_header, example_row

import slicecache as sc
from aggregate.bags.bags import Bags, lazy_bags, read_bags
from aggregate.bags.beside import open_beside
from aggregate.bags.views import TestViewsSpec, with_views
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.bigru import BigruSpec
from aggregate.heads.mst import MstSpec
from aggregate.predict.bundle import load_bundle
from aggregate.training.stacked import apply_head, apply_to_views
from cache_schema.common.errors import ConfigError
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

N = 24
FLIPS = {"lr": "columns", "ap": "rows", "both": "both"}


def make(location, flip=None, weights="w", slices=lambda i: 2 + i % 4):
    """A store of one view: other tokens of the same slices, in another order of rows."""
    view = {"rotate_deg": 0.0, "about": "centre", "flip": flip} if flip else None
    header = example_header(("cls",), dim=5, weights=weights, slice_chunk=5, view=view)
    keys = {i: VolumeKey(f"{i:02d}", "", "T1w") for i in range(N)}
    writer = StoreWriter.open(str(location), header, [example_row(keys[i], slices(i)) for i in keys])
    for i in reversed(range(N)):
        values = example_arrays(header, slices(i), seed=i + 100 * (len(flip) if flip else 0))
        writer.commit(
            example_draft(keys[i], slices(i)), {n: v + np.float32(i % 2) for n, v in values.items()}
        )
    return open_store(location)


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / "main.zarr")
    for name, flip in FLIPS.items():
        make(tmp_path / f"{name}.zarr", flip)
    make(tmp_path / "other.zarr", "rows", weights="others")
    rows = [f"{i:02d}\t{'patient' if i % 2 else 'control'}" for i in range(N)]
    (tmp_path / "p.tsv").write_text("\n".join(["participant_id\tdx", *rows]) + "\n")
    return tmp_path


def pipeline(folder, **keys):
    aggregate = {
        "cohort": "p.tsv",
        "target": "dx",
        "train": {"epochs": 3, "learning_rate": 0.01},
        "head": {"kind": "mst", "heads": 1, "positions": "learned"},
        "folds": {"n": 2},
        "baselines": ["mean_pool_logistic"],
        "stores": {name: f"{name}.zarr" for name in (*FLIPS, "other")},
        **keys,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "main.zarr"}, "aggregate": aggregate}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return folder / "pipeline.yaml"


def logits_of(found):
    rows = found.predictions[found.predictions["configuration"] != "mean_pool_logistic"]
    return rows.set_index("participant_id")["logit_patient"].sort_index()


def test_eight_views_are_eight_times_one(folder):
    """Written out: four stores, forwards and backwards, each by itself through the trained members."""
    file = pipeline(folder, test_views={"stores": list(FLIPS), "backwards": True})
    found = sc.train(str(file), folder=folder / "out")
    bundle = load_bundle(folder / "out" / "train" / "bundle")
    assert bundle.card.views.stores == tuple(FLIPS)
    assert set(bundle.card.beside) == set(FLIPS)
    said = logits_of(found)
    for name, state in zip(bundle.card.members, bundle.states, strict=True):
        for place in range(N):
            if f"{place:02d}" in name.participants:
                continue
            every = []
            for store in ("main", *FLIPS):
                bags = read_bags(reader := open_store(folder / f"{store}.zarr"), _entry(reader, place), "cls")
                for x in (bags.x, bags.x.flip(1)):
                    alone = apply_head(bundle.head(), [state], Bags(x, bags.keep, bags.height_mm))
                    every.append(float(alone.logits[0, 0, 1]))
            assert said[f"{place:02d}"] == pytest.approx(np.mean(every), abs=1e-5)
            assert np.ptp(every) > 1e-3
    plain = sc.train(str(file), test_views={})
    assert not np.allclose(logits_of(plain), said, atol=1e-3)


def _entry(store, place):
    return [store.entry(VolumeKey(f"{place:02d}", "", "T1w"))]


def test_predictions_need_the_same_views(folder, capsys):
    file = pipeline(folder, test_views=["lr", "ap"])
    found = sc.train(str(file))
    places = {name: folder / f"{name}.zarr" for name in ("lr", "ap")}
    rows = sc.predict(found, folder / "main.zarr", beside=places).set_index("participant_id")["logit_patient"]
    np.testing.assert_allclose(rows.sort_index(), logits_of(found), atol=1e-5)
    assert sc.guarded(sc.cli.main, ["train", str(file)]) == 0
    capsys.readouterr()
    run, main = str(folder / "run"), str(folder / "main.zarr")
    assert sc.guarded(sc.cli.main, ["predict", run, main, "--beside", f"lr={places['lr']}"]) == 2
    assert "say --beside ap=LOCATION" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"test_views": ["gone"]}, "test_views reads from a store 'gone', which is not given"),
        ({"test_views": ["other"]}, "no view of the slices"),
        ({"test_views": ["lr", "lr"]}, "names each store once"),
        ({"test_views": ["lr"], "tokens": ["cls", "other:cls"]}, "tokens are of one store there"),
        ({"test_views": ["lr"], "harmonise": "combat"}, "harmonise and test_views exclude each other"),
    ],
)
def test_what_is_no_view_is_refused(folder, capsys, keys, message):
    assert sc.guarded(sc.cli.main, ["train", str(pipeline(folder, **keys))]) == 2
    assert message in capsys.readouterr().err


def test_ablations_take_the_slices_as_they_are(folder, capsys):
    ablate = {"configurations": {"a": {"head.kind": "mean"}}, "reference": "a"}
    file = pipeline(folder, test_views=["lr"], ablate=ablate)
    assert sc.guarded(sc.cli.main, ["ablate", str(file)]) == 2
    assert "test_views is for `train`" in capsys.readouterr().err


ORDERED = [
    (AttentionSpec(hidden=5), False),
    (MstSpec(heads=3), False),
    (MstSpec(heads=3, positions="learned"), True),
    (BigruSpec(hidden=3), True),
]
"""Heads, and whether the order of slices matters to them."""


@pytest.mark.parametrize(("spec", "cares"), ORDERED, ids=["attention", "mst", "mst_learned", "bigru"])
def test_backwards_is_the_kept_slices_the_other_way_round(spec, cares):
    """Written out bag by bag; heights stay where they are, and padding behind."""
    keep = torch.arange(6) < torch.tensor([[6], [4], [1]])
    x = torch.randn(3, 6, 12, generator=torch.Generator().manual_seed(3)) * keep.unsqueeze(-1)
    height_mm = torch.arange(6.0).flip(0).expand(3, 6) * keep
    bags = Bags(x, keep, height_mm)
    head = spec.build(12, 2)
    state = {name: value[0] for name, value in head.init([0]).items()}
    other = torch.zeros_like(x)
    for place, count in enumerate(keep.sum(1).tolist()):
        for slice_ in range(count):
            other[place, slice_] = x[place, count - 1 - slice_]
    plain, back = (apply_head(head, [state], Bags(t, keep, height_mm)).logits for t in (x, other))
    both = Bags(x, keep, height_mm, views=(Bags(x, keep, height_mm, backwards=True),))
    torch.testing.assert_close(apply_to_views(head, [state], both).logits, (plain + back) / 2)
    assert torch.allclose(plain, back, atol=1e-6) != cares
    assert torch.equal(apply_to_views(head, [state], bags).logits, plain)


def test_views_are_read_by_blocks_too(folder):
    store, beside = open_store(folder / "main.zarr"), open_beside({"lr": str(folder / "lr.zarr")}, "crc32c")
    entries, bag = list(store.entries), np.arange(N)
    spec = TestViewsSpec(stores=("lr",), backwards=True)
    found = []
    for read in (read_bags, lazy_bags):
        bags = with_views(
            read(store, entries, "cls", bag),
            spec,
            store,
            beside,
            "cls",
            entries,
            lambda other, own, read=read: read(other, own, "cls", bag),
        )
        assert [view.backwards for view in bags.views] == [False, True, True]
        found.append(bags.take([3, 0, 5]))
    head = AttentionSpec(hidden=5).build(5, 2)
    state = {name: value[0] for name, value in head.init([0]).items()}
    one, other = (apply_to_views(head, [state], bags).logits for bags in found)
    torch.testing.assert_close(one, other)


def test_nothing_more_is_nothing_said(folder):
    with pytest.raises(ConfigError, match="test_views"):
        sc.train(str(pipeline(folder)), test_views={"stores": ["lr"], "forwards": True})
    assert not load_bundle_of(folder).card.views.several


def load_bundle_of(folder):
    sc.train(str(pipeline(folder)), folder=folder / "plain")
    found = load_bundle(folder / "plain" / "train" / "bundle")
    assert "views" not in found.card.model_dump(mode="json")
    return found
