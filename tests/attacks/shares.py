"""Numerics that a header left open, and a plan that is kept: lost, damaged, foreign."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.scene import Attack, Scene, run
from attacks.scene_foreign import Spoil, bytes_of, link, pipeline, sparse, store
from attacks.scene_hostile import DEEP, edit
from cache_schema.format.canonical import canonical_json, sha256_json

NUMERICS = "numerics.json"


def fixed(change: Callable[[dict[str, Any]], object] = lambda body: None) -> Spoil:
    """The store's own numerics written down beside its header, changed, with every hash right."""

    def spoil(scene: Scene, path: Path) -> None:
        header = json.loads((path / "header.json").read_bytes())
        body = {
            "numerics": header["header"]["numerics"],
            "device": "cpu",
            "header_sha256": header["sha256"],
            "made": {},
        }
        change(body)
        (path / NUMERICS).write_bytes(canonical_json(body | {"sha256": sha256_json(body)}))

    return spoil


def opened(scene: Scene, path: Path) -> None:
    """A header that leaves its dtype open, and nothing beside it."""
    edit(path / "header.json", lambda header: header["numerics"].update(compute_dtype="auto"))


def says(**changes: Any) -> Spoil:
    return fixed(lambda body: body.update(changes))


def computes(dtype: str) -> Spoil:
    return fixed(lambda body: body["numerics"].update(compute_dtype=dtype))


def then(*spoils: Spoil) -> Spoil:
    """One after another."""

    def spoil(scene: Scene, path: Path) -> None:
        for each in spoils:
            each(scene, path)

    return spoil


def shared(spoil: Callable[[Path], object], *more: str):
    """A share of a plan that was kept and then spoilt."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        words = [str(scene.archived("pipeline.yaml")), "--set", "cache.store=new.zarr"]
        run("plan", [*words, "--create"])
        (kept,) = scene.folder.rglob("plan.jsonl")
        spoil(kept)
        return [*words, "--shard", "0/2", *more]

    return arrange


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    return lambda kept: kept.write_bytes(b"\n".join(change(kept.read_bytes().splitlines())) + b"\n")


def volume(**changes: Any) -> Callable[[Path], object]:
    """The plan's first volume, changed."""
    return lines(lambda all: [all[0], json.dumps(json.loads(all[1]) | changes).encode(), *all[2:]])


HASH = "belongs to another header"
OPEN = "is missing, and .* volumes are committed"
ANEW = r"plan\.jsonl.*`slicecache plan --create` makes it anew"
STORES = [
    Attack(
        "numerics of a tebibyte", "cache inspect", store(then(fixed(), sparse(NUMERICS, 2**40))), "1048576"
    ),
    Attack("numerics of 200,000 nested lists", "cache verify", store(bytes_of(NUMERICS, DEEP)), "damaged", 1),
    Attack(
        "numerics are a link", "cache inspect", store(then(fixed(), link(NUMERICS))), "is a symbolic link"
    ),
    Attack("numerics of another store", "train", pipeline(says(header_sha256="0" * 64)), HASH),
    Attack("numerics of another store", "cache verify", store(says(header_sha256="0" * 64)), HASH, 1),
    Attack(
        "numerics that overrule the header", "cache inspect", store(computes("float16")), "and the header"
    ),
    Attack("numerics that overrule the header", "extract", pipeline(computes("float16")), "and the header"),
    Attack("numerics that leave it open", "cache inspect", store(computes("auto")), "does not match|open"),
    Attack(
        "numerics with a field of a later version", "cache inspect", store(says(later=1)), "cannot be read"
    ),
    Attack("numerics of a device by a path", "cache inspect", store(says(device="../x")), "cannot be read"),
    Attack("numerics are lost", "cache inspect", store(opened), OPEN),
    Attack("numerics are lost", "cache verify", store(opened), OPEN, 1),
    Attack("numerics are lost", "train", pipeline(opened), OPEN),
]
PLANS = [
    Attack("a kept plan without its end", "extract", shared(lines(lambda all: all[:-1])), ANEW),
    Attack("a kept plan of zeros", "extract", shared(lambda kept: kept.write_bytes(bytes(4096))), ANEW),
    Attack("a kept plan of 200,000 nested lists", "extract", shared(lines(lambda all: [DEEP])), ANEW),
    Attack("a kept plan of 1e9 slices", "extract", shared(volume(max_slices=10**9)), ANEW),
    Attack(
        "a kept plan, another slice rule",
        "extract",
        shared(lambda kept: None, "--set", "extract.slices={kind: uniform, n: 3}"),
        "made for something else: slices",
    ),
]
ATTACKS = [*STORES, *PLANS]
