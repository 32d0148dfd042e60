"""Saliency against what the released code gave, in the volume's own space, and as a segmentation."""

from pathlib import Path

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from aggregate.anomaly.maps.placement import axis_weights
from aggregate.bags.bags import read_bags
from aggregate.heads.mst import MstSpec
from aggregate.predict.bundle import Bundle, BundleCard, Member
from aggregate.saliency.maps import in_plane, of_slices, product, saliency_map, token_saliency
from aggregate.saliency.measure import highest, overlap
from aggregate.training.stacked import apply_head
from cache_schema.common.errors import SlicecacheError
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

pytestmark = pytest.mark.numerics

PARITY = Path(__file__).parents[1] / "data" / "parity" / "mst.npz"
CASES = {"plain": (0, 4, 4), "registers": (4, 4, 4), "rect": (0, 3, 4), "padded": (0, 4, 4)}


@pytest.fixture(scope="module")
def released() -> dict[str, np.ndarray]:
    with np.load(PARITY, allow_pickle=False) as found:
        return {name: found[name] for name in found.files if name.startswith("s_")}


def ours(released, case):
    """Plane, slice and product of a case's inputs, in float64; padded slices have no attention."""
    registers, rows, cols = CASES[case]
    row = released[f"s_{case}_in_plane"][:, :, 0, 1 + registers :]
    plane = in_plane(row.reshape(*row.shape[:2], rows, cols))
    slices = of_slices(released[f"s_{case}_in_slice"][0, :, 0, 1:])
    return plane, slices, product(plane, slices)


@pytest.mark.parametrize("case", CASES)
def test_saliency_is_the_released_one(released, case):
    plane, slices, both = ours(released, case)
    wanted = {name: released[f"s_{case}_f64_{name}"] for name in ("plane", "slice", "product", "heads_mean")}
    flat = plane.reshape(wanted["plane"].shape)
    np.testing.assert_allclose(flat, wanted["plane"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(slices, wanted["slice"].ravel(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(flat * slices[:, None, None], wanted["product"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(both, wanted["heads_mean"][0, 0], rtol=0, atol=1e-14)
    assert both.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_it_is_enlarged_and_cut_as_released(released, case):
    _, rows, cols = CASES[case]
    both = ours(released, case)[2]
    sides = [axis_weights(1.0, 0.0, 14 * n, 14 * n, n) for n in (rows, cols)]
    up = sides[0] @ both.astype(np.float32) @ sides[1].T
    stored = released[f"s_{case}_f32_up"][0, 0]
    every = 1 if case == "plain" else 4
    np.testing.assert_allclose(up[:, ::every, ::every], stored, rtol=0, atol=1e-7)
    limits = np.quantile(up, [0.995, 0.999])
    np.testing.assert_allclose(limits, released[f"s_{case}_f64_quantiles"], rtol=0, atol=1e-7)
    called = released[f"s_{case}_f32_segmentation"][0, 0]
    level = np.abs(up - limits[1]) < 1e-7  # enlarging makes ties: only there may the two differ
    assert not (highest(up) != called)[~level].any()
    assert called.any() == (case != "registers")


GRID = (3, 5)


def study(tmp_path, tokens=("cls", "cls_attention"), head=None):
    """A store of two volumes and a bundle of two members, the second of which saw the second volume."""
    header = example_header(tokens, dim=8, heads=2, grid=GRID)
    keys = [example_key(n) for n in range(2)]
    writer = StoreWriter.open(str(tmp_path / "s.zarr"), header, [example_row(key, 6) for key in keys])
    for n, key in enumerate(keys):
        arrays = example_arrays(header, 6, n)
        if "cls_attention" in arrays:
            arrays["cls_attention"] = np.abs(arrays["cls_attention"])
        writer.commit(example_draft(key, 6), arrays)
    store = open_store(str(tmp_path / "s.zarr"))
    spec = head or MstSpec(heads=2)
    states = [
        {name: 3 * value[0] for name, value in spec.build(8, 2).init([seed]).items()} for seed in range(2)
    ]
    members = [
        Member(
            name=f"m{n}",
            configuration="mst",
            repeat=0,
            fold=n,
            seed=0,
            participants=seen,
            threshold=0.5,
            temperature=1.0,
            best_epoch=1,
            epochs=1,
        )
        for n, seen in enumerate([("q1",), ("p001",)])
    ]
    card = BundleCard(
        fingerprint=header.fingerprint,
        numerics=header.numerics,
        tokens="cls",
        dim=8,
        classes=("a", "b"),
        head=spec,
        members=tuple(members),
    )
    return Bundle(card, tuple(states)), store, keys


def test_a_volume_has_its_saliency_in_its_own_space(tmp_path):
    bundle, store, keys = study(tmp_path)
    for key, members in zip(keys, ([0, 1], [0]), strict=True):
        bags = read_bags(store, [store.entry(key)], "cls")
        attention = apply_head(bundle.head(), [bundle.states[m] for m in members], bags).attention
        shares = attention[:, 0].double().mean(0).numpy()
        plane = store.read_volume("cls_attention", key).astype(np.float64)
        plane[:, :, 0, 0] = 0
        wanted = np.zeros((6, *GRID))
        for n in range(6):
            for head in plane[n]:
                wanted[n] += shares[n] * head / head.sum() / 2
        tokens = token_saliency(bundle, store, key)
        np.testing.assert_allclose(tokens, wanted, rtol=0, atol=1e-6)
        found = saliency_map(bundle, store, key)
        assert found.shape == (60, 70, 10)
        assert not found[:, :, [0, 1, 8, 9]].any()  # off the kept slices
        # Voxel (34, 34) and its neighbours meet in the middle of the patch in row 1 and column 2.
        for n in range(6):
            near = found[34:36, 34:36, n + 2].mean()
            assert near == pytest.approx(wanted[n, 1, 2], abs=0.05 * wanted.max())


def test_what_cannot_be_shown_is_refused(tmp_path):
    bundle, store, keys = study(tmp_path)
    nobody = bundle.card.members[0].model_copy(update={"participants": ("p001",)})
    all_seen = bundle.card.model_copy(update={"members": (nobody, bundle.card.members[1])})
    with pytest.raises(SlicecacheError, match="'p001' had a part in every member"):
        saliency_map(Bundle(all_seen, bundle.states), store, keys[1])
    several = bundle.card.model_copy(update={"combine": "concat"})
    with pytest.raises(SlicecacheError, match="combine: concat"):
        saliency_map(Bundle(several, bundle.states), store, keys[0])
    bare, without, keys = study(tmp_path / "bare", tokens=("cls",))
    with pytest.raises(SlicecacheError, match=r"holds none; extract it with tokens: \[..., cls_attention\]"):
        saliency_map(bare, without, keys[0])


def test_overlap_by_hand():
    """Two boxes of 4 x 4 x 1 voxels, one voxel of 2 mm apart along rows."""
    one, other = np.zeros((2, 9, 8, 3), dtype=bool)
    one[2:6, 2:6, 1] = True
    other[3:7, 2:6, 1] = True
    found = overlap(one, other, (2.0, 1.0, 5.0))
    assert found.dice == pytest.approx(2 * 12 / 32)
    assert found.iou == pytest.approx(12 / 20)
    # All voxels of a layer are surface; a row of four has nobody at its place and is 2 mm from the next.
    assert found.surface_mm == pytest.approx(2 * 4 / 16)
    assert overlap(one, one, (1.0, 1.0, 1.0)).surface_mm == 0
    empty = overlap(one, np.zeros_like(one), (1.0, 1.0, 1.0))
    assert (empty.dice, empty.iou, empty.surface_mm) == (0, 0, None)
    with pytest.raises(SlicecacheError, match="a mask of shape"):
        overlap(one, other[1:], (1.0, 1.0, 1.0))


def test_saliency_finds_a_planted_lesion():
    """A bright token in one slice is what lies above the quantile."""
    up = np.random.default_rng(0).random((40, 40, 20))
    mask = np.zeros(up.shape, dtype=bool)
    mask[10:14, 10:14, 7:9] = True
    up[mask] += 2
    found = overlap(highest(up), mask, (1.0, 1.0, 1.0))
    assert found.dice == 1
    assert found.surface_mm == 0
