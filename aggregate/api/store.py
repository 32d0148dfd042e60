"""A store to look at: tables, tokens as numpy, and the ways on to torch, dask and xarray."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aggregate.api.bag_arrays import BagArrays
from aggregate.interop.formats import Rows
from cache_schema.common.errors import ConfigError
from cache_schema.common.prove import Prove
from cache_schema.common.text.counts import counted
from cache_schema.store.reader import StoreReader, VolumeEntry, open_store
from cache_schema.verify.verify import Verification, verify_store

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from dask.array import Array as DaskArray
    from datasets import Dataset as HfDataset
    from xarray import Dataset as XarrayDataset

    from aggregate.api.dataset import BagDataset

RowRange = Sequence[int] | Sequence[bool] | NDArray[Any] | slice | None
"""Which volumes: places in `volumes`, a mask over them, or all (None)."""


def open(location: "str | Path | Store", prove: Prove = "crc32c") -> "Store":
    """Open a store for reading: a `.zarr` folder, a zip, an `.h5` or a URL.

    Only the header and the list of volumes are read now.

    Args:
        location: Where it lies; an open store is returned as it is.
        prove: What the first read of a volume's array is held to: the crc32c in its record, or `sha256`.

    Raises:
        StoreError: If nothing is there, or it is no readable store.

    Example:
        >>> store = sc.open("runs/demo/cache.zarr")
        >>> store.volumes.head()
        >>> store.tokens("cls").x.shape
    """
    return location if isinstance(location, Store) else Store(open_store(location, prove))


def verify(store: "str | Path | Store", *, full: bool = False) -> Verification:
    """Check a store against itself: header, table, records, checksums, pads and digests.

    Args:
        store: Where it lies, or an open one.
        full: Also look for what matches its hashes and is wrong all the same: zero tokens, norms out of the
            cohort's range, duplicated volumes.

    Returns:
        `.ok`, and `.problems` by volume and array with what to do about each.

    Raises:
        StoreError: If there is nothing at the location.

    Example:
        >>> found = sc.verify("runs/demo/cache.zarr")
        >>> assert found.ok, found.problems
    """
    return verify_store(store.location if isinstance(store, Store) else str(store), full=full)


class Store:
    """An open store: tables as pandas, tokens as numpy, torch, dask or xarray.

    Example:
        >>> store = sc.open("runs/demo/cache.zarr")
        >>> store
        >>> store.volumes[["participant_id", "n_slices"]]
        >>> loader = DataLoader(store.to_torch("cls"), batch_size=16, collate_fn=sc.collate_bags)
    """

    def __init__(self, reader: StoreReader) -> None:
        """Look at an open store; `sc.open` makes one."""
        self.reader = reader
        """The contract's own reader, for everything that is not here."""
        # No property: completion in notebooks gives up on a class with one that returns a Literal.
        self.prove: Prove = reader.prove
        """What its numbers are held to when they are read."""

    @property
    def location(self) -> str:
        """Where it lies, as it was opened."""
        return self.reader.location

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of its arrays."""
        return tuple(spec.name for spec in self.reader.header.arrays)

    @property
    def fingerprint(self) -> str:
        """Equal for stores whose embeddings may be compared."""
        return self.reader.header.fingerprint.digest

    @property
    def sealed(self) -> bool:
        """Whether it was marked complete."""
        return self.reader.sealed

    def __len__(self) -> int:
        """Committed volumes."""
        return len(self.reader.entries)

    @cached_property
    def volumes(self) -> "pd.DataFrame":
        """One row per committed volume, in the order of every array: key, n_slices, row, digest."""
        import pandas as pd

        columns = ("participant_id", "session_id", "volume_id", "n_slices", "row", "digest")
        rows = [(*e.key.as_list(), e.n_slices, e.row, e.digest) for e in self.reader.entries]
        return pd.DataFrame(rows, columns=list(columns))

    @cached_property
    def records(self) -> "pd.DataFrame":
        """All that is known of each volume, in the order of `volumes`.

        A column each for `geometry.spacing_mm`, `foreground.kind`, `slices.height_mm`, `entities.contrast`
        and so on.
        """
        import pandas as pd

        return pd.json_normalize([record.model_dump(mode="json") for record in self.reader.records()])

    @cached_property
    def failures(self) -> "pd.DataFrame":
        """Volumes that could not be embedded, with the reason."""
        import pandas as pd

        columns = ["participant_id", "session_id", "volume_id", "path", "reason"]
        rows = [failure.model_dump(include=set(columns)) for failure in self.reader.failures()]
        return pd.DataFrame(rows, columns=columns)

    def tokens(self, name: str = "cls", volumes: RowRange = None) -> BagArrays:
        """Volumes of one array in memory, a bag each.

        Args:
            name: The array: cls, patch_mean, cls_l08, patches.
            volumes: Which, as places in `volumes` or a mask over them; all by default.

        Returns:
            `.x` (volume, slice, dim) with NaN behind each volume's own slices, `.keep` and `.height_mm`.

        Raises:
            StoreError: If there is no such array, or a volume is damaged.
        """
        entries = self.chosen(volumes)
        x = self.reader.read(name, entries)
        counts = np.array([entry.n_slices for entry in entries], dtype=np.int64)
        keep = np.arange(x.shape[1]) < counts[:, None]
        height = np.zeros(keep.shape, dtype=np.float32)
        for place, entry in enumerate(entries):
            height[place, : entry.n_slices] = self.reader.record(entry.key).slices.height_mm
        people = np.array([entry.key.participant_id for entry in entries], dtype=np.str_)
        return BagArrays(x, keep, height, people)

    def to_torch(self, name: str = "cls", volumes: RowRange = None) -> "BagDataset":
        """A torch Dataset with a bag per volume, read when it is asked for.

        Args:
            name: The array.
            volumes: As for `tokens`.

        Returns:
            Items of x (slice, dim), keep (slice), height_mm (slice) and key; `sc.collate_bags` pads them.

        Raises:
            StoreError: If there is no such array.
        """
        from aggregate.api.dataset import BagDataset

        self.reader.layout(name)
        return BagDataset(self.location, name, tuple(self.chosen(volumes)), self.prove)

    def to_dask(self, name: str = "cls", volumes_per_block: int = 64) -> "DaskArray":
        """One array (volume, slice, ...) whose blocks of volumes are read when they are computed.

        Raises:
            ConfigError: If dask is not installed.
            StoreError: If there is no such array.
        """
        from aggregate.interop.lazy_arrays import dask_array

        return dask_array(self.reader, name, volumes_per_block)

    def to_xarray(self, volumes_per_block: int = 64, cohort: "str | Path | None" = None) -> "XarrayDataset":
        """All arrays with their axes named, `keep`, heights and keys as coordinates, read by blocks.

        Args:
            volumes_per_block: That are read at once.
            cohort: A table whose columns become coordinates of volumes.

        Raises:
            ConfigError: If xarray or dask is not installed.
        """
        from aggregate.interop.lazy_arrays import xarray_dataset
        from aggregate.interop.source import of_store

        named = {} if cohort is None else of_store(self.reader, cohort).named_columns()
        columns = {name: list(values) for name, values in named.items()}
        return xarray_dataset(self.reader, volumes_per_block, columns)

    def to_anndata(
        self, tokens: Sequence[str] = (), rows: Rows = "volume", cohort: "str | Path | None" = None
    ) -> "AnnData":
        """Vectors of slices as AnnData, in memory: X the first array, `obsm` the others.

        Args:
            tokens: Names of arrays; by default all of one vector per slice, cls first.
            rows: What a row is: a `volume` (the mean of its slices) or a `slice`.
            cohort: A table whose columns go into `obs`.

        Raises:
            ConfigError: If anndata is not installed, or an array has more than a vector per slice.

        Example:
            >>> found = sc.open("cache.zarr").to_anndata(rows="slice", cohort="participants.tsv")
            >>> found.obs["height_mm"]
        """
        from aggregate.interop.anndata_file import to_anndata
        from aggregate.interop.source import of_store

        return to_anndata(of_store(self.reader, cohort), tokens, rows)

    def to_hf_dataset(self, tokens: Sequence[str] = (), cohort: "str | Path | None" = None) -> "HfDataset":
        """A Hugging Face dataset in memory, a row per volume.

        Args:
            tokens: Names of arrays; by default all that hold tokens.
            cohort: A table whose columns become columns.

        Raises:
            ConfigError: If datasets is not installed.

        Example:
            >>> rows = sc.open("cache.zarr").to_hf_dataset(["cls"]).with_format("torch")
        """
        from aggregate.interop.hugging_face import to_hf_dataset
        from aggregate.interop.source import of_store

        return to_hf_dataset(of_store(self.reader, cohort), tokens)

    def chosen(self, volumes: RowRange) -> list[VolumeEntry]:
        """The entries at some places.

        Raises:
            ConfigError: If one of them is not there.
        """
        entries = np.arange(len(self.reader.entries))
        if volumes is None:
            return list(self.reader.entries)
        try:
            # A boolean list, and a column of pandas, are a mask; numpy decides once it is an array.
            places = entries[volumes if isinstance(volumes, slice) else np.asarray(volumes)]
        except IndexError as error:
            raise ConfigError(
                f"volumes: {error}; {self.location!r} holds {counted(len(entries), 'volume')}, counted from 0"
            ) from error
        return [self.reader.entries[place] for place in np.atleast_1d(places)]

    def __repr__(self) -> str:
        return "\n".join(["<slicecache store", *(f"  {k:<12}{v}" for k, v in self._told()), ">"])

    def _repr_html_(self) -> str:
        from html import escape

        rows = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in self._told())
        return f"<table>{''.join(rows)}</table>"

    def _told(self) -> list[tuple[str, str]]:
        """What somebody wants to know first."""
        header, entries = self.reader.header, self.reader.entries
        people = len({entry.key.participant_id for entry in entries})
        counts = [entry.n_slices for entry in entries] or [0]
        arrays = [
            f"{a.name} ({', '.join(a.dims)}; {' x '.join(map(str, a.item_shape))}) {a.dtype}"
            for a in header.arrays
        ]
        backbone = header.fingerprint.backbone.architecture
        kind = " ".join(str(backbone[k]) for k in ("kind", "size", "model") if k in backbone)
        return [
            ("location", self.location),
            ("volumes", f"{len(entries)} of {counted(people, 'participant')}"),
            ("slices", f"{sum(counts)}, {min(counts)} to {max(counts)} per volume"),
            ("arrays", "; ".join(arrays)),
            ("backbone", f"{kind or 'unnamed'}, {backbone.get('dim', '?')} numbers per token"),
            ("fingerprint", self.fingerprint[:12]),
            ("sealed", "yes: complete" if self.sealed else "no: open for writing"),
        ]
