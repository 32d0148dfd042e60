"""How logits become probabilities and calls: what temperature and threshold were learnt on, what they are."""

from collections.abc import Mapping
from typing import Any

from aggregate.paper.finished import Finished
from aggregate.paper.sentences.words import cite, joined, listed, told
from aggregate.targets.told import task_told
from cache_schema.common.text.counts import counted

PLACES = {
    "inner folds": "on inner folds of the training part, every bag judged by a head that did not see it",
    "validation part": "on a validation part of the training part",
    "nothing": "on nothing",
}
"""What `calibration.learnt_on` of `metrics.json` names, as a sentence does."""


def inside(run: Finished) -> str:
    """Temperature and threshold, of targets that have them."""
    if not task_told(run.metrics).calibrates:
        return ""
    return joined([learnt(run), where(run.metrics.get("calibration")), values(run)])


def has_threshold(run: Finished) -> bool:
    """Whether there are two classes."""
    return bool(run.metrics["task"] == "binary")


def learnt(run: Finished) -> str:
    """By what both are chosen, and what they are where nothing could be learnt."""
    least = told(run.said("folds", "minimum_per_class"))
    ways = (
        f"Logits were divided by the temperature with the lowest cross entropy {cite('guo2017calibration')}"
    )
    first, usual = "Temperature", "the temperature is 1"
    if has_threshold(run):
        ways += ", and the threshold is the one with the largest sum of sensitivity and specificity"
        first, usual = "Threshold, temperature", "the threshold is 0.5 and the temperature 1"
    return (
        f"{ways}. {first} and every other choice come from the training part alone; where it is too small to "
        f"be divided, which it is as a rule with fewer than {least} participants of a class, {usual}."
    )


def where(facts: Mapping[str, Any] | None) -> str:
    """What the runs learnt them on."""
    counts = (facts or {}).get("learnt_on") or {}
    if not counts:
        return ""
    if set(counts) == {"nothing"}:
        return "Here nothing could be learnt in any run, and both stand as said."
    n = sum(counts.values())
    parts = listed(f"{PLACES.get(place, place)} in {times}" for place, times in counts.items())
    return f"Of {counted(n, 'run')} they were learnt {parts}."


def values(run: Finished) -> str:
    """Median and range over runs; nothing where they were not learnt."""
    facts = run.metrics.get("calibration") or {}
    if not set(facts.get("learnt_on") or {}) - {"nothing"}:
        return ""
    names = ["temperature", *["threshold"] * has_threshold(run)]
    shown = [f"the {name} {_spread(facts[name])}" for name in names]
    return f"Median (range) over runs: {listed(shown)}."


def _spread(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
