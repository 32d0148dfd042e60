"""What storing tokens in fewer bits costs: bytes per volume, head AUROC, nearest-neighbour scores.

    python benchmarks/storage.py --bids ../shared/data/ds002748-2mm --json out.json

One extraction in float32, stored in float32, is the reference. The other forms are made from its numbers:
float16, and 8 bits with one float16 scale per token (`x ~ scale * q`, `q` in -127..127). Each form gets
the same folds, seeds and samples. An 8-bit form is worth offering only while no AUROC changes by more than
0.002.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache_schema.reader import StoreReader

ALLOWED = 0.002
"""Change of AUROC up to which the 8-bit form would be offered."""
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


def make_store(bids: Path, folder: Path, size: str, step_mm: float) -> str:
    """Extract in float32 and store in float32."""
    from cache_schema.settings import Pipeline
    from extract.config import ExtractSection
    from extract.run import extract

    section = ExtractSection.model_validate(
        {
            "input": {"bids": str(bids.resolve())},
            "backbone": {"kind": "untrained", "size": size},
            "slices": {"kind": "every", "step_mm": step_mm},
            "tokens": ["cls", "patch_mean", "patches"],
            "dtype": "float32",
            "storage": "float32",
        }
    )
    data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}}
    return extract(Pipeline(data, folder), section).store


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


def read_labels(store: StoreReader, table: Path, column: str, positive: str) -> NDArray[np.int64]:
    """0 or 1 per volume, from a participants table."""
    import numpy as np

    with table.open(encoding="utf-8", newline="") as stream:
        rows = {row["participant_id"]: row[column] for row in csv.DictReader(stream, delimiter="\t")}
    return np.array([int(rows[entry.key.participant_id] == positive) for entry in store.entries])


def splits(y: NDArray[np.int64], repeats: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Five stratified folds, repeated; every volume here is another participant."""
    from sklearn.model_selection import RepeatedStratifiedKFold

    return list(RepeatedStratifiedKFold(n_splits=5, n_repeats=repeats, random_state=0).split(y, y))


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

    from aggregate.bags import Bags
    from aggregate.heads.spec import AttentionSpec
    from aggregate.losses.spec import LossSpec
    from aggregate.training.runs import RunSpec
    from aggregate.training.spec import TrainSpec
    from aggregate.training.stacked import apply_head, train_stacked

    x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in slices], batch_first=True)
    counts = torch.tensor([len(each) for each in slices])
    keep = torch.arange(x.shape[1]) < counts[:, None]
    bags = Bags(x, keep, torch.zeros(keep.shape))
    head, none = AttentionSpec(), np.array([], dtype=np.int64)
    train = TrainSpec(epochs=epochs, patience=None)
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


def measure(options: argparse.Namespace, store: StoreReader) -> dict[str, Any]:
    """All measures of all forms."""
    import numpy as np
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    table = options.bids / "participants.tsv"
    y = read_labels(store, table, options.column, options.positive)
    ill = read_labels(store, table, options.ill_column, options.ill)
    banks = reference_halves(ill)
    folds = splits(y, options.repeats)
    found, sizes = features(store)
    rows: list[dict[str, Any]] = []
    reference: dict[str, Any] = {}
    for form in FORMS:
        each_bank = [neighbour_scores(found[form].patches, bank) for bank in banks]
        scores = np.stack(each_bank)
        values = {
            "logistic": logistic_aurocs(np.stack(found[form].pooled), y, folds),
            "attention": attention_aurocs(found[form].slices, y, folds, options.epochs),
        }
        reference = reference or {**values, "scores": scores}
        change = np.abs(scores - reference["scores"])
        row: dict[str, Any] = {"form": form, "patches_bytes_per_volume": round(sizes[form])}
        for name, each in values.items():
            row[f"{name}_auroc"] = float(np.mean(each))
            row[f"{name}_change"] = float(np.mean(each) - np.mean(reference[name]))
        top = np.sort(scores, axis=2)[:, :, -max(1, scores.shape[2] // 20) :].mean(axis=2)
        aurocs = [roc_auc_score(ill[~bank], volumes) for bank, volumes in zip(banks, top, strict=True)]
        row["neighbour_auroc"] = float(np.mean(aurocs))
        row["neighbour_change"] = row["neighbour_auroc"] - (rows[0] if rows else row)["neighbour_auroc"]
        row["score_change"] = float(change.max() / reference["scores"].std())
        row["score_rank_correlation"] = float(spearmanr(scores.ravel(), reference["scores"].ravel())[0])
        rows.append(row)
    names = ("logistic_change", "attention_change", "neighbour_change")
    worst = max(abs(rows[-1][name]) for name in names)
    return {
        "volumes": len(store.entries),
        "slices": sum(entry.n_slices for entry in store.entries),
        "backbone": f"untrained {options.size}",
        "target": options.column,
        "folds": len(folds),
        "forms": rows,
        "worst_8_bit_change": worst,
        "offer_8_bit": worst <= ALLOWED,
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def table_of(result: dict[str, Any]) -> str:
    """The measures for people."""
    lines = [
        f"{result['volumes']} volumes, {result['slices']} slices, {result['backbone']}, "
        f"{result['target']}, {result['folds']} folds",
        "form     MB/volume  logistic (change)   attention (change)  neighbours (change)  scores, rank corr.",
    ]
    for row in result["forms"]:
        cells = "".join(
            f"   {row[f'{name}_auroc']:.4f} ({row[f'{name}_change']:+.4f})"
            for name in ("logistic", "attention", "neighbour")
        )
        lines.append(
            f"{row['form']:8} {row['patches_bytes_per_volume'] / 1e6:9.2f}{cells}"
            f"   {row['score_change']:.2%} of sd, {row['score_rank_correlation']:.6f}"
        )
    word = "within" if result["offer_8_bit"] else "beyond"
    lines.append(f"8 bit changes an AUROC by up to {result['worst_8_bit_change']:.4f}, {word} {ALLOWED}")
    return "\n".join(lines)


def main() -> int:
    """Print a table, and JSON when asked."""
    parser = argparse.ArgumentParser(description="What storing tokens in fewer bits costs.")
    parser.add_argument("--bids", type=Path, required=True)
    parser.add_argument("--column", default="sex")
    parser.add_argument("--positive", default="M")
    parser.add_argument("--ill-column", default="group", help="for the nearest-neighbour scores")
    parser.add_argument("--ill", default="depr")
    parser.add_argument("--size", default="small", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--step-mm", type=float, default=6.0, help="distance of the slices taken")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--store", type=Path, default=None, help="a float32 store to use or to keep")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    from cache_schema.reader import open_store

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) if options.store is None else options.store
        result = measure(options, open_store(make_store(options.bids, place, options.size, options.step_mm)))
    print(table_of(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
