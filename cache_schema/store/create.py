"""Making a store, and reading its header.

A store is built in a sibling temporary folder and renamed into place, so that it is there whole or
not at all; who loses the race throws its own away and opens the winner's.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cache_schema.common.errors import StoreError, StoreMismatch
from cache_schema.common.machine import refuse_machine
from cache_schema.common.stored_json import StoredJsonError, read_object
from cache_schema.common.strict import refusal
from cache_schema.files.disk.durable import sync_above, sync_tree
from cache_schema.files.disk.unfinished import new_folder, sweep
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.header import FORMAT, VERSION, Header, differing_arrays, differing_fields
from cache_schema.format.layout import HEADER
from cache_schema.format.limits import object_limit
from cache_schema.format.metadata import metadata_objects, plain_layouts
from cache_schema.format.numerics import FixedNumerics
from cache_schema.format.record import TableRow
from cache_schema.store.numerics import read_fixed, resolved
from cache_schema.store.table import encode_segment, refuse_double_rows, segment_name


def read_header(location: str | Path) -> Header | None:
    """The header of the store at a location, with the numerics that were fixed; None when nothing is there.

    Raises:
        StoreError: If something else is there, or the header is damaged or of another version.
    """
    objects = open_objects(str(location))
    if objects is None:
        return None
    data = objects.get(HEADER)
    if data is not None:
        return resolved(objects, parse_header(data, str(location)))
    if isinstance(objects, LocalObjects) and any(objects.root.iterdir()):
        raise StoreError(f"{str(location)!r} is a folder with other things in it and no slicecache store")
    return None


def fixed_at(location: str | Path) -> FixedNumerics | None:
    """By which arithmetic the store at a location is embedded; None when there is none, or nobody has.

    Raises:
        StoreError: If what fixed it is damaged.
    """
    objects = open_objects(str(location))
    if objects is None or objects.get(HEADER) is None:
        return None
    return read_fixed(objects, stored_header_hash(objects))


def parse_header(data: bytes, location: str) -> Header:
    """Read a header and hold it, as it is stored, against the hash beside it.

    Raises:
        StoreError: If it is no header, of another version, or does not match its hash.
    """
    try:
        raw = read_object(data, object_limit(HEADER))
        body, stored = raw["header"], raw["sha256"]
        found = (body["format"], body["version"])
        right = stored == sha256_json(body)
    except (ValueError, KeyError, TypeError) as error:
        why = f" ({error})" if isinstance(error, StoredJsonError) else ""
        raise StoreError(
            f"{HEADER} of {location!r} cannot be read: it is damaged or no header{why}"
        ) from error
    if found != (FORMAT, VERSION):
        raise StoreError(
            f"{location!r} is a store of format {found[0]!r:.80}, version {found[1]!r:.80}; this program "
            f"reads {FORMAT!r}, version {VERSION}"
        )
    try:
        header = Header.model_validate(body)
    except ValidationError as error:
        raise StoreError(refusal(error, f"{HEADER} of {location!r}")) from error
    if not right:
        raise StoreError(
            f"{HEADER} of {location!r} does not match its own hash: it was edited or damaged; restore it "
            "from a copy, or extract again"
        )
    return header


def stored_header_hash(objects: Objects) -> str:
    """The hash beside a header that was read and held against it."""
    return str(read_object(objects.get(HEADER) or b"{}", object_limit(HEADER)).get("sha256"))


def encode_header(header: Header) -> bytes:
    """A header as it is stored, with its hash beside it."""
    return canonical_json({"header": header.model_dump(mode="json"), "sha256": header.digest})


def create_store(location: str, header: Header, rows: Sequence[TableRow], *, durable: bool = True) -> None:
    """Make a store with its arrays, header and table, or leave the one that somebody else just made.

    Args:
        location: A folder that is not there, or empty.
        header: Of the store.
        rows: The first of its table.
        durable: Whether the store waits for the disk before it takes its name.

    Raises:
        StoreError: If `rows` holds a volume twice, or the place cannot be written.
    """
    refuse_double_rows(rows)
    target = Path(location).expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_siblings(location)
        with new_folder(str(target.parent / f".{target.name}.creating")) as temporary:
            _build(temporary, header, rows)
            if durable:
                sync_tree(temporary)
            with contextlib.suppress(FileExistsError):
                _rename_new(temporary, target)
        if durable:
            sync_above(target)
    except OSError as error:
        refuse_machine(error, "create", location)
        raise StoreError(f"cannot create the store {location!r}: {error.strerror or error}") from error


def _rename_new(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free or an empty folder.

    Raises:
        FileExistsError: If something is there.
    """
    try:
        os.rename(source, target)
    except OSError as error:
        if target.exists():
            raise FileExistsError(str(target)) from error
        raise


def _build(folder: Path, header: Header, rows: Sequence[TableRow]) -> None:
    """Write everything that a store without volumes has."""
    slices = max([row.max_slices for row in rows], default=0)
    objects = LocalObjects(folder, durable=False)
    for name, data in metadata_objects(plain_layouts(header, len(rows), slices)).items():
        objects.put(name, data)
    objects.create(segment_name(0), encode_segment(0, slices, rows))
    objects.put(HEADER, encode_header(header))


def sweep_siblings(location: str) -> None:
    """Delete half-built stores of processes that are gone: killed, or killed after losing the race."""
    target = Path(location).expanduser().absolute()
    for what in ("creating", "rebuilding"):
        for entry in list(target.parent.glob(f".{target.name}.{what}~*")):
            sweep(entry)


def load_header(objects: Objects, location: str) -> Header:
    """The header of objects that must be a store, with the numerics that were fixed.

    Raises:
        StoreError: If there is none, or what fixed its numerics is damaged.
    """
    data = objects.get(HEADER)
    if data is None:
        raise StoreError(f"{location!r} is no slicecache store: it has no {HEADER}")
    return resolved(objects, parse_header(data, location))


def require_same(location: str, asked: Header, found: Header) -> None:
    """Refuse a store whose fingerprint, numerics or arrays are not those asked for.

    A compute dtype or an engine that one of the two leaves open is no difference.

    Raises:
        StoreMismatch: Naming each differing field with both values.
    """
    ours, theirs = _identity(asked), _identity(found)
    ours["numerics"] = asked.numerics.closed_as(found.numerics).said()
    theirs["numerics"] = found.numerics.closed_as(asked.numerics).said()
    lines = differing_fields(ours, theirs)
    arrays = differing_arrays(asked, found)
    if lines or arrays:
        like = "what that one was made with" if lines else "the arrays that it has (extract.tokens)"
        raise StoreMismatch(
            f"the store {location!r} (there) was made otherwise than is asked for (here): "
            f"{'; '.join(lines + arrays)}. Give this extraction a store of its own (cache.store), or ask for "
            f"{like}"
        )


def _identity(header: Header) -> dict[str, Any]:
    """The parts of a header that must agree beside its arrays."""
    return {**header.fingerprint.model_dump(mode="json"), "numerics": header.numerics.said()}
