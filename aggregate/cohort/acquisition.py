"""What the records say about how a volume was acquired: never a label, always a possible shortcut."""

from collections.abc import Iterable, Sequence

from cache_schema.format.record import VolumeRecord

VOLUME = "foreground_ml"
"""Millilitres of the foreground: a brain volume when the foreground is a mask or a stripped brain."""

SCANNER = (
    "shape_i",
    "shape_j",
    "shape_k",
    "spacing_i_mm",
    "spacing_j_mm",
    "spacing_k_mm",
    "orientation",
    "slice_spacing_mm",
    "contrast",
    "foreground",
    "numerics",
)
"""Columns that the scanner, its protocol and the processing decide; `numerics` in mixed stores only."""

HEAD_SIZE = ("slices", "coverage_mm", VOLUME)
"""Columns that the size of the head decides, where all volumes have one grid."""

INTENSITY = "intensity_"
"""Begins the names of the intensity quantiles' columns, which go with the head's size: both are of the
person and the day, not of the protocol."""


def scanner_columns(names: Iterable[str]) -> list[str]:
    """Those of the acquisition's columns that tell the scanner."""
    return [name for name in names if name in SCANNER]


def head_size_columns(names: Iterable[str]) -> list[str]:
    """Those that tell the size of the head."""
    return [name for name in names if name in HEAD_SIZE or name.startswith(INTENSITY)]


def acquisition_row(records: Sequence[VolumeRecord]) -> dict[str, float | str]:
    """The acquisition of one bag: of its first volume, with slices summed over all of them.

    Axes `i, j, k` are the native ones, as stored: their order is part of the protocol.
    """
    record = records[0]
    shape, spacing = record.geometry.native_shape, record.geometry.spacing_mm
    heights = [h for r in records for h in r.slices.scanned_mm]
    row: dict[str, float | str] = {f"shape_{axis}": float(n) for axis, n in zip("ijk", shape, strict=True)}
    row |= {f"spacing_{axis}_mm": float(mm) for axis, mm in zip("ijk", spacing, strict=True)}
    row["orientation"] = record.geometry.orientation
    row["slice_spacing_mm"] = record.slices.spacing_mm
    row["slices"] = float(len(heights))
    row["coverage_mm"] = max(heights) - min(heights) if heights else 0.0
    row["contrast"] = record.entities.contrast
    row["foreground"] = record.foreground.kind
    row |= {f"{INTENSITY}{name}": value for name, value in sorted(record.intensity_quantiles.items())}
    row[VOLUME] = record.foreground.millilitres
    return row


def content_key(record: VolumeRecord) -> str:
    """Equal for volumes with the same content under another name.

    The volume digest covers the key, so it never repeats between participants; the statistics of the
    tokens, the heights and the intensities together do when the content is the same.
    """
    return repr(
        (
            sorted((name, sorted(values.items())) for name, values in record.tokens.items()),
            record.slices.height_mm,
            record.geometry.native_shape,
            sorted(record.intensity_quantiles.items()),
        )
    )
