"""What is asked about volumes in an HDF5 file; runs where HDF5 does, apart from who asks."""

from typing import Any

from cache_schema.files.h5.caps import UnusualHdf5, require_in_file, within
from cache_schema.files.h5.serving.limits import limit_memory, limit_processor

Said = tuple[dict[str, Any], Any]
"""An answer and the bytes behind it."""

MOST_NUMBERS = 64
MOST_TEXT = 80
"""Of an attribute, so much is told."""
NAMES_LISTED = 5
SLOWEST_BYTES_PER_S = 10e6
"""Nobody unpacks voxels slower than this."""


def dataset_facts(file: Any, *, name: str, attributes: list[str], seconds: float) -> Said:
    """What a dataset says of itself, or the datasets that there are instead.

    Raises:
        UnusualHdf5: If its numbers lie elsewhere.
    """
    import h5py

    found = within(file, name)
    if not isinstance(found, h5py.Dataset):
        return {"there": _listing(file)}, b""
    require_in_file(found, name)
    return {
        "shape": list(found.shape or ()),
        "dtype": found.dtype.str,
        "fields": list(found.dtype.names or ())[:NAMES_LISTED],
        "attributes": {key: _attribute(found.attrs[key]) for key in attributes if key in found.attrs},
    }, b""


def voxels(file: Any, *, name: str, shape: list[int], dtype: str, seconds: float) -> Said:
    """All numbers of a dataset, as bytes in C order.

    Args:
        file: The open file.
        name: Of the dataset.
        shape: Of it, when it was looked at first.
        dtype: Of it.
        seconds: Of the processor, for opening it.

    Raises:
        UnusualHdf5: If it is no longer what it was.
    """
    import h5py
    import numpy as np

    found = within(file, name)
    if not isinstance(found, h5py.Dataset) or (list(found.shape or ()), found.dtype.str) != (shape, dtype):
        raise UnusualHdf5(f"the dataset {name!r} changed while it was read")
    require_in_file(found, name)
    n_bytes = found.size * found.dtype.itemsize
    limit_processor(seconds + n_bytes / SLOWEST_BYTES_PER_S)
    limit_memory(3 * n_bytes)  # the numbers, and a chunk of as many before and after it is unpacked
    values = np.ascontiguousarray(found[()])
    return {}, values.reshape(-1).view(np.uint8).data


def _attribute(value: Any) -> dict[str, Any]:
    """An attribute as numbers, if it is some, and as text, if it is one."""
    import numpy as np

    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return {
        "shape": None if numbers is None else list(numbers.shape),
        "numbers": [] if numbers is None else numbers.reshape(-1)[:MOST_NUMBERS].tolist(),
        "text": text[:MOST_TEXT] if isinstance(text, str) else "",
        "shown": repr(value)[:MOST_TEXT],
    }


def _listing(file: Any) -> str:
    """The first datasets of a file, by name."""
    import h5py

    names: list[str] = []
    try:
        file.visititems(
            lambda name, item: names.append(f"/{name}") if isinstance(item, h5py.Dataset) else None
        )
    except Exception:  # of whatever kind HDF5 makes it
        return "a damaged list of them"
    if not names:
        return "no dataset"
    more = len(names) - NAMES_LISTED
    return ", ".join(names[:NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")
