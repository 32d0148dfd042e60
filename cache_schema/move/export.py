"""Taking a store along: one HDF5 file, and back to a folder."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache_schema.common.errors import StoreError
from cache_schema.common.terminal.progress import Progress
from cache_schema.common.text.counts import counted
from cache_schema.files.disk.room import require_fit
from cache_schema.files.disk.whole import appears_whole, require_free
from cache_schema.files.h5.sink import H5Sink
from cache_schema.files.remote.urls import is_url, require_folder_place
from cache_schema.format.header import Header
from cache_schema.format.layout import ArrayLayout
from cache_schema.format.record import VolumeRecord
from cache_schema.move.copying import Changes, copy_store
from cache_schema.move.new_store import FolderSink, Sink
from cache_schema.move.provenance import EMBEDDED, provenance, provenance_parts
from cache_schema.move.pseudonyms import Pseudonyms, read_pseudonyms
from cache_schema.move.volume_files import write_volumes
from cache_schema.store.reader import StoreReader, open_store

KEPT_PROVENANCE = ("time", "platform", "python", "device", "libraries", "batch_size")
"""What an export still says of how the store was made: no host, no command, no path."""
SINKS: dict[str, type[Any]] = {".h5": H5Sink, ".hdf5": H5Sink}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export or import made."""

    location: str
    n_volumes: int
    content_digest: str
    """Of the copy; of the store itself where single volumes are written."""
    left_behind: int
    """Volumes of the table that were not committed."""

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        return asdict(self)

    def in_words(self) -> str:
        """The whole for people."""
        missing = f"; {self.left_behind} planned volumes are not committed and stay behind" * (
            self.left_behind > 0
        )
        volumes = counted(self.n_volumes, "volume")
        return f"{self.location}: {volumes}, content digest {self.content_digest}{missing}"


def export_store(
    location: str,
    out: str,
    *,
    pseudonyms: Pseudonyms | None = None,
    previews: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the committed volumes of a store to one file, without host, command and paths.

    Args:
        location: The store, of any kind that the reader opens.
        out: A new file that ends in `.h5` or `.hdf5`.
        pseudonyms: Replace the ids by these; they must cover every volume.
        previews: Take previews along.
        replace: An earlier export may be there; it stays until the new one is whole, and takes its place.
        progress: Called with the volumes written and their number.

    Raises:
        StoreError: If the file is there already, with `replace` if it is no export or the store itself; or
            if the store is damaged or empty.
    """
    require_folder_place(out, "export")
    suffix = Path(out).suffix
    if suffix not in SINKS:
        raise StoreError(f"{out!r}: an export is one file that ends in .h5")
    if replace:
        refuse_itself(location, out)
    store = open_store(location)
    # A tombstone is of an id: whoever guesses one could ask whether it was in the study.
    renamed = pseudonyms and Changes(without_place, pseudonyms.key, pseudonyms.record, tombstones=False)
    changes = renamed or _TRACELESS
    required = require_replaceable if replace else None
    return _write(store, out, SINKS[suffix], changes, previews, progress, required)


def import_store(location: str, out: str, progress: Progress | None = None) -> Exported:
    """Make a folder of an export (or of any store), with equal keys, numbers and records.

    Raises:
        StoreError: If something is at `out` already, or the export is damaged.
    """
    if Path(out).suffix in (*SINKS, ".zip") or is_url(out):
        raise StoreError(f"{out!r}: an import makes a folder; give it a name such as cache.zarr")
    return _write(open_store(location), out, FolderSink, Changes(), True, progress)


def export_volumes(
    location: str,
    out: str,
    tokens: str,
    *,
    pseudonyms: Pseudonyms | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write one HDF5 file per committed volume, for programs that read bags of pathology patches.

    Args:
        location: The store.
        out: A new folder.
        tokens: The array to write.
        pseudonyms: Replace the ids by these.
        progress: Called with the volumes written and their number.

    Raises:
        StoreError: If the folder is there already, the array is none of tokens, or the store is damaged.
    """
    require_folder_place(out, "export")
    store = open_store(location)
    require_fit(location, out, "the export")
    with appears_whole(out) as folder:
        write_volumes(store, folder, tokens, pseudonyms, progress)
    left_behind = len(store.table()) - len(store.entries)
    return Exported(out, len(store.entries), store.content_digest(), left_behind)


def refuse_itself(location: str, out: str) -> None:
    """Refuse an export that would take the place of the store that it is of.

    Raises:
        StoreError: If both are one file.
    """
    target = Path(out).expanduser()
    if not is_url(location) and target.exists() and target.samefile(Path(location).expanduser()):
        raise StoreError(
            f"{out!r} is the store itself, which an export must not replace; choose another name"
        )


def require_replaceable(target: Path) -> None:
    """Refuse a name at which something other than an export is.

    Raises:
        StoreError: If a folder, a link or another file is there, or an export that cannot be read.
    """
    if not target.exists() and not target.is_symlink():
        return
    advice = "--replace takes the place of an earlier export only; delete it, or choose another name"
    if target.is_symlink() or not target.is_file():
        raise StoreError(f"{str(target)!r} is no file: {advice}")
    try:
        open_store(str(target))
    except StoreError as error:
        raise StoreError(f"{str(target)!r} is there and no export that can be read: {advice}") from error


def prepare_pseudonyms(location: str, out: str, mapping: str, replace: bool = False) -> Pseudonyms:
    """Pseudonyms for every committed volume, written to their table before anything else is.

    Args:
        location: The store.
        out: Where the export will go.
        mapping: Their table, which may be there already.
        replace: Whether an earlier export may be at `out`.

    Raises:
        StoreError: If the store or an earlier table cannot be read, or `out` is taken.
    """
    (require_replaceable if replace else require_free)(Path(out).expanduser().absolute())
    pseudonyms = read_pseudonyms(mapping)
    pseudonyms.cover(entry.key for entry in open_store(location).entries)
    pseudonyms.save(mapping)
    return pseudonyms


def _write(
    store: StoreReader,
    out: str,
    sink: type[Any],
    changes: Changes,
    previews: bool,
    progress: Progress | None,
    required: Callable[[Path], None] | None = None,
) -> Exported:
    """Copy a store to a name, at which it appears whole."""
    require_fit(store.location, out, "the copy")
    with appears_whole(out, required) as path, ExitStack() as stack:

        def make_sink(layouts: dict[str, ArrayLayout]) -> Sink:
            made: Sink = sink(path, layouts)
            stack.callback(made.abandon)
            return made

        digest = copy_store(store, make_sink, changes, previews, progress)
    left_behind = len(store.table()) - len(store.entries)
    return Exported(out, len(store.entries), digest, left_behind)


def without_place(header: Header) -> Header:
    """A header that says with what the store was made, but not where and from what."""
    parts = map(_without_place, provenance_parts(header.created))
    return header.model_copy(update={"created": provenance(parts)})


def _without_place(created: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in created.items() if name in KEPT_PROVENANCE}
    embedded = created.get(EMBEDDED)
    return kept | {EMBEDDED: _without_place(embedded)} if isinstance(embedded, dict) else kept


def without_path(record: VolumeRecord) -> VolumeRecord:
    """A record without the path of its source, nor the dataset's inside; the digests stay."""
    source = record.source.model_copy(update={"path": ""})
    inputs = record.inputs and record.inputs.model_copy(update={"dataset": None})
    return record.model_copy(update={"source": source, "inputs": inputs})


_TRACELESS = Changes(header=without_place, record=without_path)
