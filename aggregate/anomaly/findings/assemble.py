"""Metrics, findings and the resolved file, each put together from its parts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from aggregate.anomaly.findings.inside import part_maps
from aggregate.anomaly.findings.measure import MeasuredDetector, held_out
from aggregate.anomaly.findings.results import ShownVolume
from aggregate.anomaly.findings.summarise import by_name, compare_detectors, metrics_of
from aggregate.anomaly.findings.verdicts import detection_verdicts
from aggregate.anomaly.measure.intervals import METHOD
from aggregate.anomaly.reference.group import STUDY_PARTS, StudyVolume
from aggregate.anomaly.reference.prepare import DetectionPlan
from aggregate.anomaly.scoring.execute import FinishedStore
from aggregate.common.pictures import shown_preview
from aggregate.common.versions import versions

HIGHEST = 4
"""Volumes with the highest scores that the report shows."""


def detection_metrics(
    plan: DetectionPlan, finished: Sequence[FinishedStore], measured: Mapping[str, Sequence[MeasuredDetector]]
) -> dict[str, Any]:
    """The content of `metrics.json`; `measured` is by store."""
    first = plan.works[0]
    detectors: dict[str, Any] = {}
    baselines: dict[str, Any] = {}
    comparison: dict[str, Any] = {}
    for own in measured.values():
        seeds = by_name(own)
        bases = {name: found for name, found in seeds.items() if found[0].fitted.baseline}
        baselines |= {name: metrics_of(found) for name, found in bases.items()}
        for name, found in seeds.items():
            if name not in bases:
                detectors[name] = metrics_of(found)
                comparison[name] = {base: compare_detectors(found, theirs) for base, theirs in bases.items()}
    out: dict[str, Any] = {
        "task": "detection",
        "n_participants": len({member.participant for member in first.members}),
        "n_volumes": len(first.members),
        "reference": {
            "column": plan.request.detect.reference.column,
            "value": list(plan.request.detect.reference.wanted),
            "slices": plan.request.detect.reference.slices,
            "profile": first.profile.model_dump(mode="json"),
            "volumes": dict(Counter(member.part for member in first.members)),
        },
        "fingerprint": first.store.header.fingerprint.digest,
        "numerics": first.store.header.numerics.digest,
        "content_digest": first.store.content_digest(),
        "warnings": list(plan.warnings),
        "metrics": detectors,
        "baselines": baselines,
        "comparison": comparison,
        "ci_method": METHOD,
        "thresholds": thresholds(finished),
        **plan.turnout.as_json(),
        "versions": versions(),
    }
    out["verdict"] = detection_verdicts(out)
    return out


def thresholds(finished: Sequence[FinishedStore]) -> dict[str, Any]:
    """By detector and seed: thresholds on token scores, and limits of volume scores."""
    found: dict[str, Any] = {}
    for one in finished:
        for fitted in one.fitted:
            found.setdefault(fitted.name, {})[str(fitted.seed)] = {
                "tokens": fitted.thresholds,
                "volumes": dict(fitted.volume_limits),
                "n_slices": fitted.calibration.n_slices,
                "n_tokens": fitted.calibration.n_tokens,
            }
    return found


def reference_rows(plan: DetectionPlan) -> list[tuple[str, str, int, int]]:
    """Participants and volumes of every part of every store."""
    rows: list[tuple[str, str, int, int]] = []
    for work in plan.works:
        for part in STUDY_PARTS:
            members = work.part(part)
            rows.append((work.name, part, len({member.participant for member in members}), len(members)))
    return rows


def shown_detector(finished: FinishedStore) -> str:
    """Whose maps the report shows: the first detector that is no baseline, else the first one."""
    names = [fitted.name for fitted in finished.fitted if not fitted.baseline]
    return (names or [finished.fitted[0].name])[0]


def shown_volumes(finished: FinishedStore, scores: pd.DataFrame) -> list[ShownVolume]:
    """The held-out volumes with the highest scores, and a held-out normal of middling score."""
    name = shown_detector(finished)
    fitted = next(one for one in finished.fitted if one.name == name)
    members = {tuple(member.key.as_list()): member for member in held_out(finished.work.members)}
    own = scores[(scores["detector"] == name) & (scores["seed"] == fitted.seed)]
    own = own[own["part"].isin(["test", "other"])].sort_values("score", ascending=False, kind="stable")
    top = list(own.head(HIGHEST).itertuples(index=False))
    normals = list(own[own["part"] == "test"].itertuples(index=False))
    shown = [(row, "") for row in top]
    if normals and normals[len(normals) // 2] not in top:
        shown.append((normals[len(normals) // 2], "a held-out normal, for comparison: "))
    found = []
    for row, before in shown:
        member: StudyVolume = members[str(row.participant_id), str(row.session_id), str(row.volume_id)]
        raw, around = finished.read(fitted, member)
        scaled = fitted.scaled(raw, around)
        known = {"test": "reference group, held out", "other": "not in the reference group"}[str(row.part)]
        found.append(
            ShownVolume(
                caption=f"{before}{member.key} ({known}), score {row.score:.4g}",
                preview=shown_preview(finished.work.store, member.key),
                tokens=scaled.tokens,
                foreground=around.foreground,
                height_mm=around.height_mm,
                slices=scaled.slices,
                threshold=fitted.thresholds["fpr10"],
                parts=part_maps(finished, member),
            )
        )
    return found
