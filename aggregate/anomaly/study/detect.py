"""Detection from a checked plan to a run folder: fit, score, measure, maps, bundle, tables."""

import logging
from collections.abc import Sequence
from typing import Any

from aggregate.anomaly.findings.assemble import (
    detection_metrics,
    reference_rows,
    shown_detector,
    shown_volumes,
)
from aggregate.anomaly.findings.inside import curve_table
from aggregate.anomaly.findings.measure import MeasuredDetector, held_out, labelled, measure_fitted
from aggregate.anomaly.findings.people import held_out_people
from aggregate.anomaly.findings.results import DetectionResults
from aggregate.anomaly.findings.rows import slice_frame, slice_rows, volume_frame, volume_row
from aggregate.anomaly.findings.summarise import case_table, detector_table
from aggregate.anomaly.reference.group import STUDY_PARTS
from aggregate.anomaly.reference.prepare import DetectionPlan, reference_words
from aggregate.anomaly.request import DetectRequest
from aggregate.anomaly.scoring.execute import FinishedStore, finish_store
from aggregate.anomaly.scoring.wanted import Scorer, score_here
from aggregate.anomaly.study.bundle import DetectorCard, detector_member, save_detectors
from aggregate.anomaly.study.component_files import write_component_maps
from aggregate.anomaly.study.map_files import describe_fits, write_map_once
from aggregate.anomaly.study.predict import first_seeds
from aggregate.bags.views import view_of
from aggregate.common.artefacts import csv_text, write_text, write_yaml
from aggregate.common.run_folder import BUNDLE, METHODS, METRICS_FILE, REPORT
from aggregate.predict.seen import volumes_of
from cache_schema.common.terminal.progress import counting
from cache_schema.store.wanted import making_of

logger = logging.getLogger("slicecache")

MAPS = "maps"


def run_detection(plan: DetectionPlan, score: Scorer = score_here) -> DetectionResults:
    """Fit, score, measure, and write everything but the report and `metrics.json`, which are the door's.

    Killed at any time, the same call goes on behind the last epoch and the last volume.

    Args:
        plan: The study.
        score: Scores volumes, here or elsewhere.

    Raises:
        SlicecacheError: If a detector refuses the reference group.
        StoreError: If a store is damaged.
    """
    request = plan.request
    for sentence in (*plan.sentences(), plan.turnout.line()):
        logger.info("%s", sentence)
    finished = [finish_store(work, request.detect, request.folder, score) for work in plan.works]
    rows, slices = volume_rows(plan, finished)
    write_maps(request, finished)
    measured = {one.work.name: measure_all(one) for one in finished}
    results = detection_results(plan, finished, measured, rows, slices)
    for sentence in [*results.warnings, *results.notes, *results.verdict]:
        logger.info("%s", sentence)
    for one in finished:
        save(plan, one, results.metrics)
    write_detection(results)
    return results


def volume_rows(
    plan: DetectionPlan, finished: Sequence[FinishedStore]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `scores.csv` and, where asked for, `slices.csv`: by detector, seed and volume."""
    volumes: list[dict[str, Any]] = []
    slices: list[dict[str, Any]] = []
    every = [
        (one, fitted, member) for one in finished for fitted in one.fitted for member in one.work.members
    ]
    with counting("tables", len(every)) as count:
        for one, fitted, member in every:
            count()
            if member.part == "fit":
                volumes.append(volume_row(member.key, member.part, fitted, None, None))
                continue
            raw, around = one.read(fitted, member)
            scores = fitted.scaled(raw, around)
            volumes.append(volume_row(member.key, member.part, fitted, scores, around))
            if plan.request.detect.slice_scores:
                slices += slice_rows(member.key, member.part, fitted, scores, around)
    return volumes, slices


def write_maps(request: DetectRequest, finished: Sequence[FinishedStore]) -> None:
    """NIfTI maps of the volumes asked for, by each detector's first seed; baselines have none."""
    if request.detect.maps == "none":
        return
    folder, root = request.folder / MAPS, request.images
    parts = STUDY_PARTS[1:] if request.detect.maps == "all" else STUDY_PARTS[2:]
    for one in finished:
        drawn = [fitted for fitted in first_seeds(one.fitted) if not fitted.baseline]
        members = one.work.part(*parts)
        if not drawn or not members:
            continue
        between = request.detect.between
        describe_fits(folder, drawn, one.work.store.header.fingerprint.digest, between)
        with counting("maps", len(drawn) * len(members)) as count:
            for member in members:
                for fitted in drawn:
                    raw, around = one.read(fitted, member)
                    scores = fitted.scaled(raw, around)
                    write_map_once(folder, member.record, fitted, scores, root, between)
                    count()
        if request.detect.component_maps:
            write_component_maps(folder, one, members, root)


def measure_all(finished: FinishedStore) -> list[MeasuredDetector]:
    """Measure every detector and seed of a store."""
    work = finished.work
    labels = labelled(work.members, work.truth)
    known = [m for m in held_out(work.members) if work.truth is not None and work.truth.known(m.key)]
    with counting("measuring", len(known) * len(finished.fitted)) as count:
        return [
            measure_fitted(
                fitted,
                work.members,
                work.truth,
                labels,
                finished.reads[fitted.name, fitted.seed],
                count,
            )
            for fitted in finished.fitted
        ]


def detection_results(
    plan: DetectionPlan,
    finished: Sequence[FinishedStore],
    measured: dict[str, list[MeasuredDetector]],
    rows: list[dict[str, Any]],
    slices: list[dict[str, Any]],
) -> DetectionResults:
    """Put everything together."""
    metrics = detection_metrics(plan, finished, measured)
    scores = volume_frame(rows)
    return DetectionResults(
        folder=plan.request.folder,
        command=plan.request.command,
        config=dict(plan.request.config or {}),
        metrics=metrics,
        detectors=detector_table([one for own in measured.values() for one in own]),
        scores=scores,
        slices=slice_frame(slices) if plan.request.detect.slice_scores else None,
        verdict=metrics["verdict"],
        turnout=plan.turnout,
        headers={work.name: work.store.header for work in plan.works},
        content_digests={work.name: work.store.content_digest() for work in plan.works},
        shown=shown_volumes(finished[0], scores),
        detector=shown_detector(finished[0]),
        groups=reference_rows(plan),
        curves=curve_table(finished),
        cases=case_table([one for own in measured.values() for one in own]),
        n_scored=sum(one.n_scored for one in finished),
        notes=[*plan.notes, *plane_notes(plan), *few_normals(finished), *seed_notes(plan)],
        warnings=list(plan.warnings),
        people=held_out_people(finished[0], shown_detector(finished[0]), scores, plan.request.pictures),
    )


def few_normals(finished: Sequence[FinishedStore]) -> list[str]:
    """Which false positive rates of volumes the calibration part is too small for."""
    first = finished[0]
    rates = [name for name, limit in first.fitted[0].volume_limits.items() if limit is None]
    if not rates:
        return []
    n = len({member.participant for member in first.work.part("calibration")})
    told = " and ".join(f"{int(name.removeprefix('fpr'))} %" for name in rates)
    return [
        f"{n} calibration participants are too few to say which volume is above what {told} of normals "
        "reach; those columns of scores.csv are empty (9 are needed for 10 %, 19 for 5 %, 99 for 1 %)"
    ]


def plane_notes(plan: DetectionPlan) -> list[str]:
    """Which store is cut along which plane, where they differ."""
    planes = {work.name: work.store.header.fingerprint.plane for work in plan.works}
    if len(set(planes.values())) < 2:
        return []
    each = ", ".join(f"{name} {plane}" for name, plane in planes.items())
    return [
        f"the stores are cut along different planes ({each}): maps, volume and voxel measures are of the "
        "same volumes, slice measures of each store's own slices, which do not compare; the report's "
        f"pictures are of {plan.works[0].name}"
    ]


def seed_notes(plan: DetectionPlan) -> list[str]:
    """Detectors that depend on their seed and have few."""
    seeds = plan.request.detect.seeds
    return [
        f"{task.name} depends on its seed: report at least {task.spec.seeds_wanted} (seeds: "
        f"{task.spec.seeds_wanted}), not {seeds}"
        for work in plan.works
        for task in work.tasks
        if task.spec.seeds_wanted > seeds
    ]


def save(plan: DetectionPlan, finished: FinishedStore, metrics: dict[str, Any]) -> None:
    """Write one store's bundle: `bundle`, or `bundle/NAME` where there are several stores."""
    work = finished.work
    fitted = [one for one in finished.fitted if not one.baseline]
    if not fitted:
        return
    several = len(plan.works) > 1
    folder = plan.request.folder / BUNDLE / (work.name if several else "")
    reference = finished.streams[0].reference
    header = work.store.header
    people = {
        part: tuple(sorted({member.participant for member in work.part(part)})) for part in STUDY_PARTS[:3]
    }
    card = DetectorCard(
        fingerprint=header.fingerprint,
        numerics=header.numerics,
        making=making_of(header),
        dim=reference.dim,
        grid=reference.grid,
        n_slices=reference.n_slices,
        n_volumes=reference.n_volumes,
        reference=reference_words(plan.request.detect),
        profile=work.profile,
        participants=people,
        volumes=volumes_of(member.record for part in STUDY_PARTS[:3] for member in work.part(part)),
        members=tuple(detector_member(one) for one in fitted),
        training={
            "per_height": plan.request.detect.per_height,
            "split": plan.request.detect.split.model_dump(mode="json"),
            "content_digest": work.store.content_digest(),
            "metrics": {one.name: metrics["metrics"][one.name] for one in fitted},
        }
        | ({"views": [dict(view_of(view.header)) for view in work.views.values()]} if work.views else {}),
    )
    save_detectors(folder, card, fitted)


def write_detection(results: DetectionResults) -> None:
    """Write the run folder's tables and the resolved pipeline."""
    folder = results.folder
    for name in (METRICS_FILE, REPORT, METHODS):  # an earlier run's must not pass for this one's
        (folder / name).unlink(missing_ok=True)
    if results.config:
        write_yaml(folder / "config.yaml", results.config)
    write_text(folder / "detectors.csv", csv_text(results.detectors))
    write_text(folder / "scores.csv", csv_text(results.scores))
    write_text(folder / "curves.csv", csv_text(results.curves))
    if results.slices is not None:
        write_text(folder / "slices.csv", csv_text(results.slices))
