"""AnomalyDINO's options against numbers of its released code (`tests/data/parity`), and written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from aggregate.anomaly.arithmetic.pca_mask import first_component, pca_mask
from aggregate.anomaly.arithmetic.shots import Shots
from aggregate.anomaly.detectors.base import Reference, SliceBatch
from aggregate.anomaly.detectors.memory_bank import MemoryBank, MemoryBankSpec
from aggregate.anomaly.fitting.fit import fit
from aggregate.anomaly.fitting.stream import open_stream
from cache_schema.common.errors import ConfigError

pytestmark = pytest.mark.numerics

PARITY = Path(__file__).parents[1] / "data" / "parity" / "anomalydino.npz"
GRID = (20, 16)
MASKS = {
    "ref0": 0, "ref1": 1, "test0_holes": 2, "test1": 3, "test2_negative": 4,
    "none": None, "corner": None, "large": None, "border_lt_35pct": None,
}  # fmt: skip
"""By case: which of the stored images it is of."""


@pytest.fixture(scope="module")
def released() -> dict[str, np.ndarray]:
    with np.load(PARITY, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def batch_of(patches: torch.Tensor, foreground: torch.Tensor | None = None) -> SliceBatch:
    n, rows, cols = patches.shape[:3]
    return SliceBatch(
        patches=patches.float(),
        foreground=torch.ones(n, rows, cols) if foreground is None else foreground,
        intensity=torch.zeros(n, rows, cols),
        cls=patches.mean((1, 2)),
        height_mm=torch.arange(n).float(),
        volume=torch.arange(n),
    )


def images(released) -> torch.Tensor:
    return torch.from_numpy(released["tokens"]).unflatten(1, GRID)


def fitted(patches: torch.Tensor, **options) -> MemoryBank:
    detector = MemoryBankSpec(bank="all", **options).build(0)
    detector.start(Reference(patches.shape[3], tuple(patches.shape[1:3]), len(patches), len(patches)))
    detector.observe(batch_of(patches), 0)
    detector.end_epoch(0, None)
    return detector


COMBOS = {
    "cosine_k1": {},
    "l2_k1": {"metric": "l2"},
    "cosine_k3": {"neighbours": 3},
    "l2_k3": {"metric": "l2", "neighbours": 3},
    "cosine_k1_masked": {"mask": "test"},
    "cosine_k1_masked_both": {"mask": "both"},
    "l2_k3_masked_both": {"metric": "l2", "neighbours": 3, "mask": "both"},
}


@pytest.mark.parametrize("combo", COMBOS)
def test_maps_and_scores_are_the_released_ones(released, combo):
    tolerance = 1e-5 if combo.startswith("l2") else 1e-6
    detector = fitted(images(released)[:2], as_released=True, **COMBOS[combo])
    queries = batch_of(images(released)[2:])
    scores = detector.score(queries)
    np.testing.assert_allclose(scores.numpy(), released[f"{combo}_map"], rtol=0, atol=tolerance)
    of_slices = detector.score_slices(queries, scores).numpy()
    np.testing.assert_allclose(of_slices, released[f"{combo}_score"], rtol=0, atol=tolerance)
    exact = f"{combo}_map_float64"
    if exact in released:
        np.testing.assert_allclose(scores.numpy(), released[exact], rtol=0, atol=tolerance)


@pytest.mark.parametrize("combo", [combo for combo in COMBOS if "masked" not in combo])
def test_the_distances_are_a_brute_force_search(released, combo):
    """In float64, by numpy: of ours, which differs where theirs seems wrong."""
    options = COMBOS[combo]
    tokens = images(released).double().numpy()
    bank, queries = tokens[:2].reshape(-1, 16), tokens[2:].reshape(-1, 16)
    if options.get("metric") == "l2":
        apart = np.sqrt(((queries[:, None] - bank) ** 2).sum(2))
    else:
        unit = [v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (queries, bank)]
        apart = 1 - unit[0] @ unit[1].T
    wanted = np.sort(apart, axis=1)[:, : options.get("neighbours", 1)].mean(1)
    found = fitted(images(released)[:2], **options).score(batch_of(images(released)[2:]))
    np.testing.assert_allclose(found.numpy().ravel(), wanted, rtol=0, atol=2e-5)


def test_where_the_released_rules_differ_from_ours(released):
    """The root of a mean square, and a token of zeros (test image 2, patch 37)."""
    queries, references = batch_of(images(released)[2:]), images(released)[:2]
    near = {"metric": "l2", "neighbours": 3}
    theirs, ours = (fitted(references, as_released=r, **near).score(queries) for r in (True, False))
    assert float((theirs - ours).max()) == pytest.approx(1.3, abs=0.05)
    cosine = [fitted(references, neighbours=3, as_released=r).score(queries) for r in (True, False)]
    places = [float(score[2].flatten()[37]) for score in cosine]
    assert places == pytest.approx([0.5, 1.0], abs=1e-6)


@pytest.mark.parametrize("case", MASKS)
def test_the_mask_is_the_released_one(released, case):
    place = MASKS[case]
    tokens = released[f"mask_tokens_{case}"] if place is None else released["tokens"][place]
    patches = torch.from_numpy(tokens).unflatten(0, GRID).unsqueeze(0)
    component = first_component(patches.flatten(1, 2)).view(GRID).numpy()
    np.testing.assert_allclose(component, released[f"mask_first_pc_{case}"], rtol=0, atol=1e-4)
    found = pca_mask(patches, 10.0, as_released=True)[0].numpy()
    assert (found == released[f"mask_{case}"]).all()


def test_our_mask_grows_on_the_grid_and_is_never_empty(released):
    component = -released["mask_first_pc_ref0"]  # the middle says that the other end is meant
    assert (component[4:16, 3:12] > 10).mean() > 0.65
    square = np.ones((3, 3), dtype=bool)
    grown = ndimage.binary_dilation(ndimage.binary_dilation(component > 10, square), square)
    wanted = ndimage.binary_erosion(grown, square, border_value=1)
    found = pca_mask(images(released)[:1], 10.0)[0].numpy()
    assert (found == wanted).all()
    assert int(found.sum()) == 236  # 190 as released
    nothing = torch.from_numpy(released["mask_tokens_none"]).view(1, *GRID, 16)
    assert pca_mask(nothing, 10.0).all()
    assert not pca_mask(nothing, 10.0, as_released=True).any()


def test_the_largest_percent_is_of_all_patches(released):
    detector = MemoryBankSpec(top="all").build(0)
    for values, n, wanted in zip(
        released["top_values"], released["top_lengths"], released["top_mean"], strict=True
    ):
        scores = torch.from_numpy(values[:n]).view(1, 1, -1)
        batch = batch_of(torch.zeros(1, 1, n, 3), torch.zeros(1, 1, n))
        assert float(detector.score_slices(batch, scores)) == pytest.approx(wanted, abs=1e-12)


def test_rotated_references_are_a_larger_bank(released):
    """Tokens of one image, and of its eight rotations: what a store of rotated images gives."""

    def tokens(picture: np.ndarray) -> torch.Tensor:
        patches = picture.reshape(20, 2, 16, 2, 3).transpose(0, 2, 1, 3, 4).reshape(1, 20, 16, 12)
        return torch.from_numpy(patches.astype(np.float32))

    query = batch_of(tokens(released["rotation_test_image"]))
    whole = torch.cat([tokens(picture) for picture in released["rotation_uint8"]])
    for name, references in (("off", tokens(released["rotation_image"])), ("on", whole)):
        detector = fitted(references, as_released=True)
        scores = detector.score(query)
        np.testing.assert_allclose(scores.numpy(), released[f"rotation_{name}_map"], rtol=0, atol=1e-6)
        score = float(detector.score_slices(query, scores))
        assert score == pytest.approx(float(released[f"rotation_{name}_score"][0]), abs=1e-6)


@pytest.mark.parametrize("unit", ["slices", "volumes"])
def test_few_shots_are_few_and_follow_the_seed(normal_store, unit):
    store = normal_store([5, 3, 4, 6])
    found = []
    for seed in (0, 0, 1, 2, 3):
        detector = MemoryBankSpec(shots=2, shots_of=unit).build(seed)
        fit([detector], open_stream(store))
        found.append(detector.state()["bank"])
    assert torch.equal(found[0], found[1])
    assert len({tuple(bank[0].tolist()) for bank in found}) > 1
    whole = [store.read_volume("patches", entry.key).astype(np.float32) for entry in store.entries]
    rows = np.concatenate([volume.reshape(-1, 11) for volume in whole])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    of_row = [(n, i) for n, volume in enumerate(whole) for i in range(len(volume)) for _ in range(15)]
    for bank in found:
        near = bank.numpy() @ rows.T
        assert near.max(1).min() > 1 - 1e-5
        places = [of_row[row] for row in near.argmax(1)]
        if unit == "slices":
            assert len(set(places)) == 2
            assert len(bank) == 2 * 15
        else:
            assert len({volume for volume, _ in places}) == 2
            assert len(set(places)) == sum([5, 3, 4, 6][n] for n in {volume for volume, _ in places})


def test_shots_of_volumes_do_not_depend_on_the_order():
    def drawn(order):
        shots = Shots(3, "volumes", 0)
        for number in order:
            admitted = torch.ones(1, 1, 2, dtype=torch.bool)
            shots.add(admitted.unsqueeze(3) * float(number), admitted, torch.zeros(1), torch.tensor([number]))
        return shots.rows()[0].flatten().tolist()

    orders = [range(12), [*range(12)][::-1], [5, 3, 11, 0, 8, 7, 1, 2, 10, 4, 6, 9]]
    assert len({tuple(drawn(order)) for order in orders}) == 1
    assert len(set(drawn(range(12)))) == 3


def test_without_a_reference_slices_score_each_other(released):
    detector = MemoryBankSpec(bank="batch").build(0)
    assert detector.epochs == 0
    detector.start(Reference(16, GRID, 5, 1))
    batch = batch_of(images(released))
    found = detector.score(batch).numpy().reshape(5, -1)
    unit = released["tokens"] / np.maximum(np.linalg.norm(released["tokens"], axis=2, keepdims=True), 1e-12)
    for place in range(5):
        others = np.concatenate([unit[n] for n in range(5) if n != place])
        np.testing.assert_allclose(found[place], 1 - (unit[place] @ others.T).max(1), rtol=0, atol=1e-5)
    assert not detector.score(batch.take(slice(0, 1))).any()  # nobody to compare with


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"shots": 17}, "less than or equal to 16"),
        ({"bank": "batch", "shots": 2}, "bank: batch has no reference"),
        ({"bank": "batch", "height_window_mm": 3}, "bank: batch has no reference"),
        ({"mask": "reference"}, "'none', 'test' or 'both'"),
    ],
)
def test_settings_that_contradict_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        MemoryBankSpec(**bad)


def test_shots_beyond_the_memory_are_refused():
    detector = MemoryBankSpec(shots=16, shots_of="volumes").build(0)
    with pytest.raises(ConfigError, match=r"take 8\.\d+ GiB.*more than limit_gib"):
        detector.start(Reference(384, (32, 32), 36_000, 100))


def test_options_of_before_are_written_as_before():
    """A detector without the new options has the identity that it had."""
    assert MemoryBankSpec().model_dump(mode="json") == {
        "kind": "memory_bank",
        "store": None,
        "name": None,
        "bank": "uniform",
        "size": None,
        "sample": 200_000,
        "height_window_mm": None,
        "min_foreground": 0.0,
        "limit_gib": 8.0,
    }
