"""The first lines of a run whose truth is known: what was planted, found, given by chance, and saved.

The truth is the note that `slicecache simulate` leaves in `cohort/` of the run folder; chance is a run folder
`null/` in it, of the same commands on a cohort with nothing planted; what the store saves is `epoch.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregate.common.run_folder import EPOCH, METRICS_FILE, NULL, verb_folder
from aggregate.report.text.words import head_of, interval, named, number
from aggregate.targets.told import primary_of
from cache_schema.common.stored_json import read_json
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted

TRUTH = Path("cohort") / "simulation.json"
"""In the run folder."""
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, ZeroDivisionError)
EFFECTS = {
    "atrophy": "wider ventricles in every patient",
    "lesion": "dark lesions in every patient",
    "none": "nothing",
}
MOST_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Headline:
    """One line."""

    name: str
    sentence: str


def headlines(run_folder: Path) -> list[Headline]:
    """What is known of a run, in order; nothing of one whose truth is not known but what the store saved."""
    lines = {"Planted": _planted(run_folder)}
    if lines["Planted"]:
        lines["Found"] = "; ".join(_found(run_folder))
        by_chance = "; ".join(_found(run_folder / NULL, alone=True))
        told = f"the same commands where nothing was planted: {by_chance}"
        lines["By chance"] = told if by_chance else ""
    lines["Saved"] = _saved(run_folder / EPOCH)
    return [Headline(name, sentence) for name, sentence in lines.items() if sentence]


def _planted(run_folder: Path) -> str:
    """From the simulation's own note."""
    try:
        note = _read(run_folder / TRUTH)
        asked, planted = note["parameters"], note.get("planted")
        n = int(asked["participants"])
        if planted is None:
            return f"{EFFECTS[asked['effect']]}, in a cohort of {n}"
        return (
            f"one lesion in each of {int(planted['lesions'])} of {n} participants, "
            f"{planted['median_ml']:.1f} ml in the median ({planted['smallest_ml']:.1f} to "
            f"{planted['largest_ml']:.0f} ml), at {planted['darkening']:.0%} of the tissue's intensity"
        )
    except UNREADABLE:
        return ""


def _found(run_folder: Path, alone: bool = False) -> list[str]:
    """A sentence on the head and one on the detector that is named first.

    Args:
        run_folder: Whose verbs are told of.
        alone: Without what stands beside them.
    """
    told = []
    for verb, sentence in (("train", _of_head), ("detect", _of_detector)):
        try:
            told.append(sentence(_read(verb_folder(run_folder, verb) / METRICS_FILE), alone))
        except UNREADABLE:
            continue
    return told


def _of_head(metrics: Mapping[str, Any], alone: bool) -> str:
    primary = primary_of(metrics)
    value = _value(metrics["metrics"][primary.name])
    first = f"{label(named(head_of(metrics)))} has {primary.words} {value} by participant"
    rows = metrics["baselines"].items()
    beside = [
        f"{label(named(name))} {number(row[primary.name]['value'])}"
        for name, row in rows
        if primary.name in row
    ]
    return first if alone or not beside else f"{first} ({', '.join(beside)})"


def _of_detector(metrics: Mapping[str, Any], alone: bool) -> str:
    name, row = next(iter(metrics["metrics"].items()))
    volumes = f"volume AUROC {_value(row['volume_auroc'])}"
    inside = row.get("foreground")
    if inside is None:
        return f"{label(named(name))} has {volumes}"
    beside = [
        f"{label(named(other))} {number(found['foreground']['pixel_auroc']['value'])}"
        for other, found in metrics["baselines"].items()
        if "foreground" in found
    ]
    lesions = inside["lesion_sensitivity_fpr05"]["value"]
    n = inside["n_lesions"]["value"]
    told = f" ({', '.join(beside)})" if beside and not alone else ""
    return (
        f"{label(named(name))} finds {lesions:.0%} of {counted(round(n), 'lesion')} at its 5 % threshold, "
        f"pixel AUROC {_value(inside['pixel_auroc'])}{told}, {volumes}"
    )


def _saved(path: Path) -> str:
    try:
        found = _read(path)
        backbone, store = found["with_backbone"], found["from_store"]
        times = float(backbone["seconds"]) / (float(store["seconds"]) / int(store["epochs"]))
        return (
            f"one epoch of one fold with the backbone in the loop takes {backbone['seconds']:.1f} s "
            f"({counted(int(backbone['volumes']), 'volume')}, {int(backbone['slices']):,} slices); from the "
            f"store all {int(store['epochs'])} epochs of that fold take {store['seconds']:.1f} s, "
            f"{times:,.0f} times less for each"
        )
    except UNREADABLE:
        return ""


def _value(found: Mapping[str, Any]) -> str:
    """`0.93 (0.87 to 0.99)`."""
    return number(found["value"]) + (f" ({interval(found)})" if interval(found) else "")


def _read(path: Path) -> dict[str, Any]:
    """An object of a file that somebody may have sent."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} is larger than any that a run leaves")
    found: dict[str, Any] = read_json(path.read_bytes())
    return found
