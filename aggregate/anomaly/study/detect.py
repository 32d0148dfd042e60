"""Detection from a pipeline to a run folder: check, fit, score, measure, maps, bundle, files, report."""

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aggregate.anomaly.findings.assemble import (
    findings,
    group_rows,
    metrics_json,
    resolved_detection,
    shown_detector,
)
from aggregate.anomaly.findings.measure import Measured, held_out, labelled, measure_fitted
from aggregate.anomaly.findings.results import DetectionResults
from aggregate.anomaly.findings.rows import slice_frame, slice_rows, volume_frame, volume_row
from aggregate.anomaly.findings.summarise import detector_table
from aggregate.anomaly.reference.group import PARTS
from aggregate.anomaly.reference.prepare import Prepared, prepare, reference_words
from aggregate.anomaly.reference.truths import bids_root
from aggregate.anomaly.scoring.execute import Finished, counting, finish
from aggregate.anomaly.study.bundle import DetectorCard, member_of, save_detectors
from aggregate.anomaly.study.map_files import describe, write_map_once
from aggregate.anomaly.study.predict import first_seeds
from aggregate.common.artefacts import log_to, write_json, write_text, write_yaml
from cache_schema.common.pipeline_file import Pipeline

MAPS = "maps"
BUNDLE = "bundle"


def detect_pipeline(pipeline: Pipeline) -> DetectionResults:
    """Fit detectors on the reference group, score everybody else, measure and report.

    Killed at any time, the same call goes on behind the last epoch and the last volume, and leaves the same
    files as if it had not been killed, but for what it measured in seconds.

    Args:
        pipeline: Names the store and the run folder, and has `aggregate.detect`.

    Raises:
        SlicecacheError: If the file, a store, the table or the masks cannot be used as asked.
    """
    prepared = prepare(pipeline)
    with log_to(prepared.folder) as logger:
        for sentence in prepared.sentences():
            logger.info("%s", sentence)
        finished = [finish(work, prepared.detect, prepared.folder) for work in prepared.works]
        rows, slices = volume_rows(prepared, finished)
        write_maps(prepared, finished)
        measured = {one.work.name: measure_all(one) for one in finished}
        results = assemble(prepared, finished, measured, rows, slices)
        for sentence in [*results.warnings, *results.notes, *results.verdict]:
            logger.info("%s", sentence)
        for one in finished:
            save(prepared, one, results.metrics)
        write_results(results)
    return results


def volume_rows(
    prepared: Prepared, finished: Sequence[Finished]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `scores.csv` and, where asked for, `slices.csv`: by detector, seed and volume."""
    volumes: list[dict[str, Any]] = []
    slices: list[dict[str, Any]] = []
    for one in finished:
        for fitted in one.fitted:
            for member in one.work.members:
                if member.part == "fit":
                    volumes.append(volume_row(member.key, member.part, fitted, None, None))
                    continue
                raw, around = one.read(fitted, member)
                scores = fitted.scaled(raw, around)
                volumes.append(volume_row(member.key, member.part, fitted, scores, around))
                if prepared.detect.slice_scores:
                    slices += slice_rows(member.key, member.part, fitted, scores, around)
    return volumes, slices


def write_maps(prepared: Prepared, finished: Sequence[Finished]) -> None:
    """NIfTI maps of the volumes asked for, by each detector's first seed; baselines have none."""
    if prepared.detect.maps == "none":
        return
    folder, root = prepared.folder / MAPS, bids_root(prepared.pipeline)
    parts = PARTS[1:] if prepared.detect.maps == "all" else PARTS[2:]
    for one in finished:
        drawn = [fitted for fitted in first_seeds(one.fitted) if not fitted.baseline]
        members = one.work.part(*parts)
        if not drawn or not members:
            continue
        between = prepared.detect.between
        describe(folder, drawn, one.work.store.header.fingerprint.digest, between)
        with counting("maps", len(drawn) * len(members)) as count:
            for member in members:
                for fitted in drawn:
                    raw, around = one.read(fitted, member)
                    scores = fitted.scaled(raw, around)
                    write_map_once(folder, member.record, fitted, scores, root, between)
                    count()


def measure_all(finished: Finished) -> list[Measured]:
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


def assemble(
    prepared: Prepared,
    finished: Sequence[Finished],
    measured: dict[str, list[Measured]],
    rows: list[dict[str, Any]],
    slices: list[dict[str, Any]],
) -> DetectionResults:
    """Put everything together."""
    metrics = metrics_json(prepared, finished, measured)
    scores = volume_frame(rows)
    return DetectionResults(
        folder=prepared.folder,
        command=shlex.join(["slicecache", *sys.argv[1:]]),
        config=resolved_detection(prepared),
        metrics=metrics,
        detectors=detector_table([one for own in measured.values() for one in own]),
        scores=scores,
        slices=slice_frame(slices) if prepared.detect.slice_scores else None,
        verdict=metrics["verdict"],
        left_out=[asdict(item) for item in prepared.left_out],
        headers={work.name: work.store.header for work in prepared.works},
        content_digests={work.name: work.store.content_digest() for work in prepared.works},
        findings=findings(finished[0], scores),
        detector=shown_detector(finished[0]),
        groups=group_rows(prepared),
        n_scored=sum(one.n_scored for one in finished),
        notes=[*prepared.notes, *few_normals(finished), *seed_notes(prepared)],
        warnings=list(prepared.warnings),
    )


def few_normals(finished: Sequence[Finished]) -> list[str]:
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


def seed_notes(prepared: Prepared) -> list[str]:
    """Detectors that depend on their seed and have few."""
    kinds = {task.spec.kind for work in prepared.works for task in work.tasks}
    if "dpmm" in kinds and prepared.detect.seeds < 5:
        return [f"dpmm depends on its seed: report at least 5 (seeds: 5), not {prepared.detect.seeds}"]
    return []


def save(prepared: Prepared, finished: Finished, metrics: dict[str, Any]) -> None:
    """Write one store's bundle: `bundle`, or `bundle/NAME` where there are several stores."""
    work = finished.work
    fitted = [one for one in finished.fitted if not one.baseline]
    if not fitted:
        return
    several = len(prepared.works) > 1
    folder = prepared.folder / BUNDLE / (work.name if several else "")
    reference = finished.streams[0].reference
    header = work.store.header
    people = {part: tuple(sorted({member.participant for member in work.part(part)})) for part in PARTS[:3]}
    card = DetectorCard(
        fingerprint=header.fingerprint,
        numerics=header.numerics,
        dim=reference.dim,
        grid=reference.grid,
        n_slices=reference.n_slices,
        n_volumes=reference.n_volumes,
        reference=reference_words(prepared.detect),
        profile=work.profile,
        participants=people,
        members=tuple(member_of(one) for one in fitted),
        training={
            "per_height": prepared.detect.per_height,
            "split": prepared.detect.split.model_dump(mode="json"),
            "content_digest": work.store.content_digest(),
            "metrics": {one.name: metrics["metrics"][one.name] for one in fitted},
        },
    )
    save_detectors(folder, card, fitted)


def write_results(results: DetectionResults) -> None:
    """Write the run folder's files; `metrics.json` is last, so that its presence means all is there."""
    folder = results.folder
    for name in ("metrics.json", "report.html"):  # an earlier run's must not pass for this one's
        (folder / name).unlink(missing_ok=True)
    write_yaml(folder / "config.yaml", results.config)
    write_text(folder / "detectors.csv", results.detectors.to_csv(index=False))
    write_text(folder / "scores.csv", results.scores.to_csv(index=False))
    if results.slices is not None:
        write_text(folder / "slices.csv", results.slices.to_csv(index=False))
    write_report(results, folder / "report.html")
    write_json(folder / "metrics.json", results.metrics)


def write_report(results: DetectionResults, path: Path) -> None:
    """Render the report; without the `report` extra the run goes on and the log says so."""
    try:
        from aggregate.report.detection import render_detection
    except ModuleNotFoundError as error:
        logging.getLogger("slicecache").warning(
            "no report.html: %s is not installed (slicecache[report])", error.name
        )
        return
    render_detection(results, path)
