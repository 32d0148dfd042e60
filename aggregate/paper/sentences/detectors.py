"""Anomaly detectors: the reference group, each detector, and how its maps were judged."""

from collections.abc import Mapping
from typing import Any

from aggregate.anomaly.measure.tally import LESION_OVERLAP
from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.detector_scores import scores
from aggregate.paper.sentences.words import cite, joined, listed, parameters, told
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted

SOURCES: dict[str, tuple[str, ...]] = {
    "memory_bank": ("damm2025anomalydino",),
    "patchcore": ("roth2022patchcore",),
    "mahalanobis": ("defard2021padim",),
    "dpmm": ("schulthess2025dpmm",),
    "spatial_ar": ("erdil2026spatial",),
    "dino_ad": ("huo2026dinoad",),
}
"""By kind."""
SHARED = ("store", "limit_gib", "sample", "reference", "slices")
"""Settings that say where and how fast, or that are said elsewhere."""


def reference(run: Finished) -> str:
    """Who the normals are and how they were divided."""
    found = run.metrics["reference"]
    who = (
        "slices without a lesion voxel, of volumes that have a mask"
        if found.get("slices")
        else f"participants whose `{label(str(found['column']))}` is {told(found['value'])}"
    )
    counts: Mapping[str, int] = found["volumes"]
    parts = [
        (counts.get("fit", 0), "were fitted on"),
        (counts.get("calibration", 0), "set thresholds"),
        (counts.get("test", 0), "were held out"),
        (counts.get("other", 0), "are not of the reference group"),
    ]
    told_parts = listed(f"{n} {words}" for n, words in parts)
    return (
        f"The reference group is {who}. Of its volumes and the others, {told_parts}; a participant is in "
        f"one part "
        "only."
    )


def detectors(run: Finished) -> str:
    """Each of them with its settings."""
    specs = [spec for spec in run.said("detect", "detectors") or [] if isinstance(spec, dict)]
    if not specs:
        return f"Detectors and their settings: {TO_FILL}."
    return f"Detectors: {'; '.join(_detector(spec) for spec in specs)}."


def _detector(spec: Mapping[str, Any]) -> str:
    kind = str(spec.get("kind"))
    source = f" {cite(*SOURCES[kind])}" if kind in SOURCES else ""
    if kind == "custom":
        source = f" {label(str(spec.get('target')), 120)} (reference: {TO_FILL})"
    name = spec.get("name")
    called = f"{label(str(name))}, a {kind}" if name and name != kind else kind
    return f"{called.replace('_', ' ')}{source}{parameters(spec, *SHARED)}"


def baselines(run: Finished) -> str:
    """What every detector stands beside."""
    names = [label(name) for name in run.metrics["baselines"]]
    if not names:
        return ""
    return (
        f"Beside them stand {listed(names)}: what is known from where a patch lies alone, and from how "
        f"bright it "
        "is alone."
    )


def judged(run: Finished) -> str:
    """Thresholds, measures and intervals."""
    seeds = {int(one["n_seeds"]) for one in run.metrics["metrics"].values() if "n_seeds" in one}
    fits = (
        f"Every detector was fitted with {listed(counted(n, 'seed') for n in sorted(seeds))}."
        if seeds
        else ""
    )
    labels = (
        "A held-out volume counts as anomalous where its lesion mask holds a voxel, and without a mask where "
        "it is not of the reference group."
    )
    least = f"{100 * LESION_OVERLAP:g} %"
    found = f"A lesion is found where at least {least} of its measured voxels exceed a threshold."
    masks = any("foreground" in one for one in run.metrics["metrics"].values())
    voxels = (
        "Voxels are judged against lesion masks by AUROC, average precision, AUPRO "
        f"{cite('bergmann2021mvtec')} and Dice, inside the foreground and everywhere."
        if masks
        else "There were no lesion masks: volumes are judged by their label alone."
    )
    return joined(
        [
            fits,
            "Thresholds are score levels that 10, 5 and 1 % of the calibration normals' patches exceed.",
            voxels,
            found if masks else "",
            labels,
            f"Intervals: {run.metrics['ci_method']} {cite('efron1993bootstrap')}.",
        ]
    )


def detection(run: Finished) -> str:
    """All of it."""
    return joined([reference(run), detectors(run), baselines(run), scores(run), judged(run)])
