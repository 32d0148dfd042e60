"""A viewer of one participant's image and map in three planes: one file that loads nothing from anywhere.

It holds the image itself, in 256 steps of grey and without its header's words, so it is as personal as the
image is.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from aggregate.anomaly.maps.nifti import nifti_bytes
from aggregate.common.artefacts import write_text
from aggregate.common.niivue import PACKAGE, viewer_source
from aggregate.report.pages.rendering import filled
from aggregate.report.people.showing import VolumePictures
from cache_schema.format.record import VolumeRecord

STEPS = 255
"""Of grey and of a map."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One image of the viewer."""

    label: str
    values: NDArray[np.uint8]
    """Native `(i, j, k)`."""
    colours: str
    """niivue's name."""
    slope: float
    """Of a step."""
    start: float
    """What step 0 stands for."""
    opacity: float
    clear: bool = False
    """Step 0 is clear."""


def layers_of(
    pictures: VolumePictures, heat: NDArray[np.float32], low: float, top: float, label: str
) -> list[Layer]:
    """The image, the map over it and the lesion mask, as far as they are there; nothing without an image.

    Args:
        pictures: Of the volume.
        heat: The map `(i, j, k)`.
        low: Up to here it is clear.
        top: From here on it has the brightest colour.
        label: What the map is called.
    """
    if pictures.voxels is None:
        return []
    quantiles = sorted(pictures.record.intensity_quantiles.values()) or [0.0, float(pictures.voxels.max())]
    first, last = quantiles[0], quantiles[-1]
    found = [
        Layer("image", _steps(pictures.voxels, first, last), "gray", *_scale(first, last), 1.0),
        Layer(label, _steps(heat, low, top), "inferno", *_scale(low, top), 0.7, True),
    ]
    if pictures.truth is not None and pictures.truth.any():
        found.append(Layer("lesion mask", pictures.truth.astype(np.uint8), "blue2cyan", 1.0, 0.0, 0.3, True))
    return found


def _steps(values: NDArray[Any], low: float, top: float) -> NDArray[np.uint8]:
    scaled = (values.astype(np.float32) - low) * (STEPS / (top - low if top > low else 1.0))
    return np.round(np.clip(scaled, 0, STEPS)).astype(np.uint8)


def _scale(low: float, top: float) -> tuple[float, float]:
    return (top - low if top > low else 1.0) / STEPS, low


def write_viewer(
    path: Path,
    record: VolumeRecord,
    layers: Sequence[Layer],
    heading: str,
    said: str,
    unit: str,
    back: str,
) -> None:
    """Write a viewer.

    Args:
        path: The HTML file.
        record: Says where the voxels lie.
        layers: From below to above.
        heading: Whose.
        said: What the map is.
        unit: Of the map.
        back: Address of the participant's page.

    Raises:
        ConfigError: If the viewer's program is not installed.
    """
    source = viewer_source()
    volumes = []
    for layer in layers:
        data = nifti_bytes(layer.values, record, layer.slope, layer.start)
        least = layer.start + (0.5 * layer.slope if layer.clear else 0.0)
        most = layer.start + layer.slope * (float(layer.values.max(initial=1)) if layer.slope == 1 else STEPS)
        volumes.append(
            {
                "base64": base64.b64encode(data).decode("ascii"),
                "name": f"{layer.label.replace(' ', '-')}.nii.gz",
                "colormap": layer.colours,
                "opacity": layer.opacity,
                "cal_min": least,
                "cal_max": most,
            }
        )
    page = {
        "heading": heading,
        "said": said,
        "unit": unit,
        "back": back,
        "layers": [{"label": layer.label, "opacity": layer.opacity} for layer in layers],
        "package": PACKAGE,
        "version": source.version,
        "licence": Markup(escape(source.licence, quote=False)),
        "module": Markup(_in_script(source.module)),
        "volumes": Markup(_in_script(json.dumps(volumes))),
    }
    write_text(path, filled("viewer.html", page))


def _in_script(text: str) -> str:
    """JavaScript that cannot end the element that it stands in, nor begin a comment of HTML's."""
    return re.sub("</(?=script)", r"<\\/", text, flags=re.IGNORECASE).replace("<!--", "<\\!--")
