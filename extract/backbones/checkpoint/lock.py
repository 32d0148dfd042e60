"""The lock file of a fetched backbone: a compute node loads what the login node fetched, byte by byte."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from cache_schema.common.errors import ConfigError
from cache_schema.common.machine import machine_said, refuse_machine
from cache_schema.common.stored_json import MEBIBYTE, StoredJsonError, read_object
from cache_schema.common.strict import Strict, refusal

LARGEST_LOCK = MEBIBYTE
MOST_FILES = 1000
NAME = "backbone.lock.json"
"""Of a lock that lies beside its files."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class LockedFile(Strict):
    """One file as it was fetched."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}$")]
    bytes: int = Field(ge=0)
    sha256: Sha256


class BackboneLock(Strict):
    """What was fetched, and from where."""

    format: Literal["slicecache-backbone-lock"] = "slicecache-backbone-lock"
    version: Literal[1] = 1
    kind: str
    """Of the backbone, e.g. `dinov2`."""
    repository: str
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
    """The commit."""
    weights_sha256: Sha256
    """As it stands in a store's fingerprint."""
    files: Annotated[tuple[LockedFile, ...], Field(min_length=1, max_length=MOST_FILES)]


def read_lock(path: Path) -> BackboneLock:
    """Read a lock file.

    Raises:
        ConfigError: If it is absent, or no lock.
        MachineError: If it cannot be read.
    """
    where = f"the lock {str(path)!r}"
    try:
        with path.open("rb") as stream:
            data = read_object(stream.read(LARGEST_LOCK + 1), LARGEST_LOCK)
        return BackboneLock.model_validate(data)
    except StoredJsonError as error:
        raise ConfigError(f"{where} cannot be used: {error}") from None
    except ValidationError as error:
        raise ConfigError(refusal(error, where)) from None
    except OSError as error:
        refuse_machine(error, "read", path)
        raise ConfigError(
            f"{where} cannot be read: {error.strerror}; `slicecache backbone fetch` writes one"
        ) from error


def require_locked(folder: Path, lock: BackboneLock, path: Path) -> None:
    """Hold a checkpoint folder to its lock, reading all of its files.

    Args:
        folder: Where the files lie.
        lock: What they must be.
        path: Of the lock, for the sentence.

    Raises:
        ConfigError: Naming the file, what it is and what the lock says.
    """
    changed = unlike(folder, lock) or next(
        filter(None, (_other_bytes(folder, file) for file in lock.files)), None
    )
    if changed is not None:
        raise ConfigError(
            f"the backbone is not what was fetched: {changed}, as the lock {str(path)!r} says; "
            "fetch it again, or give the lock of these files"
        )


def unlike(folder: Path, lock: BackboneLock) -> str | None:
    """What of a folder differs from its lock, without reading a byte of the files; None when nothing does."""
    names = {file.name for file in lock.files}
    for file in lock.files:
        path = folder / file.name
        if not path.is_file():
            return f"there is no {str(path)!r}, which should be there"
        size = path.stat().st_size
        if size != file.bytes:
            return f"{str(path)!r} has {size} bytes, not {file.bytes}"
    more = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in names)
    return f"{str(folder / more[0])!r} is there, which should not be" if more else None


def _other_bytes(folder: Path, file: LockedFile) -> str | None:
    """A file's digest beside the lock's, where they differ."""
    found = file_sha256(folder / file.name)
    return (
        None if found == file.sha256 else f"{str(folder / file.name)!r} has sha256 {found}, not {file.sha256}"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with machine_said("read", path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
