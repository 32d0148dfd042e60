"""What a checkpoint states about the pixels that it was trained with: read as JSON, never run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache_schema.common.errors import ConfigError
from cache_schema.common.stored_json import MEBIBYTE, read_object
from cache_schema.common.text.mistakes import shown

PREPROCESSOR = "preprocessor_config.json"
COMBINED = "processor_config.json"
"""Of checkpoints that take text too: the images' part stands inside it."""

KERNELS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By the numbers with which Pillow and `resample` name them."""

SMALLEST_SIDE = 14
"""Of a canvas, in pixels."""
RESIZES_FLOATS = "DINOv3ViTImageProcessor"
"""Scales to [0, 1] before it resizes, in torch, so that nothing is rounded to 8 bits."""


@dataclass(frozen=True, slots=True)
class Processor:
    """A checkpoint's own statement."""

    size: tuple[int, int] | None
    """Height and width in pixels; None where it depends on the image."""
    mean: tuple[float, float, float]
    """Of pixels in [0, 1], per channel; zeros where nothing is subtracted."""
    std: tuple[float, float, float]
    interpolation: str | None
    """One of `KERNELS`; None where nothing is resized, or it is not said."""
    canvas: Mapping[str, Any] | None = field(default=None, compare=False)
    """What a pipeline says below `extract.canvas` for just that; None where it has no such step."""
    why_not: str = field(default="", compare=False)
    """Why it has none, in a few words."""


def read_processor(folder: Path) -> Processor | None:
    """The statement in a checkpoint folder; None where it makes none.

    Raises:
        ConfigError: If it cannot be read, or scales pixels in a way that slices are not.
    """
    for name in (PREPROCESSOR, COMBINED):
        path = folder / name
        if not path.is_file():
            continue
        try:
            stated = read_object(path.read_bytes(), MEBIBYTE)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{str(path)!r} cannot be read: {error}") from error
        part = stated if name == PREPROCESSOR else stated.get("image_processor")
        if isinstance(part, dict):
            return processor_of(part, repr(str(path)))
    return None


def processor_of(stated: Mapping[str, Any], where: str) -> Processor:
    """The statement from its JSON object.

    Raises:
        ConfigError: Naming what it says and what is expected.
    """
    factor = stated.get("rescale_factor", 1 / 255)
    plain = stated.get("do_rescale", True) is True and isinstance(factor, int | float)
    if not plain or abs(factor * 255 - 1) > 1e-3 or stated.get("rescale_offset", False):
        raise ConfigError(
            f"{where} scales pixels otherwise than by 1/255 (rescale_factor {shown(factor)}), and slices "
            "are given in [0, 1]: correct the file, or wrap the network as a backbone of kind custom"
        )
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if stated.get("do_normalize", True):
        # Without numbers the class's own defaults would count, which are not in the file.
        mean, std = (_triple(stated, name, where) for name in ("image_mean", "image_std"))
    if not all(value > 0 for value in std):
        raise ConfigError(f"{where}: image_std is {list(std)}, three numbers above 0 are expected")
    resized = bool(stated.get("do_resize", True))
    kernel = _kernel(stated) if resized else None
    size = _size(stated)
    why_not = _why_no_canvas(stated, size, kernel)
    canvas = _canvas(stated, size, kernel) if size is not None and not why_not else None
    return Processor(size, mean, std, kernel, canvas, why_not)


def _why_no_canvas(stated: Mapping[str, Any], size: tuple[int, int] | None, kernel: str | None) -> str:
    """What keeps a pipeline from doing the same; empty where nothing does."""
    if not stated.get("do_resize", True):
        return "it resizes nothing"
    if stated.get("max_num_patches") is not None:
        most = shown(stated["max_num_patches"])
        return f"it gives images of every ratio another size, of at most {most} patches"
    said = f"its size is {shown(stated.get('size'))}"
    if size is None or min(size) < SMALLEST_SIDE:
        return f"it states no one size of {SMALLEST_SIDE} pixels or more ({said})"
    if stated.get("crop_pct") is not None:
        return f"it cuts off a share by a rule of its own (crop_pct {shown(stated['crop_pct'])})"
    if kernel not in ("bilinear", "bicubic"):
        return f"its interpolation is {kernel or 'not said'}, and bilinear and bicubic are known here"
    shorter = _shorter(stated)
    if _cropped(stated) and (type(shorter) is not int or not max(size) <= shorter <= 16384):
        crop = " x ".join(map(str, size))
        return f"its crop of {crop} pixels is not of a shorter side ({said})"
    return ""


def _canvas(stated: Mapping[str, Any], size: tuple[int, int], kernel: str | None) -> Mapping[str, Any]:
    """The canvas that is resized, and cropped where it says so, as stated."""
    pixels: int | list[int] = size[0] if size[0] == size[1] else list(size)
    resized = {"kind": "crop", "resize": _shorter(stated)} if _cropped(stated) else {"kind": "stretch"}
    floats = str(stated.get("image_processor_type")).startswith(RESIZES_FLOATS)
    return {
        **resized,
        "pixels": pixels,
        "filter": f"torch-{kernel}-antialias" if floats else f"pillow-{kernel}",
    }


def _cropped(stated: Mapping[str, Any]) -> bool:
    return bool(stated.get("do_center_crop", False))


def _shorter(stated: Mapping[str, Any]) -> Any:
    """What the shorter side is resized to before a crop."""
    found = stated.get("size")
    return found.get("shortest_edge") if isinstance(found, Mapping) else found


def _triple(stated: Mapping[str, Any], name: str, where: str) -> tuple[float, float, float]:
    """A number per channel; one number stands for all three."""
    found: Any = stated.get(name)
    values: list[Any] = list(found) if isinstance(found, list | tuple) else [found] * 3
    values = values * 3 if len(values) == 1 else values
    numbers = [float(value) for value in values if type(value) in (int, float) and abs(value) < 1e6]
    if len(values) != 3 or len(numbers) != 3:
        raise ConfigError(f"{where}: {name} is {shown(found)}, three numbers are expected")
    first, second, third = numbers
    return first, second, third


def _size(stated: Mapping[str, Any]) -> tuple[int, int] | None:
    """What reaches the network: the crop where there is one, else the resized image."""
    cropped = _cropped(stated) and stated.get("crop_size") is not None
    found = stated.get("crop_size" if cropped else "size")
    if isinstance(found, Mapping):
        found = [found.get(name) for name in ("height", "width")]
    elif not isinstance(found, list | tuple):
        found = [found, found]
    if len(found) != 2 or not all(type(side) is int and 0 < side <= 16384 for side in found):
        return None
    return found[0], found[1]


def _kernel(stated: Mapping[str, Any]) -> str | None:
    """The name of `resample`."""
    number = stated.get("resample")
    return KERNELS[number] if type(number) is int and 0 <= number < len(KERNELS) else None
