"""How a stranger makes a store, a zip, an export or a bundle that hurts: edited, all hashes right."""

import hashlib
import json
import shutil
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attacks.scene import Scene
from cache_schema.format.canonical import canonical_json, sha256_json

Edit = Callable[[dict[str, Any]], object]
DEEP = b"[" * 200_000 + b"]" * 200_000


def hashed(body: dict[str, Any]) -> bytes:
    """A record, segment or index with its own hash."""
    body = {name: value for name, value in body.items() if name != "sha256"}
    return canonical_json({**body, "sha256": sha256_json(body)})


def edit(path: Path, change: Edit) -> None:
    """Change stored JSON, and make the hash in it right again if it has one."""
    found = json.loads(path.read_bytes())
    if path.name == "header.json":
        change(found["header"])
        path.write_bytes(canonical_json({"header": found["header"], "sha256": sha256_json(found["header"])}))
        return
    change(found)
    path.write_bytes(hashed(found) if "sha256" in found else canonical_json(found))


def records(store: Path) -> list[Path]:
    """All record files of a store, by participant."""
    return sorted((store / "records").rglob("*.json"), key=lambda path: json.loads(path.read_bytes())["row"])


def previews(store: Path) -> list[Path]:
    """All preview files of a store."""
    return sorted((store / "previews").rglob("*.png"))


def behind_link(path: Path, scene: Scene) -> None:
    """Move a part of a store outside, and leave a symbolic link to it."""
    target = scene.put_outside(f"moved/{path.name}", path)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


def with_member(scene: Scene, name: str, data: bytes = b"x", *, mode: int = 0, **changes: Any) -> Path:
    """The archive's zip with one more member, whose directory entry may say anything."""
    path = scene.archived("store.zip")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # that a name is there twice is the point
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = changes.pop("compress_type", zipfile.ZIP_STORED)
        archive.writestr(info, data)
        for field, value in changes.items():
            setattr(archive.getinfo(name), field, value)
        archive._didModify = True  # type: ignore[attr-defined]
    return path


def bomb(scene: Scene) -> Path:
    """A zip of 3 MB that unpacks to 3 GiB of zeros: one deflated block again and again."""
    path, times, piece = scene.folder / "bomb.zip", 192, bytes(1 << 24)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(piece) + deflate.flush(zlib.Z_FULL_FLUSH)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", block * times + deflate.flush())
        info = archive.getinfo("header.json")
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, len(piece) * times
    return path


def as_link(mode: int = 0o777) -> int:
    """A member's mode that makes it a symbolic link."""
    return stat.S_IFLNK | mode


def png(width: int = 1, height: int = 1, pixels: bytes | None = None, behind: bytes = b"") -> bytes:
    """A PNG that says one size and may hold another."""
    raw = bytes((width + 1) * height) if pixels is None else pixels
    chunks: Mapping[bytes, bytes] = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(raw, 9),
        b"IEND": b"",
    }
    return (
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks.items()
        )
        + behind
    )


def edit_card(bundle: Path, change: Edit) -> None:
    """Change a bundle's card."""
    card = json.loads((bundle / "bundle.json").read_bytes())
    change(card)
    (bundle / "bundle.json").write_bytes(json.dumps(card).encode())


def reweigh(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a bundle's tensors, and the hash of them in its card."""
    from safetensors.torch import load, save

    tensors = load((bundle / "members.safetensors").read_bytes())
    change(tensors)
    replace_weights(bundle, save(tensors))


def replace_weights(bundle: Path, data: bytes) -> None:
    """Other bytes in place of a bundle's tensors, vouched for by its card."""
    (bundle / "members.safetensors").write_bytes(data)
    edit_card(bundle, lambda card: card.update(weights_sha256=hashlib.sha256(data).hexdigest()))
