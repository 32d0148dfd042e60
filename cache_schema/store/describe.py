"""What is in a store, as data and in words."""

import os
from collections import Counter
from typing import Any

from cache_schema.common.text.counts import counted
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import LocalObjects
from cache_schema.format.header import MERGED
from cache_schema.format.layout import item_bytes
from cache_schema.store.reader import StoreReader, open_store

MANY_FILES = 5000
"""More files than this in a store are worth a word."""
LONGEST = 160


def describe_store(location: str) -> dict[str, Any]:
    """Everything that `cache inspect --json` prints.

    Raises:
        StoreError: If there is no readable store.
    """
    store = open_store(location)
    header = store.header
    table = store.table()
    failures = store.failures()
    keys = [entry.key for entry in store.entries]
    done = set(keys) | {failure.key for failure in failures}
    return {
        "location": location,
        "format": header.format,
        "version": header.version,
        "content_digest": store.content_digest(),
        "fingerprint": header.fingerprint.digest,
        "numerics": header.numerics.digest,
        "sealed": store.sealed,
        "packed": any(store.layout(spec.name).shard_volumes for spec in header.arrays),
        "n_volumes": len(keys),
        "n_failed": len(failures),
        "n_planned": len(table),
        "n_pending": sum(row.key not in done for row in table),
        "n_withdrawn": len(store.tombstones()),
        "n_participants": len({key.participant_id for key in keys}),
        "n_sessions": len({(key.participant_id, key.session_id) for key in keys}),
        "n_slices": sum(entry.n_slices for entry in store.entries),
        "slices_per_volume": _range([entry.n_slices for entry in store.entries]),
        "arrays": [_array(store, index) for index in range(len(header.arrays))],
        "size": _size(location),
        "header": header.model_dump(mode="json"),
        "failures": [failure.model_dump(mode="json") for failure in failures],
    }


def _range(values: list[int]) -> list[int] | None:
    """Smallest and largest, or None of nothing."""
    return [min(values), max(values)] if values else None


def _array(store: StoreReader, index: int) -> dict[str, Any]:
    """One array: its shape, its dtype and the bytes of its kept slices."""
    spec = store.header.arrays[index]
    kept = sum(entry.n_slices for entry in store.entries)
    return {
        "name": spec.name,
        "dims": list(spec.dims),
        "item_shape": list(spec.item_shape),
        "dtype": spec.dtype,
        "shape": list(store.layout(spec.name).shape),
        "kept_bytes": kept * item_bytes(spec),
    }


def _size(location: str) -> dict[str, Any] | None:
    """Bytes and files on disk by part of the store; None for what is no folder."""
    objects = open_objects(location)
    if not isinstance(objects, LocalObjects):
        return None
    sizes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    folders = 0
    for folder, _, names in os.walk(objects.root):
        folders += 1
        part = os.path.relpath(folder, objects.root).split(os.sep)[0]
        part = "header" if part == "." else part.encode("ascii", "backslashreplace").decode()
        files[part] += len(names)
        sizes[part] += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return {
        "bytes": sizes.total(),
        "files": files.total(),
        "inodes": files.total() + folders,
        "parts": {part: {"bytes": sizes[part], "files": files[part]} for part in sorted(files)},
    }


def description_text(description: dict[str, Any]) -> str:
    """A description for somebody who has never seen a store."""
    d = description
    fingerprint, numerics = d["header"]["fingerprint"], d["header"]["numerics"]
    lines = [
        f"{d['location']}: a {d['format']} store, version {d['version']}"
        + (", sealed (complete)" if d["sealed"] else ", not sealed (open for writing)")
        + (", packed (read only)" if d["packed"] else ""),
        "It holds what a frozen network made of every kept slice; of the images, small previews at most.",
        "",
        f"volumes      {d['n_volumes']} of {d['n_planned']} planned are committed; {d['n_failed']} failed, "
        f"{d['n_pending']} not done yet",
        f"who          {counted(d['n_participants'], 'participant')}, {counted(d['n_sessions'], 'session')}",
        *_withdrawn_line(d["n_withdrawn"]),
        f"slices       {d['n_slices']}{_per_volume(d['slices_per_volume'])}",
        *[_array_line(array) for array in d["arrays"]],
        *_size_lines(d["size"], d["packed"]),
        "",
        "made with: a change of any of this makes another fingerprint, and needs another store",
        f"  backbone   {_flat(fingerprint['backbone']['architecture'])}",
        f"             weights sha256 {fingerprint['backbone']['weights_sha256']}",
        f"             position table {fingerprint['backbone']['position_table']}",
        f"  plane      {fingerprint['plane']}; slices {_flat(fingerprint['slices'])}",
        *[f"  step       {_flat(step)}" for step in fingerprint["preprocessing"]],
        "computed with: a change of this changes the hash `numerics`, and needs another store; a trained",
        "head meets it with a warning",
        f"  numerics   {_flat(numerics)}",
        *[f"  or         {_flat(other)}, as records say" for other in d["header"].get("other_numerics", ())],
        *_created_lines(d["header"]["created"]),
        "",
        "no hash but the header's own covers versions, host, time and command: another machine may go on",
        f"fingerprint     {d['fingerprint']}  (same: comparable embeddings)",
        f"numerics        {d['numerics']}  (same: computed with the same arithmetic)",
        f"content digest  {d['content_digest']}  (same: the same volumes and numbers, bit by bit)",
        *[f"failed: {f['path']}: {f['reason']}" for f in d["failures"][:20]],
    ]
    return "\n".join(lines)


def _withdrawn_line(n: int) -> list[str]:
    """How many participants were withdrawn."""
    some = "1 participant was" if n == 1 else f"{n} participants were"
    return [f"withdrawn    {some} taken out of the store, and no extraction embeds them again"] if n else []


def _per_volume(span: list[int] | None) -> str:
    """How many slices the volumes have."""
    return "" if span is None else f", {span[0]} to {span[1]} per volume"


def _array_line(array: dict[str, Any]) -> str:
    """One array in words."""
    item = " x ".join(f"{n} {dim}" for n, dim in zip(array["item_shape"], array["dims"][2:], strict=True))
    return (
        f"array        {array['name']}: per slice {item}, {array['dtype']}, {megabytes(array['kept_bytes'])}"
    )


def _size_lines(size: dict[str, Any] | None, packed: bool) -> list[str]:
    """The size on disk in words, the largest parts first."""
    if size is None:
        return []
    lines = [f"on disk      {megabytes(size['bytes'])} in {size['files']} files ({size['inodes']} inodes)"]
    parts = sorted(size["parts"].items(), key=lambda part: -part[1]["bytes"])
    lines += [f"             {name}: {megabytes(p['bytes'])} in {p['files']} files" for name, p in parts]
    if size["files"] > MANY_FILES and not packed:
        lines.append(
            "             many small files for a shared file system: `slicecache cache pack` gathers them"
        )
    return lines


def _created_lines(created: dict[str, Any]) -> list[str]:
    """Provenance, one line each; of a merge, that of every store behind the other."""
    parts = created.get(MERGED)
    if isinstance(parts, list):
        return [line for part in parts if isinstance(part, dict) for line in _created_lines(part)]
    lines = [
        f"  {name:<10} {_value(value)}" for name, value in created.items() if value not in ("", None, {}, [])
    ]
    return ["made by"] * bool(lines) + lines


def _value(value: Any) -> str:
    """A value of the provenance on one line, cut when it is long."""
    text = _flat(value) if isinstance(value, dict) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... (--json has all)"


def _flat(values: dict[str, Any]) -> str:
    """A mapping as `name value, name value`; `step` and `kind` come first without their name."""
    first = [str(values[name]) for name in ("step", "kind") if name in values]
    rest = [f"{name} {value}" for name, value in values.items() if name not in ("step", "kind")]
    return ", ".join(first + rest)


def megabytes(n: int) -> str:
    """Bytes for people: `12.3 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= factor:
            return f"{n / factor:.1f} {unit}"
    return f"{n} bytes"
