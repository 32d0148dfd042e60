"""How token scores become a slice's and a volume's, on which scale, and how parts are put together."""

from collections.abc import Iterator, Mapping
from typing import Any

from aggregate.anomaly.scoring.volumes import TOP_SHARE
from aggregate.paper.finished import Finished
from aggregate.paper.sentences.words import cite, joined, listed
from cache_schema.common.terminal.visible import label

VOTES = {
    "mean": "the mean of its parts' standardised scores",
    "max": "the largest of its parts' standardised scores",
    "covariance": "the sum of its parts' standardised scores, weighted by the inverse of their "
    f"correlation on normals {cite('obrien1984procedures')}, negative weights set to 0",
}
"""By `reduce`."""


def scores(run: Finished) -> str:
    """The rules by which a volume and its slices are scored."""
    detect = run.said("detect") or {}
    specs = [spec for spec in detect.get("detectors") or [] if isinstance(spec, dict)]
    share = f"{TOP_SHARE * 100:g} %"
    return joined(
        [
            "Every patch token on the foreground gets a score, higher is more anomalous. A volume's score is "
            f"the mean of the highest {share} (at least one) of its foreground tokens' scores, over all its "
            "stored slices together and by the same rule for every detector and baseline "
            f"{cite('damm2025anomalydino')}; a slice's score is the mean of the highest {share} within the "
            "slice.",
            *_otherwise(specs, share),
            *map(_combined, (spec for spec in specs if spec.get("kind") == "combined")),
            _scale(bool(detect.get("per_height"))),
            "A volume is called anomalous where its score exceeds what those of the calibration normals, the "
            "highest of each participant, reach at the rate wanted, by split conformal prediction "
            f"{cite('lei2018distribution')}; too few of them set no such limit.",
        ]
    )


def _otherwise(specs: list[dict[str, Any]], share: str) -> Iterator[str]:
    """Detectors whose slices have a rule of their own."""
    for spec in specs:
        kind, name = spec.get("kind"), _name(spec)
        if kind == "memory_bank" and (spec.get("as_released") or spec.get("top") == "all"):
            yield f"For slices of {name} these are the highest {share} of all patches, foreground or not."
        if kind == "patchcore":
            yield (
                f"A slice's score by {name} is its highest foreground token score, weighted by how crowded "
                f"the nearest bank token lies (equation 7 of {cite('roth2022patchcore')})."
            )
        if kind == "custom":
            yield f"Slices of {name} are scored by its own rule where it has one."


def _combined(spec: Mapping[str, Any]) -> str:
    """How one detector is made of several."""
    parts = [_name(part) for part in spec.get("parts") or [] if isinstance(part, dict)]
    of = f" ({listed(parts)})" if parts else ""
    where = "at the same height" if spec.get("per_height", True) else "at any height"
    vote = VOTES.get(str(spec.get("reduce", "mean")), VOTES["mean"])
    return (
        f"A token's score by {_name(spec)} is {vote}{of}: each part's, less the mean and divided by the "
        f"standard deviation of calibration normals' foreground tokens {where}; the rules above then act on "
        "the combined token scores."
    )


def _scale(per_height: bool) -> str:
    """What puts scores on the scale on which they are reported."""
    if per_height:
        return (
            "Detectors' token and slice scores are in standard deviations from the calibration normals' "
            "foreground tokens at the same height; the baselines' are as they are."
        )
    return (
        "Scores of one detector are on a scale of its own: nothing beyond its own rule normalises them, and "
        "the calibration normals set thresholds only."
    )


def _name(spec: Mapping[str, Any]) -> str:
    """What a detector is called, as the text calls it."""
    name = str(spec.get("name") or spec.get("kind"))
    of = f" of {spec['of']}" if spec.get("kind") == "symmetry" and spec.get("of") else ""
    return label(f"{name.replace('_', ' ')}{of}")
