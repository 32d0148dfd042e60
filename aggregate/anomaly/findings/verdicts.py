"""Sentences on detectors: what the numbers say of them beside the baselines, and no more than that."""

from collections.abc import Mapping
from typing import Any

from cache_schema.common.text.counts import counted

METRIC_WORDS = {
    "foreground_pixel_auroc": "pixel AUROC in the foreground",
    "foreground_pixel_ap": "average precision in the foreground",
    "slice_auroc": "slice AUROC",
    "volume_auroc": "volume AUROC",
}
"""Compared metrics, as in `metrics.json`."""

FEW = 10
"""Volumes of a kind below which their number is said to be small."""
DECISIVE = ("foreground_pixel_auroc", "foreground_pixel_ap")
"""With masks a detector beats a baseline when it is better in both."""


def three_digits(value: float | None) -> str:
    """Three digits, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Three digits with a sign, or a dash."""
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def between(found: Mapping[str, Any]) -> str:
    """`, 0.100 to 0.300`, or nothing."""
    if found["ci_low"] is None:
        return ""
    return f", {signed(found['ci_low'])} to {signed(found['ci_high'])}"


def metric_entry(metrics: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A compared metric of one detector."""
    for region in ("foreground", "all"):
        if name.startswith(f"{region}_"):
            return (metrics.get(region) or {}).get(name.removeprefix(f"{region}_"))
    return metrics.get(name)


def detection_verdicts(metrics: Mapping[str, Any]) -> list[str]:
    """The sentences under the title, one detector after the other."""
    detectors, baselines = metrics["metrics"], metrics["baselines"]
    sentences = []
    if not any("foreground" in one for one in detectors.values()):
        sentences.append(
            "No held-out volume has a lesion mask, so nothing is known about how well lesions are found in "
            "voxels."
        )
        if all(one["volume_auroc"]["value"] is None for one in detectors.values()):
            sentences.append("No volume has a label either, so nothing at all is known about accuracy.")
            return sentences
        sentences += judged_by(metrics)
    sentences += headline(metrics)
    for name in detectors:
        sentences += against_baselines(name, metrics)
    sentences += unseen(metrics)
    if not detectors:
        sentences.append(f"Only the baselines were run: {', '.join(baselines)}.")
    return sentences


def judged_by(metrics: Mapping[str, Any]) -> list[str]:
    """What stands for the truth where no mask does, and how much of it there is."""
    volumes = (metrics.get("reference") or {}).get("volumes") or {}
    others, normals = int(volumes.get("other", 0)), int(volumes.get("test", 0))
    if not others or not normals:
        return []
    few = ", which are too few for a narrow interval to be believed" if min(others, normals) < FEW else ""
    return [
        f"Volumes are judged by the reference group alone: {counted(others, 'volume')} outside of it against "
        f"{counted(normals, 'held-out normal')}{few}."
    ]


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """With several detectors: which of them beat both baselines, before any of them is told of."""
    if len(metrics["metrics"]) < 2:
        return []
    winners = []
    for name in metrics["metrics"]:
        compared: Mapping[str, Any] = metrics["comparison"].get(name, {})
        asked = asked_of(compared)
        if asked and all(_better(found.get(metric)) for found in compared.values() for metric in asked):
            winners.append(name)
    n = len(metrics["metrics"])
    if not winners:
        return [f"None of {n} detectors is shown to beat both baselines, position and intensity."]
    return [
        f"{len(winners)} of {n} detectors beat both baselines, position and intensity: {', '.join(winners)}."
    ]


def asked_of(compared: Mapping[str, Any]) -> list[str]:
    """The metrics that decide: those of voxels, or without masks that of volumes."""
    decisive = [metric for metric in DECISIVE if any(metric in found for found in compared.values())]
    return decisive or (["volume_auroc"] if any("volume_auroc" in f for f in compared.values()) else [])


def against_baselines(name: str, metrics: Mapping[str, Any]) -> list[str]:
    """Does it beat both, by how much, and where not."""
    compared: Mapping[str, Any] = metrics["comparison"].get(name, {})
    own = metrics["metrics"][name]
    asked = asked_of(compared)
    if not asked:
        return [f"{name} cannot be compared with the baselines: nothing is defined for it here."]
    beaten = [base for base, found in compared.items() if all(_better(found.get(m)) for m in asked)]
    missed = [base for base in compared if base not in beaten]
    if not missed:
        first = f"{name} beats {' and '.join(beaten)}"
    elif beaten:
        first = f"{name} beats {' and '.join(beaten)} but is not shown to beat {' and '.join(missed)}"
    else:
        first = f"{name} is not shown to beat {' or '.join(missed)}"
    told = "; ".join(_told(metric, own, compared, metrics["baselines"]) for metric in asked)
    return [f"{first}: {told}.", *failures(name, own)]


def _better(found: Mapping[str, Any] | None) -> bool:
    """Better by more than chance over participants."""
    return found is not None and found["ci_low"] is not None and found["ci_low"] > 0


def _told(metric: str, own: Mapping[str, Any], compared: Mapping[str, Any], bases: Mapping[str, Any]) -> str:
    """One metric against every baseline."""
    value = metric_entry(own, metric) or {}
    parts = [
        f"{three_digits((metric_entry(bases[base], metric) or {}).get('value'))} of {base} "
        f"({signed(found[metric]['difference'])}{between(found[metric])})"
        for base, found in compared.items()
        if metric in found
    ]
    return f"{METRIC_WORDS[metric]} {three_digits(value.get('value'))} against {' and '.join(parts)}"


def failures(name: str, own: Mapping[str, Any]) -> list[str]:
    """Where a detector fails: lesions it does not find, thresholds that do not hold, what it cannot see."""
    found = own.get("foreground")
    if found is None:
        return []
    sentences = []
    sensitivity = found["lesion_sensitivity_fpr05"]["value"]
    n = found["n_lesions"]["value"]
    if sensitivity is not None and n:
        sentences.append(
            f"At the 5 % threshold {name} misses {1 - sensitivity:.0%} of {counted(round(n), 'lesion')}."
        )
    rate = found["pixel_fpr_fpr05"]["value"]
    if rate is not None and (rate > 0.1 or rate < 0.025):
        sentences.append(
            f"That threshold does not hold for {name} on the held-out volumes: {rate:.1%} of their normal "
            "foreground voxels exceed it, not 5 %."
        )
    return sentences


def unseen(metrics: Mapping[str, Any]) -> list[str]:
    """How much of the lesions the stores do not show; the same for all detectors of a store."""
    shares: dict[float, list[str]] = {}
    for name, one in [*metrics["metrics"].items(), *metrics["baselines"].items()]:
        if "all" in one:
            shares.setdefault(one["all"]["hidden_lesion"]["value"] or 0.0, []).append(name)
    several = len(shares) > 1
    return [
        f"{share:.0%} of lesion voxels lie off the kept slices or the canvas"
        + (f" of {names[0]}'s store, where it does not look." if several else ", where no detector looks.")
        for share, names in sorted(shares.items())
        if share > 0.05
    ]
