"""Differences that do not rest on a value below guessing: whoever is below it counts as guessing.

What counts so does not vary any more, which alone would make a test surer. So p is the larger one of the
comparison as measured and the one as counted, and the interval is as wide as that p has it.
"""

from collections.abc import Mapping

import numpy as np

TOLD = ("difference", "ci_low", "ci_high", "p")


def no_surer(
    measured: Mapping[str, float], counted: Mapping[str, float], low: int, bounds: tuple[float, float]
) -> dict[str, float | None]:
    """What may be told of two sides, of which some count as guessing.

    Args:
        measured: The comparison as it is, by `TOLD`; NaN where not defined.
        counted: The one in which whoever is below guessing counts as guessing.
        low: How many of the two are.
        bounds: Of a difference.

    Returns:
        By `TOLD`; None where not defined. Of two that count as guessing nothing is told but the 0 between.
    """
    difference, surer = counted["difference"], low == 1 and counted["p"] < measured["p"]
    told = measured if surer else counted
    shrunk = difference / measured["difference"] if surer else 1.0
    ends = np.clip([shrunk * told["ci_low"], shrunk * told["ci_high"]], *bounds)
    numbers = (difference, *ends, told["p"]) if low < 2 else (difference, np.nan, np.nan, np.nan)
    return {
        name: float(value) if np.isfinite(value) else None for name, value in zip(TOLD, numbers, strict=True)
    }
