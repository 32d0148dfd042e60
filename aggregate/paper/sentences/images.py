"""From file to slice image: the steps of the fingerprint, each as one sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.words import joined, listed, parameters, told
from cache_schema.format.header import Header

Step = Mapping[str, Any]


def images(run: Finished) -> str:
    """Acquisition, preprocessing and which slices are kept; a paragraph per store where there are several."""
    scanner = f"Scanners, field strengths and sequences: {TO_FILL}."
    if not run.headers:
        return f"{scanner} Preprocessing of the images: {TO_FILL} (the run does not hold the store's header)."
    several = len(run.headers) > 1
    parts = [
        f"{f'Store `{name}`. ' if several else ''}{preprocessing(header)}"
        for name, header in run.headers.items()
    ]
    return "\n\n".join([scanner, *parts])


def preprocessing(header: Header) -> str:
    """One store's."""
    found = header.fingerprint
    steps = [step_words(step) for step in found.preprocessing]
    return joined([f"Volumes were cut into {found.plane} slices.", *steps, slices(found.slices)])


def step_words(step: Step) -> str:
    """One step."""
    name = str(step.get("step"))
    return WORDS[name](step) if name in WORDS else f"Step {name}{parameters(step, 'step')}."


def _orient(step: Step) -> str:
    to = told(step.get("to")).upper()
    return f"They were brought to {to} orientation by their affine." if to == "RAS" else f"Orientation: {to}."


def _foreground(step: Step) -> str:
    return (
        "The foreground was the given mask, else the voxels off the border value where these are at least "
        f"{told(step.get('border_share'))} of a volume, else the largest component above Otsu's threshold."
    )


def _intensity(step: Step) -> str:
    if step.get("kind") != "percentile":
        return f"Intensities were scaled by {told(step.get('kind'))}{parameters(step, 'step')}."
    low, high = told(step.get("low")), told(step.get("high"))
    return f"Intensities were scaled between the {low} and {high} percentiles of the foreground."


def _canvas(step: Step) -> str:
    pixels = told(step.get("pixels"))
    if step.get("kind") != "field":
        return f"Each slice was drawn on a canvas of {pixels} pixels by {told(step.get('kind'))}."
    field = step.get("field_mm")
    if not isinstance(field, int | float):
        return f"Each slice was resampled to {pixels} pixels over its own field of view."
    return (
        f"Each slice was resampled to a field of {told(field)} mm on {pixels} pixels about the "
        f"foreground, so "
        "that a pixel is the same length for everybody."
    )


def _normalise(step: Step) -> str:
    return (
        f"Channels were normalised by mean {told(step.get('mean'))} and standard deviation "
        f"{told(step.get('std'))}."
    )


WORDS: dict[str, Callable[[Step], str]] = {
    "orient": _orient,
    "foreground": _foreground,
    "intensity": _intensity,
    "canvas": _canvas,
    "normalise": _normalise,
}
"""By the step's name in the fingerprint."""


def slices(rule: Step) -> str:
    """Which slices are kept."""
    kind = rule.get("kind")
    if kind == "all":
        return "All slices were kept."
    if kind == "foreground":
        return "All slices with foreground were kept."
    if kind == "every":
        return f"A slice every {told(rule.get('step_mm'))} mm of the foreground's extent was kept."
    if kind in ("center", "uniform"):
        way = "central" if kind == "center" else "evenly spaced"
        return f"{told(rule.get('n'))} {way} slices were kept."
    settings = [f"{name.replace('_', ' ')} {told(value)}" for name, value in rule.items() if name != "kind"]
    return f"Slices were kept by the rule {told(kind)}: {listed(settings)}." if kind else ""
