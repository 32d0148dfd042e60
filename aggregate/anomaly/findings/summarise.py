"""Seeds put together, intervals over participants, and every detector against the two baselines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.anomaly.findings.measure import (
    PIXEL_COLUMNS,
    REGIONS,
    WHOLE_COLUMNS,
    Draws,
    MeasuredDetector,
    numbers_of,
    rows_of,
)
from aggregate.anomaly.measure.intervals import percentiles

DETECTOR_COLUMNS = ("detector", "seed", "region", *PIXEL_COLUMNS, *WHOLE_COLUMNS, "numbers", "ms_per_slice")

COMPARED = (
    ("foreground", "pixel_auroc"),
    ("foreground", "pixel_ap"),
    ("", "slice_auroc"),
    ("", "volume_auroc"),
)
"""What a detector has to be better in than the baselines."""


def by_name(measured: Sequence[MeasuredDetector]) -> dict[str, list[MeasuredDetector]]:
    """Seeds of each detector, in the order of the table."""
    found: dict[str, list[MeasuredDetector]] = {}
    for one in measured:
        found.setdefault(one.fitted.name, []).append(one)
    return found


LABELS = ("normal", "anomalous")
"""Of a volume, by whether there is something to find."""


def detector_table(measured: Sequence[MeasuredDetector]) -> pd.DataFrame:
    """The content of `detectors.csv`; detectors of several seeds also have rows `mean` and `sd`."""
    parts = []
    for seeds in by_name(measured).values():
        frame = pd.DataFrame([row for one in seeds for row in rows_of(one)], columns=list(DETECTOR_COLUMNS))
        parts.append(frame)
        if len(seeds) > 1:
            values = frame.drop(columns="seed").groupby(["detector", "region"], sort=False)
            for name, rows in (("mean", values.mean()), ("sd", values.std(ddof=1))):
                parts.append(rows.reset_index().assign(seed=name)[list(DETECTOR_COLUMNS)])
    return pd.concat(parts, ignore_index=True)


def case_table(measured: Sequence[MeasuredDetector]) -> pd.DataFrame:
    """Detector, participant_id, volume, label, score: a row per labelled volume, by each first seed."""
    rows = [
        (one.fitted.name, case.key.participant_id, str(case.key), LABELS[case.sick], case.score)
        for one, *_ in by_name(measured).values()
        for case in one.cases
    ]
    return pd.DataFrame(rows, columns=["detector", "participant_id", "volume", "label", "score"])


def metric_value(one: MeasuredDetector, region: str, metric: str) -> float:
    """A metric of one seed; NaN where not defined."""
    if not region:
        return one.whole.get(metric, float("nan"))
    pixels = next((found for name, found in one.pixels.items() if name == region), {})
    return pixels.get(metric, float("nan"))


def over_seeds(seeds: Sequence[MeasuredDetector], region: str, metric: str) -> tuple[float, Draws | None]:
    """The mean over seeds, of the value and of every draw of participants."""
    value = float(np.mean([metric_value(one, region, metric) for one in seeds]))
    draws = [one.draws.get((region, metric)) for one in seeds]
    if any(found is None for found in draws):
        return value, None
    return value, np.mean([found for found in draws if found is not None], axis=0)


def interval_json(value: float, draws: Draws | None) -> dict[str, float | None]:
    """`{value, ci_low, ci_high}` with None where not defined."""
    low, high = (float("nan"), float("nan")) if draws is None else percentiles(draws)
    return {"value": plain(value), "ci_low": plain(low), "ci_high": plain(high)}


def plain(value: float) -> float | None:
    """A number that JSON has."""
    return float(value) if np.isfinite(value) else None


def metrics_of(seeds: Sequence[MeasuredDetector]) -> dict[str, Any]:
    """Everything on one detector, by region and for slices and volumes, mean over its seeds."""
    out: dict[str, Any] = {}
    for region in REGIONS:
        names = list(next((one.pixels[region] for one in seeds if region in one.pixels), {}))
        if names:
            out[region] = {name: interval_json(*over_seeds(seeds, region, name)) for name in names}
    for name in WHOLE_COLUMNS:
        out[name] = interval_json(*over_seeds(seeds, "", name))
    out["ms_per_slice"] = plain(float(np.mean([one.ms_per_slice for one in seeds])))
    out["numbers"] = plain(float(np.mean([numbers_of(one.fitted) for one in seeds])))
    out["n_seeds"] = len(seeds)
    return out


def compare_detectors(
    seeds: Sequence[MeasuredDetector], baseline: Sequence[MeasuredDetector]
) -> dict[str, Any]:
    """Differences to a baseline on the same draws of participants, by metric.

    There is no interval where the two were not measured on the same participants.
    """
    out: dict[str, Any] = {}
    for region, metric in COMPARED:
        own, theirs = over_seeds(seeds, region, metric), over_seeds(baseline, region, metric)
        if not np.isfinite(own[0] - theirs[0]):
            continue
        whom = ("by_volume", "participants")[bool(region or metric == "slice_auroc")]
        same = getattr(seeds[0], whom) == getattr(baseline[0], whom)
        draws = own[1] - theirs[1] if same and own[1] is not None and theirs[1] is not None else None
        found = interval_json(own[0] - theirs[0], draws)
        name = f"{region}_{metric}" if region else metric
        out[name] = {"difference": found["value"], "ci_low": found["ci_low"], "ci_high": found["ci_high"]}
    return out
