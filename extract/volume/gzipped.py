"""Compressed voxels by a quicker inflate, where one is installed; the same bytes, or none.

zlib-ng (`slicecache[gzip]`) is zlib for newer processors, twice as fast. Whatever it refuses is read again by
the standard library, whose words an error keeps.
"""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.volumeutils import array_from_file
from numpy.typing import NDArray

try:
    from zlib_ng import gzip_ng
except ImportError:
    gzip_ng = None

ENDINGS = (".gz", ".mgz")


def stored_voxels(dataobj: ArrayProxy) -> NDArray[Any]:
    """The voxels of a file as they are stored, unscaled, `(i, j, k, ...)`."""
    quick = _inflated(dataobj)
    return np.asarray(dataobj.get_unscaled()) if quick is None else quick


def _inflated(dataobj: ArrayProxy) -> NDArray[Any] | None:
    """The same by zlib-ng; None where it is not there, has nothing to do or does not succeed."""
    path = dataobj.file_like
    if gzip_ng is None or not isinstance(path, str | Path) or not str(path).lower().endswith(ENDINGS):
        return None
    try:
        with gzip_ng.open(path) as stream:
            values: Any = array_from_file(
                dataobj.shape, dataobj.dtype, stream, dataobj.offset, order=dataobj.order, mmap=False
            )
    except Exception:  # a damaged file, or one that is not compressed: the usual reader says which
        return None
    return np.asarray(values)
