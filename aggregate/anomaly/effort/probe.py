"""A short probe of a planned study: every detector on the first volumes of its store; nothing is kept."""

import resource
import sys
from collections import Counter
from collections.abc import Callable

from aggregate.anomaly.detectors.position import PositionBaselineSpec
from aggregate.anomaly.effort.after import aftermath_of
from aggregate.anomaly.effort.left import left_of
from aggregate.anomaly.effort.needs import ProbedFit, ProbedStore, StudyNeeds
from aggregate.anomaly.effort.pace import pace_of
from aggregate.anomaly.effort.sample import sample_of
from aggregate.anomaly.reference.prepare import DetectionPlan, StoreWork
from aggregate.anomaly.request import DetectRequest
from aggregate.anomaly.scoring.execute import reference_stream
from cache_schema.common.terminal.progress import counting

REPORT_SECONDS = 2.0
"""Of the tables and of the report with its pictures, whatever the study."""


def needs_of_study(plan: DetectionPlan) -> StudyNeeds:
    """What is left to do, by what this machine does in a few seconds.

    Raises:
        SlicecacheError: If a detector refuses the reference group, or the few slices of the probe.
        StoreError: If a store is damaged.
    """
    detect = plan.request.detect
    with counting("probe", sum(len(work.tasks) + 1 for work in plan.works)) as count:
        stores = [probed(work, plan.request, count) for work in plan.works]
    seconds: Counter[str] = Counter()
    for store in stores:
        seconds.update(dict(store.seconds(detect)))
    return StudyNeeds(
        seconds={**seconds, "report": REPORT_SECONDS},
        bytes=sum(store.bytes(detect) for store in stores),
        memory_bytes=peak_bytes() + max(store.memory_bytes for store in stores),
    )


def probed(work: StoreWork, request: DetectRequest, count: Callable[[], None]) -> ProbedStore:
    """Try every detector of a store, and all that comes behind scores with the quickest one.

    Raises:
        SlicecacheError: As `needs_of_study`.
    """
    budget = int(request.detect.memory_gib * 2**30)
    streams = reference_stream(work, "fit", budget), reference_stream(work, "calibration", budget)
    sample, reference = sample_of(work, budget), streams[0].reference
    entries = [member.entry for member in work.members if member.part != "fit"]
    fits = []
    for task in work.tasks:
        pace = pace_of(task.spec.build(0), sample, reference)
        for seed in range(task.seeds):
            left = left_of(task.spec.build(seed), streams, entries, request.folder)
            fits.append(ProbedFit(task, seed == 0, pace, left))
        count()
    quick = PositionBaselineSpec().build(0)
    pace_of(quick, sample, reference)
    after = aftermath_of(work, request.detect, quick, request.images)
    count()
    return ProbedStore(work, streams, sample, fits, after)


def peak_bytes() -> int:
    """The most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
