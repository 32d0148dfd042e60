"""What each defect of DinoAtten3D's released code is worth, one switch at a time, on a simulated cohort.

The corrected recipe is the base; every row turns one thing back into what the release does, and is measured
on the same folds. What is reported by a defect (the best epoch by the test part, an AUROC of hard labels,
rows of one participant on both sides) is not what a new participant would get: that stands beside it.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import slicecache
from aggregate.bags.bags import Bags, read_bags
from aggregate.config.section import parse_section
from aggregate.statistics.metrics import auroc
from aggregate.training.runs import RunSpec
from aggregate.training.stacked import apply_head, train_stacked
from cache_schema.store.reader import open_store
from extract.simulate.tree import simulate_tree

FOLDS, REPEATS, EPOCHS = 5, 2, 40
CANVAS = 56
"""Pixels a side, in place of 224: a quarter of the sharpness, and a sixteenth of the time."""
STORES = {"main": "dinoatten3d", "whole": "letterbox", "released": "dinoatten3d_released"}
SWITCHES: dict[str, dict[str, Any]] = {
    "corrected (recipe: dinoatten3d)": {},
    "1 optimiser gets the embedding alone (head.train: embedding)": {"head": {"train": "embedding"}},
    "6 plain batches (train.class_balanced: false)": {"train": {"class_balanced": False}},
    "7 no early stop (train.patience: null)": {"train": {"patience": None}},
    "8 variance term acts (class_variance.reduction: sum); the release has mean": {
        "loss": {"class_variance": {"weight": 0.1, "reduction": "sum"}}
    },
    "all of 1, 6 and 7 (recipe: dinoatten3d_released)": {"recipe": "dinoatten3d_released"},
}
Rows = np.ndarray[Any, np.dtype[np.int64]]


def extracted(folder: Path, participants: int, seed: int) -> dict[str, tuple[Bags, torch.Tensor]]:
    """Bags and labels of a simulated cohort by store."""
    simulate_tree(folder / "cohort", participants, seed=seed, coarseness=2.0)
    others = {name: {"preset": preset} for name, preset in STORES.items() if name != "main"}
    extract: dict[str, Any] = {
        "input": {"bids": "cohort", "suffix": "T1w"},
        "backbone": {"kind": "untrained", "size": "tiny", "seed": 0},
        "tokens": ["cls"],
        "canvas": CANVAS,
        "stores": {"main": {"preset": STORES["main"]}, **others},
    }
    extract["stores"]["whole"]["slices"] = {"kind": "center", "n": 50, "of": "array"}
    data = {"run": {"folder": "run"}, "cache": {"store": "cache.zarr"}, "extract": extract}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    assert slicecache.guarded(slicecache.cli.main, ["extract", str(folder / "pipeline.yaml")]) == 0
    table = np.genfromtxt(
        folder / "cohort" / "participants.tsv", delimiter="\t", names=True, dtype=None, encoding="utf-8"
    )
    sick = {row["participant_id"].removeprefix("sub-"): row["diagnosis"] == "patient" for row in table}
    found = {}
    for name in STORES:
        place = "cache.zarr" if name == "main" else f"cache-{name}.zarr"
        store = open_store(str(folder / place))
        first = {entry.key.participant_id: entry for entry in reversed(store.entries)}
        y = torch.tensor([int(sick[name.removeprefix("sub-")]) for name in first])
        found[name] = read_bags(store, list(first.values()), "cls"), y
    return found


def rescanned(bags: Bags, y: torch.Tensor) -> tuple[Bags, torch.Tensor, Rows]:
    """A second scan of everybody: their own tokens, moved by a tenth of what people differ by."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(bags.x.shape, generator=generator) * 0.1 * bags.x.std(0, keepdim=True)
    again = Bags(
        torch.cat([bags.x, (bags.x + noise) * bags.keep.unsqueeze(2)]),
        bags.keep.repeat(2, 1),
        bags.height_mm.repeat(2, 1),
    )
    return again, y.repeat(2), np.tile(np.arange(len(y)), 2)


def parts(people: Rows, repeat: int, by_row: bool) -> Rows:
    """The fold of every bag."""
    generator = np.random.default_rng(repeat)
    n = len(people) if by_row else people.max() + 1
    hand = generator.permutation(np.arange(n) % FOLDS)
    return hand if by_row else hand[people]


def measured(
    bags: Bags, y: torch.Tensor, raw: dict[str, Any], people: Rows, by_row: bool = False, peek: bool = False
) -> dict[str, list[float]]:
    """AUROC of every fold: by logits, and by hard labels.

    Args:
        bags: Of all.
        y: Their labels.
        raw: Of the section, beside the recipe.
        people: Participant of every bag.
        by_row: Scans of one participant may be on both sides.
        peek: The test part says which epoch is kept.
    """
    section = parse_section({"cohort": "t", "target": "d", "recipe": "dinoatten3d", **raw})
    setup, specs, tests = section.setup(), [], []
    for repeat in range(REPEATS):
        hand = parts(people, repeat, by_row)
        for fold in range(FOLDS):
            test, validation = np.flatnonzero(hand == fold), np.flatnonzero(hand == (fold + 1) % FOLDS)
            inside = np.flatnonzero((hand != fold) & (hand != (fold + 1) % FOLDS))
            told = {"epochs": EPOCHS} | ({"watch": "auroc", "patience": EPOCHS} if peek else {})
            train = setup.train.model_copy(update=told)
            if train.patience is None or peek:
                inside = np.concatenate([inside, validation])
            held = test if peek else validation
            spec = RunSpec("it", repeat, fold, 0, setup.head, setup.loss, train, inside, held)
            specs.append(spec)
            tests.append(test)
    trained = train_stacked(bags, y, torch.ones(len(y)), 2, specs)
    found: dict[str, list[float]] = {"auroc": [], "hard": []}
    for run, test in zip(trained, tests, strict=True):
        head = setup.head.build(bags.x.shape[2], 2)
        logits = apply_head(head, [run.state], bags.take(test)).logits[0].double().numpy()
        score, truth = logits[:, 1] - logits[:, 0], y[test].numpy()
        found["auroc"].append(auroc(truth, score))
        found["hard"].append(auroc(truth, (score > 0).astype(float)))
    return found


def row(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation over folds."""
    print(f"| {name} | {np.nanmean(values):.3f} | {np.nanstd(values):.3f} |", flush=True)
    return {"name": name, "auroc": float(np.nanmean(values)), "sd": float(np.nanstd(values))}


def main() -> None:
    """Print a row per switch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = extracted(Path(folder), args.participants, args.seed)
    bags, y = stores["main"]
    print("| switch | AUROC | sd over folds |\n|---|---|---|")
    alone = np.arange(len(y))
    rows = []
    for name, raw in SWITCHES.items():
        found = measured(bags, y, raw, alone)
        rows.append(row(name, found["auroc"]))
        if not raw:
            rows.append(row("3 AUROC of hard labels", found["hard"]))
            again = measured(bags, y, raw, alone, peek=True)
            rows.append(row("2 epoch chosen by the test part", again["auroc"]))
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    for told, labels in (("", y), (", labels shuffled", shuffled)):
        both, twice, people = rescanned(bags, labels)
        for by_row in (False, True):
            name = f"4 split by {'row' if by_row else 'participant'}, two scans each{told}"
            rows.append(row(name, measured(both, twice, {}, people, by_row)["auroc"]))
    rows.append(row("2 epoch chosen by the test part, labels shuffled",
                    measured(bags, shuffled, {}, alone, peek=True)["auroc"]))  # fmt: skip
    rows.append(row("corrected, labels shuffled", measured(bags, shuffled, {}, alone)["auroc"]))
    for name in ("whole", "released"):
        rows.append(row(f"5 preset: {STORES[name]}", measured(*stores[name], {}, alone)["auroc"]))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
