"""The lock file of a fetched backbone."""

from fuzz.target import Files, Target

from extract.backbones.checkpoint.lock import NAME, BackboneLock, LockedFile, read_lock


def _locks() -> list[Files]:
    files = tuple(
        LockedFile(name=name, bytes=7, sha256="a" * 64) for name in ("config.json", "x.safetensors")
    )
    lock = BackboneLock(
        kind="dinov2", repository="lab/x", revision="0" * 40, weights_sha256="b" * 64, files=files
    )
    return [{NAME: lock.model_dump_json(indent=indent).encode()} for indent in (None, 2)]


TARGETS = [
    Target(
        "backbone lock",
        _locks,
        lambda folder: read_lock(folder / NAME),
        ("extract.backbones.checkpoint.lock",),
    )
]
