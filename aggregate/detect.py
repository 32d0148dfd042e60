"""The door of detection: a pipeline file in, a run folder with its report out.

This module alone knows the pipeline's keys, the study behind it and the report in front of it; the study
(`aggregate.anomaly`) knows neither of the two.
"""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from aggregate.anomaly.findings.results import DetectionResults
from aggregate.anomaly.reference.prepare import DetectionPlan, plan_detection
from aggregate.anomaly.request import OWN_STORE, DetectRequest
from aggregate.anomaly.scoring.over_dask import DaskScorer
from aggregate.anomaly.scoring.wanted import score_here
from aggregate.anomaly.spec import DetectSpec
from aggregate.anomaly.study.detect import run_detection
from aggregate.common.artefacts import log_to, write_json
from aggregate.common.resolved import absolute_input, resolved_cache
from aggregate.common.run_folder import verb_folder
from aggregate.config.section import DetectSection, read_detect_section
from cache_schema.cluster.pool import DaskPool
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.files.disk.room import require_writable


def detect_pipeline(pipeline: Pipeline, pool: DaskPool | None = None) -> DetectionResults:
    """Fit detectors on the reference group, score everybody else, measure and report.

    Killed at any time, the same call goes on behind the last epoch and the last volume, and leaves the same
    files as if it had not been killed, but for what it measured in seconds.

    Args:
        pipeline: Names the store and the run folder, and has `aggregate.detect`.
        pool: Workers that score the volumes; by default this process does.

    Raises:
        SlicecacheError: If the file, a store, the table or the masks cannot be used as asked.
    """
    require_writable(verb_folder(pipeline.folder(), "detect"), "the run folder")
    plan = detect_plan(pipeline)
    score = score_here if pool is None else DaskScorer(pool, pipeline.base, plan.request.prove)
    with log_to(plan.request.folder):
        results = run_detection(plan, score)
        write_detection_report(results)
        # Last, so that its presence means that all is there.
        write_json(results.folder / "metrics.json", results.metrics)
    return results


def detect_plan(pipeline: Pipeline) -> DetectionPlan:
    """Check everything that can be checked before the first token is read, and write nothing.

    Raises:
        SlicecacheError: As `detect_pipeline`.
    """
    return plan_detection(detect_request(pipeline))


def detect_request(pipeline: Pipeline) -> DetectRequest:
    """Take a pipeline apart.

    Raises:
        ConfigError: If a key is wrong, or a store that a detector names is not there.
    """
    section, detect = read_detect_section(pipeline)
    named = dict.fromkeys(spec.store or OWN_STORE for spec in detect.detectors)
    stores = {name: store_location(pipeline, name) for name in named}
    bids = detect.truth.bids if detect.truth is not None else None
    return DetectRequest(
        detect=detect,
        stores=stores,
        cohort=section.cohort_request(pipeline),
        folder=verb_folder(pipeline.folder(), "detect"),
        images=image_root(pipeline),
        masks=None if bids is None else pipeline.path(bids),
        config=resolved_detection(pipeline, section, detect, stores),
        command=shlex.join(["slicecache", *sys.argv[1:]]),
        prove=pipeline.prove(),
    )


def store_location(pipeline: Pipeline, name: str) -> str:
    """Where a store lies: the pipeline's own, one of `extract.stores`, or a path or URL.

    Raises:
        ConfigError: If nothing is there.
    """
    if name == OWN_STORE:
        return pipeline.store()
    known = pipeline.stores() if "cache" in pipeline.data else {}
    place = known.get(name, name)
    if "://" in place:
        return place
    path = pipeline.path(place)
    if not os.path.exists(path):
        raise ConfigError(
            f"detect.detectors: there is no store at {str(path)!r}; `store` takes a name of extract.stores, "
            "a path (relative to the pipeline's file) or a URL"
        )
    return str(path)


def image_root(pipeline: Pipeline) -> Path | None:
    """The input root of stage one, if the pipeline names one that is there."""
    extract = pipeline.data.get("extract")
    given = extract.get("input") if isinstance(extract, dict) else None
    root = given.get("bids") if isinstance(given, dict) else None
    if root is None:
        return None
    path = pipeline.path(root)
    return path if os.path.isdir(path) else None


def resolved_detection(
    pipeline: Pipeline, section: DetectSection, detect: DetectSpec, stores: dict[str, str]
) -> dict[str, Any]:
    """The pipeline with defaults filled in and paths made absolute: it runs again as it is."""
    data: dict[str, Any] = {"run": {"folder": str(pipeline.folder())}}
    if "cache" in pipeline.data:
        data["cache"] = resolved_cache(pipeline)
    if "extract" in pipeline.data:
        data["extract"] = {**pipeline.data["extract"], "input": absolute_input(pipeline)}
    own = section.model_dump(mode="json", exclude_none=True)
    for spec in own["detect"]["detectors"]:
        if spec.get("store", OWN_STORE) != OWN_STORE:
            spec["store"] = stores[spec["store"]]
    truth = own["detect"].get("truth")
    if truth and truth.get("bids"):
        truth["bids"] = str(pipeline.path(truth["bids"]))
    reference = own["detect"]["reference"]
    own["detect"]["reference"] = {key: value for key, value in reference.items() if value}
    return {**data, "aggregate": {**own, "cohort": str(pipeline.path(section.cohort))}}


def write_detection_report(results: DetectionResults) -> None:
    """Render the report; without the `report` extra the run goes on and the log says so."""
    try:
        from aggregate.report.detection import render_detection
    except ModuleNotFoundError as error:
        logging.getLogger("slicecache").warning(
            "no report.html: %s is not installed (slicecache[report])", error.name
        )
        return
    render_detection(results, results.folder / "report.html")
