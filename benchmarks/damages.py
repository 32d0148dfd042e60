"""The damages that `faults.py` does to a store of made-up embeddings."""

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sound_store import HEADER, ITEMS, KEYS, N_SLICES, N_VOLUMES, chunk, write_store

from cache_schema.format.layout import chunk_slices, record_name
from cache_schema.move.pack import pack
from cache_schema.store.seal import seal

SHARD_VOLUMES = 5
Named = set[tuple[str, str]]
Damage = Callable[[Path, random.Random], Named]
"""Damages the store in a folder; the volumes and arrays that the check should name."""


def pick(store: Path, rng: random.Random, name: str | None = None) -> tuple[Path, Named]:
    """A random chunk, and what should be named when it is damaged."""
    name = name or rng.choice(sorted(ITEMS))
    volume = rng.randrange(N_VOLUMES)
    return chunk(store, name, volume, rng.randrange(2)), {(str(KEYS[volume]), name)}


def flip(path: Path, rng: random.Random, low: int = 0, high: int | None = None) -> None:
    """Flip one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(low, len(data) if high is None else high)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def edit_digit(path: Path, rng: random.Random, inside: bytes = b"") -> None:
    """Change one digit of a text, in the line that contains `inside`."""
    data = bytearray(path.read_bytes())
    start = data.index(inside)
    end = data.find(b"\n", start)
    places = [
        m.start() for m in re.finditer(rb"\d", data) if start <= m.start() < (end if end > 0 else 1 << 60)
    ]
    place = rng.choice(places)
    data[place] = ord(rng.choice([d for d in "0123456789" if ord(d) != data[place]]))
    path.write_bytes(data)


def flipped_in(name: str) -> Damage:
    """One bit flipped in a chunk of an array."""

    def damage(store: Path, rng: random.Random) -> Named:
        path, named = pick(store, rng, name)
        flip(path, rng)
        return named

    return damage


def truncated(store: Path, rng: random.Random) -> Named:
    path, named = pick(store, rng)
    os.truncate(path, rng.randrange(1, path.stat().st_size))
    return named


def zero_length(store: Path, rng: random.Random) -> Named:
    path, named = pick(store, rng)
    os.truncate(path, 0)
    return named


def missing(store: Path, rng: random.Random) -> Named:
    path, named = pick(store, rng)
    path.unlink()
    return named


def swapped(store: Path, rng: random.Random) -> Named:
    name, block = rng.choice(sorted(ITEMS)), rng.randrange(2)
    a, b = rng.sample(range(N_VOLUMES), 2)
    first, second = chunk(store, name, a, block), chunk(store, name, b, block)
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    return {(str(KEYS[a]), name), (str(KEYS[b]), name)}


def rewritten(change: Callable[[dict[int, dict[str, Any]], random.Random], Named]) -> Damage:
    """A store written anew by a writer that is wrong, all hashes right."""

    def damage(store: Path, rng: random.Random) -> Named:
        shutil.rmtree(store)
        named: Named = set()
        write_store(store, lambda arrays: named.update(change(arrays, rng)))
        return named

    return damage


def duplicated(arrays: dict[int, dict[str, Any]], rng: random.Random) -> Named:
    a, b = rng.sample(range(N_VOLUMES), 2)
    arrays[b] = arrays[a]
    tokens = ", ".join(sorted(spec.name for spec in HEADER.arrays if spec.dims[-1] == "dim"))
    return {(str(KEYS[a]), tokens), (str(KEYS[b]), tokens)}


def zeroed(arrays: dict[int, dict[str, Any]], rng: random.Random) -> Named:
    volume, name = rng.randrange(N_VOLUMES), rng.choice(("cls", "patch_mean", "patches"))
    arrays[volume][name][rng.randrange(N_SLICES)] = 0
    return {(str(KEYS[volume]), name)}


def scaled(arrays: dict[int, dict[str, Any]], rng: random.Random) -> Named:
    volume, name = rng.randrange(N_VOLUMES), rng.choice(("cls", "patch_mean", "patches"))
    arrays[volume][name] *= rng.choice((0.2, 5.0))
    return {(str(KEYS[volume]), name)}


def record_without_data(store: Path, rng: random.Random) -> Named:
    volume = rng.randrange(N_VOLUMES)
    for name in ITEMS:
        for block in range(2):
            chunk(store, name, volume, block).unlink(missing_ok=True)
    return {(str(KEYS[volume]), name) for name in ITEMS}


def data_without_record(store: Path, rng: random.Random) -> Named:
    volume = rng.randrange(N_VOLUMES)
    (store / record_name(KEYS[volume])).unlink()
    return {(str(KEYS[volume]), name) for name in ITEMS}


def edited_header(store: Path, rng: random.Random) -> Named:
    edit_digit(store / "header.json", rng)
    return {("", "header.json")}


def edited_record(store: Path, rng: random.Random) -> Named:
    volume = rng.randrange(N_VOLUMES)
    edit_digit(store / record_name(KEYS[volume]), rng)
    return {(str(KEYS[volume]), "record")}


def edited_table(store: Path, rng: random.Random) -> Named:
    edit_digit(store / "table" / "000000.json", rng)
    return {("", "table")}


def edited_seal(store: Path, rng: random.Random) -> Named:
    seal(str(store))
    edit_digit(store / "sealed" / rng.choice(("index.json", "records.jsonl")), rng)
    return {("", "sealed")}


def packed(damage: Damage) -> Damage:
    """The same to a packed store."""

    def damage_packed(store: Path, rng: random.Random) -> Named:
        pack(str(store), shard_volumes=SHARD_VOLUMES)
        return damage(store, rng)

    return damage_packed


def shard(store: Path, rng: random.Random) -> tuple[Path, str, range]:
    """A random shard, its array, and the volumes in it."""
    name, number = rng.choice(sorted(ITEMS)), rng.randrange(-(-N_VOLUMES // SHARD_VOLUMES))
    volumes = range(number * SHARD_VOLUMES, min(N_VOLUMES, (number + 1) * SHARD_VOLUMES))
    return store / name / (f"c.{number}.0" + ".0" * len(ITEMS[name])), name, volumes


def flipped_in_shard(store: Path, rng: random.Random) -> Named:
    path, name, volumes = shard(store, rng)
    spec = next(spec for spec in HEADER.arrays if spec.name == name)
    size = chunk_slices(HEADER, spec) * int(np.prod(spec.item_shape)) * 2 + 4
    place = rng.randrange(2 * len(volumes))
    flip(path, rng, place * size, (place + 1) * size)
    return {(str(KEYS[volumes[place // 2]]), name)}


def flipped_in_index(store: Path, rng: random.Random) -> Named:
    path, name, volumes = shard(store, rng)
    flip(path, rng, path.stat().st_size - SHARD_VOLUMES * 2 * 16 - 4)
    return {(str(KEYS[volume]), name) for volume in volumes}


def truncated_shard(store: Path, rng: random.Random) -> Named:
    path, name, volumes = shard(store, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))
    return {(str(KEYS[volume]), name) for volume in volumes}


def missing_shard(store: Path, rng: random.Random) -> Named:
    path, name, volumes = shard(store, rng)
    path.unlink()
    return {(str(KEYS[volume]), name) for volume in volumes}


def edited_packed_record(store: Path, rng: random.Random) -> Named:
    key = rng.choice(KEYS)
    edit_digit(store / "packed" / "records.jsonl", rng, key.digest.encode() + b" {")
    return {("", "record"), (str(key), "record")}


KINDS: dict[str, Damage] = {
    **{f"flipped bit in a chunk of {name}": flipped_in(name) for name in sorted(ITEMS)},
    "truncated chunk": truncated,
    "zero-length chunk": zero_length,
    "missing chunk": missing,
    "chunk swapped between two volumes": swapped,
    "duplicated volume (hashes right)": rewritten(duplicated),
    "zero tokens (hashes right)": rewritten(zeroed),
    "tokens scaled by 5 or 1/5 (hashes right)": rewritten(scaled),
    "record without data": record_without_data,
    "data without record": data_without_record,
    "edited header, one digit": edited_header,
    "one digit edited in a record": edited_record,
    "one digit edited in the table": edited_table,
    "one digit edited in a sealed object": edited_seal,
    "packed: flipped bit in a chunk": packed(flipped_in_shard),
    "packed: flipped bit in a shard's index": packed(flipped_in_index),
    "packed: truncated shard": packed(truncated_shard),
    "packed: missing shard": packed(missing_shard),
    "packed: one digit edited in a record": packed(edited_packed_record),
}
