"""The forms in which tokens can be stored, and what is measured of each; see `storage.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache_schema.store.reader import StoreReader

SAMPLE = 120
"""Foreground patches of each volume that enter the nearest-neighbour scores."""
HALVES = 30
"""Random reference groups of the nearest-neighbour scores."""
FORMS = ("float32", "float16", "8 bit")


def quantised(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """Through 8 bits and back: one float16 scale per token of `(..., dim)`."""
    import numpy as np

    scale = np.abs(tokens).max(axis=-1, keepdims=True) / np.float32(127)
    # Rounded up, so that the largest number never exceeds 127 of the rounded scale.
    scale = np.nextafter(scale.astype(np.float16), np.float16(np.inf)).astype(np.float32)
    q = np.rint(tokens / np.where(scale > 0, scale, 1)).astype(np.int8)
    return q.astype(np.float32) * scale


def halved(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """Through float16 and back."""
    import numpy as np

    return tokens.astype(np.float16).astype(np.float32)


def ways() -> dict[str, tuple[Callable[[Any], Any], Callable[[int], float]]]:
    """Per form: to it and back, and the bytes of a token of `dim` numbers."""
    return {
        "float32": (lambda tokens: tokens, lambda dim: 4 * dim),
        "float16": (halved, lambda dim: 2 * dim),
        "8 bit": (quantised, lambda dim: dim + 2),
    }


@dataclass
class Features:
    """What the measures need of one form, by volume."""

    pooled: list[NDArray[np.float32]]
    """Mean of all foreground patches, `(dim,)`."""
    slices: list[NDArray[np.float32]]
    """Foreground-weighted mean patch per slice, `(slice, dim)`: `patch_mean` from this form's patches."""
    patches: list[NDArray[np.float32]]
    """A fixed sample of foreground patches, `(patch, dim)`."""


def features(store: StoreReader) -> tuple[dict[str, Features], dict[str, float]]:
    """Features of every form, and the bytes of `patches` per volume."""
    import numpy as np

    rng = np.random.default_rng(0)
    found = {form: Features([], [], []) for form in FORMS}
    tokens = 0
    for entry in store.entries:
        patches = store.read_volume("patches", entry.key).astype(np.float32)
        share = store.read_volume("foreground", entry.key).astype(np.float32)
        inside = np.argwhere(share > 0.5)
        chosen = tuple(inside[rng.permutation(len(inside))[:SAMPLE]].T)
        tokens += patches[..., 0].size
        for form, (through, _) in ways().items():
            values = through(patches)
            total = share.sum(axis=(1, 2), keepdims=True)
            weight = np.where(total > 0, share, 1.0)
            weight /= weight.sum(axis=(1, 2), keepdims=True)
            found[form].slices.append(np.einsum("srcd,src->sd", values, weight))
            found[form].pooled.append(np.einsum("srcd,src->d", values, share) / share.sum())
            found[form].patches.append(values[chosen])
    dim = patches.shape[-1]
    count = len(store.entries)
    return found, {form: tokens / count * size(dim) for form, (_, size) in ways().items()}


def logistic_aurocs(x: NDArray[np.float32], y: NDArray[np.int64], folds: Sequence[Any]) -> list[float]:
    """Logistic regression on standardised pooled patches, per fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    for train, test in folds:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        model.fit(x[train], y[train])
        found.append(float(roc_auc_score(y[test], model.decision_function(x[test]))))
    return found


def attention_aurocs(
    slices: Sequence[NDArray[np.float32]], y: NDArray[np.int64], folds: Sequence[Any], epochs: int
) -> list[float]:
    """The attention head on slice means, per fold, for a fixed number of epochs."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    from aggregate.bags.bags import Bags
    from aggregate.heads.attention import AttentionSpec
    from aggregate.losses.registry import LossSpec
    from aggregate.training.runs import RunSpec
    from aggregate.training.spec import TrainSpec
    from aggregate.training.stacked import apply_head, train_stacked

    x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in slices], batch_first=True)
    counts = torch.tensor([len(each) for each in slices])
    keep = torch.arange(x.shape[1]) < counts[:, None]
    bags = Bags(x, keep, torch.zeros(keep.shape))
    head, none = AttentionSpec(), np.array([], dtype=np.int64)
    train = TrainSpec(start="plain", epochs=epochs, patience=None)
    runs = [
        RunSpec("attention", number // 5, number % 5, 0, head, LossSpec(), train, rows, none)
        for number, (rows, _) in enumerate(folds)
    ]
    trained = train_stacked(bags, torch.from_numpy(y), torch.ones(len(y)), 2, runs)
    found = []
    for run, (_, test) in zip(trained, folds, strict=True):
        logits = apply_head(head.build(x.shape[2], 2), [run.state], bags.take(test)).logits[0]
        found.append(float(roc_auc_score(y[test], (logits[:, 1] - logits[:, 0]).numpy())))
    return found


def reference_halves(ill: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Random halves of those without the label: one half alone has too few pairs for a change of 0.002."""
    import numpy as np

    rng = np.random.default_rng(0)
    healthy = np.flatnonzero(ill == 0)
    banks = np.zeros((HALVES, len(ill)), dtype=bool)
    for bank in banks:
        bank[rng.permutation(healthy)[: len(healthy) // 2]] = True
    return list(banks)


def neighbour_scores(patches: Sequence[NDArray[np.float32]], bank: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 - cosine to the nearest patch of the reference volumes, `(volume, patch)`, for the others."""
    import numpy as np

    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in patches]
    reference = np.concatenate([each for each, inside in zip(unit, bank, strict=True) if inside])
    others = [each for each, inside in zip(unit, bank, strict=True) if not inside]
    return np.stack([1 - (each @ reference.T).max(axis=1) for each in others])
