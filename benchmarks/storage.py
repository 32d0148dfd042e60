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
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cache_schema.store.reader import StoreReader

ALLOWED = 0.002
"""Change of AUROC up to which the 8-bit form would be offered."""


def make_store(bids: Path, folder: Path, size: str, step_mm: float) -> str:
    """Extract in float32 and store in float32."""
    from cache_schema.common.pipeline_file import Pipeline
    from extract.extraction import run_extraction
    from extract.planning.config import ExtractSection

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
    return run_extraction(Pipeline(data, folder), section).store


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


def measure(options: argparse.Namespace, store: StoreReader) -> dict[str, Any]:
    """All measures of all forms."""
    import numpy as np
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score
    from storage_measures import (
        FORMS,
        attention_aurocs,
        features,
        logistic_aurocs,
        neighbour_scores,
        reference_halves,
    )

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
            shift = np.reshape(np.subtract(each, reference[name]), (options.repeats, -1)).mean(axis=1)
            row[f"{name}_change"] = float(shift.mean())
            row[f"{name}_change_error"] = float(shift.std(ddof=1) / options.repeats**0.5)
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
    last = result["forms"][-1]
    lines.append(
        f"standard error of the 8-bit change over repeats: logistic {last['logistic_change_error']:.4f}, "
        f"attention {last['attention_change_error']:.4f}"
    )
    word = "within" if result["offer_8_bit"] else "beyond"
    lines.append(f"8 bit changes an AUROC by up to {result['worst_8_bit_change']:.5f}, {word} {ALLOWED}")
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
    from cache_schema.store.reader import open_store

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) if options.store is None else options.store
        result = measure(options, open_store(make_store(options.bids, place, options.size, options.step_mm)))
    print(table_of(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
