"""What of an HDF5 file is read: plain datasets that lie in the file itself, and are no larger than it.

HDF5 can send a reader elsewhere (soft and external links, external storage, virtual datasets), run plug-ins
(filters), and declare shapes of which not a byte is there. Everything is asked before it is opened or read.
"""

import os
from typing import Any


class UnusualHdf5(ValueError):
    """Something in an HDF5 file that is not read; the sentence says what, and not in which file."""


def within(file: Any, name: str) -> Any:
    """What a path in a file names, reached over hard links alone; absent is None.

    Args:
        file: An open `h5py.File`.
        name: `/group/dataset`.

    Raises:
        UnusualHdf5: If a soft, external or other link stands on the way.
    """
    import h5py

    found = file
    for part in name.strip("/").split("/"):
        if not isinstance(found, h5py.Group) or part in ("", ".", ".."):
            return None
        link = found.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise UnusualHdf5(f"{name!r} is behind {_kind_of(link)} link")
        found = found.get(part)
    return found


def _kind_of(link: Any) -> str:
    """A link in words."""
    import h5py

    if isinstance(link, h5py.ExternalLink):
        return "an external"
    return "a soft" if isinstance(link, h5py.SoftLink) else "a user-defined"


def require_in_file(dataset: Any, name: str) -> None:
    """Refuse a dataset whose numbers do not lie in its own file.

    Raises:
        UnusualHdf5: If it has external storage or is virtual.
    """
    import h5py

    made = dataset.id.get_create_plist()
    if made.get_external_count():
        raise UnusualHdf5(f"the dataset {name!r} keeps its numbers in another file")
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise UnusualHdf5(f"the dataset {name!r} is a virtual one, made of other files")


def plain_dataset(file: Any, name: str, dtype: str | None, axes: int | None) -> Any:
    """A dataset of plain numbers without filters.

    Raises:
        KeyError: If there is none.
        UnusualHdf5: If it is anything else.
    """
    import h5py
    import numpy as np

    dataset = within(file, name)
    if not isinstance(dataset, h5py.Dataset):
        raise KeyError(name)
    require_in_file(dataset, name)
    if dataset.id.get_create_plist().get_nfilters():
        raise UnusualHdf5(f"the dataset {name!r} has a filter")
    if dataset.shape is None or (dtype is not None and dataset.dtype != np.dtype(dtype)):
        raise UnusualHdf5(f"the dataset {name!r} holds {dataset.dtype!s:.80}")
    if axes is not None and dataset.ndim != axes:
        raise UnusualHdf5(f"the dataset {name!r} has {dataset.ndim} axes")
    return dataset


def numbers_of(file: Any, name: str, dtype: str, axes: int) -> Any:
    """A dataset that may be read whole: it cannot be larger than the file that it lies in.

    Raises:
        KeyError, UnusualHdf5: As `plain_dataset`, and if it says that it is larger.
    """
    dataset = plain_dataset(file, name, dtype, axes)
    there = os.stat(file.filename).st_size
    if dataset.size * dataset.dtype.itemsize > there:
        raise UnusualHdf5(f"the dataset {name!r} says that it has {dataset.size} numbers in {there} bytes")
    return dataset


def chunked(file: Any, name: str) -> Any:
    """A dataset that is read chunk by chunk.

    Raises:
        KeyError, UnusualHdf5: As `plain_dataset`, and if it has no chunks or holds no floating-point numbers.
    """
    dataset = plain_dataset(file, name, None, None)
    if dataset.chunks is None or dataset.ndim < 2 or dataset.chunks[0] != 1:
        raise UnusualHdf5(f"the dataset {name!r} is not cut by volumes")
    if dataset.dtype.str not in ("<f2", "<f4"):
        raise UnusualHdf5(f"the dataset {name!r} holds {dataset.dtype!s:.80}")
    return dataset
