"""Fetching a backbone whole or not at all, and writing down what was fetched."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import refusal
from cache_schema.files.disk.room import require_target
from cache_schema.files.disk.whole import appears_whole, write_whole
from extract.backbones.backbone import NamedBackbone
from extract.backbones.checkpoint.hub import HubSource
from extract.backbones.checkpoint.lock import (
    NAME,
    BackboneLock,
    LockedFile,
    file_sha256,
    read_lock,
    require_locked,
)
from extract.fetch.hub import Offer, download, offered


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is on this machine now."""

    folder: Path
    lock_file: Path
    lock: BackboneLock
    new: bool
    """Whether anything was asked of the hub."""

    def as_json(self) -> dict[str, Any]:
        """What was fetched, as one JSON object."""
        return {
            "folder": str(self.folder),
            "lock_file": str(self.lock_file),
            "fetched": self.new,
            **self.lock.model_dump(mode="json"),
        }


def fetch(spec: NamedBackbone, lock_file: Path, folder: Path | None) -> Fetched | None:
    """Get a backbone's weights into the hub's cache or a folder, and write its lock.

    Args:
        spec: Which; a lock of its own that is there says the commit, and what must come.
        lock_file: Where the lock goes; beside the files when there is a folder.
        folder: Where the files go; it appears whole.

    Returns:
        None when this backbone fetches nothing.

    Raises:
        ConfigError: If it cannot be had, or is not what the lock says.
        MachineError: If network or disk failed; nothing half-written is left under the names.
    """
    source = spec.hub()
    if source is None:
        return None
    if spec.lock_file is not None and spec.lock_file.is_file():
        held = read_lock(spec.lock_file)
        source = HubSource(held.repository, held.revision)
    else:
        held = None
    if folder is not None:
        return _into_folder(spec, source, folder, held)
    require_target(lock_file, "the lock")
    offer = offered(source)
    place = download(source, None)
    # A branch that moved in between is what came, not what was announced.
    commit = place.name if place.parent.name == "snapshots" else offer.commit
    lock = _held_to(held, spec, HubSource(source.repository, commit), offer, place)
    write_whole(lock_file, _json(lock))
    return Fetched(place, lock_file, lock, new=True)


def _into_folder(spec: NamedBackbone, source: HubSource, folder: Path, held: BackboneLock | None) -> Fetched:
    """A folder that has everything, its lock too; one that has it already is only looked at."""
    if (folder / NAME).is_file():
        lock = read_lock(folder / NAME)
        if lock.repository != source.repository or (held is not None and held != lock):
            raise ConfigError(
                f"{str(folder)!r} holds {lock.repository!r} at {lock.revision}, and {source.repository!r}"
                f"{f' at {source.revision}' if source.revision else ''} is asked for: name another folder"
            )
        require_locked(folder, lock, folder / NAME)
        return Fetched(folder, folder / NAME, lock, new=False)
    offer = offered(source)
    at = HubSource(source.repository, offer.commit)
    with appears_whole(folder) as unfinished:
        download(at, unfinished)
        shutil.rmtree(unfinished / ".cache", ignore_errors=True)  # the hub's own notes on this download
        lock = _held_to(held, spec, at, offer, unfinished)
        (unfinished / NAME).write_bytes(_json(lock))
    return Fetched(folder, folder / NAME, lock, new=True)


def _held_to(
    held: BackboneLock | None, spec: NamedBackbone, source: HubSource, offer: Offer, folder: Path
) -> BackboneLock:
    """The lock of what came, once that is what the hub announced, and an earlier lock says."""
    if held is not None and spec.lock_file is not None:
        require_locked(folder, held, spec.lock_file)
        return held
    return make_lock(spec, source, offer, folder)


def make_lock(spec: NamedBackbone, source: HubSource, offer: Offer, folder: Path) -> BackboneLock:
    """Read what was fetched, as an extraction would, and write it down.

    Raises:
        ConfigError: If it is no checkpoint of this kind, or not what the hub announced.
    """
    from extract.backbones.weights import weights_digest

    files = []
    for name, announced in sorted(offer.sha256.items()):
        found = file_sha256(folder / name)
        if announced is not None and found != announced:
            raise ConfigError(
                f"{name!r} of {source.repository!r} came with sha256 {found}, and the hub says {announced}: "
                "delete it and fetch again"
            )
        files.append({"name": name, "bytes": (folder / name).stat().st_size, "sha256": found})
    digest = weights_digest(spec.at(folder).load(offline=True).weights)
    try:
        return BackboneLock(
            kind=str(getattr(spec, "kind", "")),
            repository=source.repository,
            revision=source.revision or "",
            weights_sha256=digest,
            files=tuple(LockedFile.model_validate(file) for file in files),
        )
    except ValidationError as error:
        raise ConfigError(refusal(error, f"what the hub says of {source.repository!r}")) from None


def _json(lock: BackboneLock) -> bytes:
    """The lock as it is stored."""
    return f"{lock.model_dump_json(indent=2)}\n".encode()
