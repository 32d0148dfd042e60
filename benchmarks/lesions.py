"""Detectors on lesions: choosing the combined one, DINO-AD's sensitivity, the tables, the cohorts held back.

    python benchmarks/lesions.py choose --json choose.json  # blobs of even seeds, as often as one likes
    python benchmarks/lesions.py sensitivity --json dino_ad.json
    python benchmarks/lesions.py tables --json tables.json
    python benchmarks/lesions.py held-back --json held_back.json

Everything is made below `--work` and gone on with there after a kill (`seconds.jsonl`: what it took). The
rule for choosing: of `COMBINATIONS`, the one with the highest foreground average precision, averaged over
the choosing cohorts, and of two within 0.005 the one with fewer parts. What was chosen is the default of
`kind: combined`; `held-back` runs that default.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lesions_cohorts import CHOOSING, COHORTS, HELD_BACK, LAYERS, REPORTED, Bench
from scipy import stats

Detectors = list[dict[str, Any]]

COLUMNS = ("pixel_auroc", "pixel_ap", "aupro", "dice_fpr05", "lesion_sensitivity", "volume_auroc")
BANK = {"kind": "memory_bank", "size": 20_000, "height_window_mm": 10.0}
SYMMETRY: Detectors = [{"kind": "symmetry"}, {"kind": "symmetry", "of": "intensity"}]
INTENSITY = {"kind": "intensity"}
INNER: Detectors = [{**BANK, "tokens": layer} for layer in LAYERS]

SINGLE: Detectors = [
    {**BANK, "name": "bank"},
    *({**BANK, "tokens": layer, "name": f"bank_{layer[-3:]}"} for layer in LAYERS),
    {"kind": "patchcore", "size": 4000, "sample": 40_000},
    {"kind": "mahalanobis"},
    *(
        {"kind": "symmetry", "of": of, "reach": reach, "name": f"symmetry_{of}_{reach}"}
        for of in ("tokens", "intensity")
        for reach in (1, 2)
    ),
]
"""What parts are worth alone."""

FOUR = [BANK, *SYMMETRY, INTENSITY]
COMBINATIONS: Detectors = [
    {"kind": "combined", "name": name.replace(", ", "+").replace(" ", "_"), **given}
    for name, given in {
        "bank, intensity": {"parts": [BANK, INTENSITY]},
        "bank, symmetry": {"parts": [BANK, *SYMMETRY]},
        "four": {"parts": FOUR},
        "four, max": {"parts": FOUR, "reduce": "max"},
        "four, covariance": {"parts": FOUR, "reduce": "covariance"},
        "four, all heights alike": {"parts": FOUR, "per_height": False},
        "four and mahalanobis": {"parts": [*FOUR, {"kind": "mahalanobis"}]},
        "four and mahalanobis, covariance": {
            "parts": [*FOUR, {"kind": "mahalanobis"}],
            "reduce": "covariance",
        },
        "four and two inner blocks": {"parts": [*INNER, *FOUR]},
        "four and two inner blocks, covariance": {"parts": [*INNER, *FOUR], "reduce": "covariance"},
    }.items()
]
"""`four` is the memory bank, both symmetries and intensity."""

BASE: dict[str, Any] = {"kind": "dino_ad", "preset": "as_read", "clusters": 8, "supports": 3}
VARIANTS: dict[str, dict[str, Any]] = {
    "as read: 2 clusters, 1 support": {"clusters": 2, "supports": 1},
    "8 clusters, 3 supports": {},
    **{f"{n} clusters": {"clusters": n} for n in (2, 4, 16)},
    **{f"{n} supports": {"supports": n} for n in (1, 10)},
    "window 10 mm": {"height_window_mm": 10.0},
    "mean of the cosines": {"reduce": "mean"},
    "matched by mean patch": {"match": "mean"},
    "foreground 0.5": {"min_foreground": 0.5},
    "no closing": {"closing": False},
    **{f"block {layer[-1]}": {"tokens": layer} for layer in LAYERS},
    "16 clusters, 10 supports, window 10 mm": {"clusters": 16, "supports": 10, "height_window_mm": 10.0},
}

CHOSEN: Detectors = [
    {"kind": "dino_ad", "preset": "as_read", "name": "as_read"},
    {**BASE, "name": "8_clusters_3_supports"},
    {"kind": "dino_ad", "preset": "ours", "name": "ours"},
]

TABLE: Detectors = [
    {"kind": "combined"},
    {"kind": "memory_bank", "size": 20_000},
    {**BANK, "name": "memory_bank_10mm"},
    {"kind": "patchcore"},
    {"kind": "mahalanobis"},
    {"kind": "mahalanobis", "per": "pooled", "name": "mahalanobis_pooled"},
    {"kind": "symmetry"},
    {"kind": "symmetry", "of": "intensity", "name": "symmetry_intensity"},
    {"kind": "dino_ad", "name": "dino_ad_ours"},
    {"kind": "dino_ad", "preset": "as_read", "name": "dino_ad_as_read"},
]
DPMM: Detectors = [
    {"kind": "dpmm", "name": "dpmm_ours"},
    {"kind": "dpmm", "preset": "as_released", "init": "paper", "name": "dpmm_as_released"},
]
AR: Detectors = [{"kind": "spatial_ar"}]
HELD: Detectors = [
    {"kind": "combined"},
    {**BANK, "name": "memory_bank_10mm"},
    {"kind": "patchcore", "size": 4000, "sample": 40_000},
    {"kind": "mahalanobis"},
    {"kind": "symmetry"},
    {"kind": "symmetry", "of": "intensity", "name": "symmetry_intensity"},
    {"kind": "dino_ad", "name": "dino_ad_ours"},
    {"kind": "dino_ad", "preset": "as_read", "name": "dino_ad_as_read"},
]
PASTED: Detectors = HELD[:1]


def rows_of(run: Path) -> dict[str, dict[str, float]]:
    """Foreground rows of a run by detector, the mean over seeds where there are several, with its sd."""
    table = pd.read_csv(run / "detectors.csv", dtype={"seed": str})
    table = table[table["region"] == "foreground"]
    found: dict[str, dict[str, float]] = {}
    for name, own in table.groupby("detector", sort=False):
        several = own[own["seed"] == "mean"]
        row = (several if len(several) else own).iloc[0]
        found[str(name)] = {column: float(row[column]) for column in (*COLUMNS, "prevalence", "ms_per_slice")}
        if len(several):
            sd = own[own["seed"] == "sd"].iloc[0]
            found[str(name)] |= {f"{column}_sd": float(sd[column]) for column in COLUMNS}
    return found


def choose(bench: Bench) -> dict[str, Any]:
    """Parts alone, and combinations, on the choosing cohorts."""
    detectors = [*SINGLE, *COMBINATIONS]
    found = {name: rows_of(bench.detect(name, "choose", detectors)) for name in CHOOSING}
    return {"mean": mean_over(list(found.values()))} | found


def mean_over(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean over cohorts of every detector's numbers."""
    return {
        name: {column: float(np.mean([run[name][column] for run in runs])) for column in runs[0][name]}
        for name in runs[0]
    }


def sensitivity(bench: Bench, cohorts: Sequence[str]) -> dict[str, Any]:
    """Variants of DINO-AD on the choosing cohorts, and the chosen one on others of odd seeds."""
    detectors = [{**BASE, **changes, "name": f"v{n}"} for n, changes in enumerate(VARIANTS.values())]
    found = mean_over([rows_of(bench.detect(name, "dino_ad", detectors)) for name in CHOOSING])
    names = {f"v{n}": words for n, words in enumerate(VARIANTS)}
    odd = {name: rows_of(bench.detect(name, "dino_ad", CHOSEN)) for name in cohorts}
    return {"dino_ad": {names.get(name, name): row for name, row in found.items()}} | odd


def tables(bench: Bench, cohorts: Sequence[str]) -> dict[str, Any]:
    """Every detector on the cohorts that are reported."""
    return {
        name: {
            **rows_of(bench.detect(name, "table", TABLE)),
            **rows_of(bench.detect(name, "dpmm", DPMM, seeds=5)),
            **(rows_of(bench.detect(name, "ar", AR)) if name == "blobs-7" else {}),
        }
        for name in cohorts
    }


def held_back(bench: Bench, cohorts: Sequence[str]) -> dict[str, Any]:
    """The chosen combination beside both baselines on cohorts that nothing was chosen on."""
    found: dict[str, Any] = {}
    for name in cohorts:
        if COHORTS[name].both:
            found[name] = one_brain_out(bench, name)
            continue
        run = bench.detect(name, "held", HELD)
        metrics = json.loads((run / "metrics.json").read_text())
        found[name] = {
            "rows": rows_of(run),
            "comparison": metrics["comparison"]["combined"],
            "verdict": metrics["verdict"],
        }
    return found


def one_brain_out(bench: Bench, cohort: str) -> dict[str, Any]:
    """Each brain's lesion scored by detectors fitted on the other brains as they are."""
    table = pd.read_csv(bench.ready(cohort) / "images" / "volumes.tsv", sep="\t")
    brains = sorted(set(table["participant_id"]))
    each = []
    for brain in brains:
        own, others = f"participant_id == '{brain}'", f"participant_id != '{brain}'"
        where = f"(state == 'lesion' and {own}) or (state == 'plain' and {others})"
        shares = {"fit": 0.72, "calibration": 0.28, "test": 0.0}
        run = bench.detect(cohort, brain, PASTED, split=shares, section={"where": where})
        each.append(rows_of(run))
    return {
        "rows": mean_over(each),
        "by_brain": dict(zip(brains, each, strict=True)),
        "comparison": {
            base: {column: difference(each, base, column) for column in ("pixel_auroc", "pixel_ap")}
            for base in ("position", "intensity")
        },
    }


def difference(runs: Sequence[Mapping[str, Mapping[str, float]]], base: str, column: str) -> dict[str, float]:
    """Of the combination and a baseline over brains: mean, its interval by Student's t, brains above."""
    values = np.array([run["combined"][column] - run[base][column] for run in runs])
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return {
        "difference": float(values.mean()),
        "ci_low": float(values.mean() - half),
        "ci_high": float(values.mean() + half),
        "above": int((values > 0).sum()),
        "brains": len(values),
    }


def show(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """A table for people."""
    print(f"\n### {title}\n\n| detector | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["pixel_ap"]):
        cells = [
            f"{row[column]:.3f}" + (f" ± {row[f'{column}_sd']:.3f}" if f"{column}_sd" in row else "")
            for column in COLUMNS
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Run one step; print its tables, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("choose", "sensitivity", "tables", "held-back"))
    parser.add_argument("--work", type=Path, default=Path("runs/lesions"))
    parser.add_argument("--images", type=Path, default=Path("../shared/data"), help="real brains, lesion/")
    parser.add_argument("--cohorts", nargs="+", choices=list(COHORTS), help="where there is a choice")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.work.resolve(), args.images.resolve())
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "choose": lambda: choose(bench),
        "sensitivity": lambda: sensitivity(bench, args.cohorts or ["texture-11"]),
        "tables": lambda: tables(bench, args.cohorts or [*REPORTED, "texture-11"]),
        "held-back": lambda: held_back(bench, args.cohorts or list(HELD_BACK)),
    }
    found = steps[args.step]()
    for title, rows in found.items():
        show(title, rows.get("rows", rows))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
