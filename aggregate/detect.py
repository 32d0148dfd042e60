"""The door of detection: a pipeline file in, a run folder with its report out.

This module alone knows the pipeline's keys, the study behind it and the report in front of it; the study
(`aggregate.anomaly`) knows neither of the two.
"""

import logging
import os
from typing import Any

from aggregate.anomaly.findings.results import DetectionResults
from aggregate.anomaly.reference.prepare import DetectionPlan, plan_detection
from aggregate.anomaly.request import OWN_STORE, DetectRequest
from aggregate.anomaly.scoring.over_dask import DaskScorer
from aggregate.anomaly.scoring.wanted import score_here
from aggregate.anomaly.spec import DetectSpec
from aggregate.anomaly.study.detect import run_detection
from aggregate.cohort.table.stack import located_tables, said_tables
from aggregate.common.artefacts import log_to, write_json
from aggregate.common.resolved import absolute_input, image_root, picture_root, resolved_cache
from aggregate.common.run_folder import verb_folder
from aggregate.common.telling import TELLING, PeopleShown
from aggregate.config.section import DetectSection, read_detect_section
from cache_schema.cluster.pool import DaskPool
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.called import told_command
from cache_schema.files.disk.room import require_writable


def detect_pipeline(
    pipeline: Pipeline, pool: DaskPool | None = None, shown: PeopleShown = TELLING
) -> DetectionResults:
    """Fit detectors on the reference group, score everybody else, measure and report.

    Killed at any time, the same call goes on behind the last epoch and the last volume, and leaves the same
    files as if it had not been killed, but for what it measured in seconds.

    Args:
        pipeline: Names the store and the run folder, and has `aggregate.detect`.
        pool: Workers that score the volumes; by default this process does.
        shown: How many held-out participants get a page of their own, the most telling ones.

    Raises:
        SlicecacheError: If the file, a store, the table or the masks cannot be used as asked.
    """
    require_writable(verb_folder(pipeline.folder(), "detect"), "the run folder")
    plan = detect_plan(pipeline)
    score = score_here if pool is None else DaskScorer(pool, pipeline.base, plan.request.prove)
    with log_to(plan.request.folder):
        results = run_detection(plan, score)
        present_detection(results, shown)
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
    named = dict.fromkeys(
        name for spec in detect.detectors for name in (spec.store or OWN_STORE, *spec.view_stores)
    )
    stores = {name: store_location(pipeline, name) for name in named}
    bids = detect.truth.bids if detect.truth is not None else None
    return DetectRequest(
        detect=detect,
        stores=stores,
        cohort=section.cohort_request(pipeline),
        folder=verb_folder(pipeline.folder(), "detect"),
        images=image_root(pipeline),
        pictures=picture_root(pipeline),
        masks=None if bids is None else pipeline.path(bids),
        config=resolved_detection(pipeline, section, detect, stores),
        command=told_command("detect"),
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
        if "views" in spec:
            spec["views"] = [stores[name] for name in spec["views"]]
    truth = own["detect"].get("truth")
    if truth and truth.get("bids"):
        truth["bids"] = str(pipeline.path(truth["bids"]))
    reference = own["detect"]["reference"]
    own["detect"]["reference"] = {key: value for key, value in reference.items() if value}
    cohort = said_tables(located_tables(section.cohort, pipeline.path))
    return {**data, "aggregate": {**own, "cohort": cohort}}


def present_detection(results: DetectionResults, shown: PeopleShown = TELLING) -> None:
    """Write the report, `metrics.json` and the paper kit, where the results' folder is now."""
    content = write_detection_report(results, shown)
    # Behind all of the verb's own, so that its presence means that all is there.
    write_json(results.folder / "metrics.json", results.metrics)
    if content is not None:
        from aggregate.paper.kit import leave_kit

        leave_kit(results.folder, "detect", content, results.headers)


def write_detection_report(results: DetectionResults, shown: PeopleShown = TELLING) -> dict[str, Any] | None:
    """Render the report; without the `report` extra the run goes on and the log says so.

    Returns:
        What the report shows.
    """
    try:
        from aggregate.report.pages.detection import render_detection
        from aggregate.report.people.detected import write_detected_people
    except ModuleNotFoundError as error:
        logging.getLogger("slicecache").warning(
            "no report.html: %s is not installed (slicecache[report])", error.name
        )
        return None
    people = write_detected_people(results, shown)
    return render_detection(results, results.folder / "report.html", people)
