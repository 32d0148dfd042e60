"""A backbone whose weights somebody published: a repository that is fetched once, or a local folder.

Only JSON and safetensors files are fetched and read; no code of a repository ever runs.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.stored_json import read_json
from cache_schema.common.strict import later
from extract.backbones.backbone import NamedBackbone
from extract.backbones.checkpoint.hub import HubSource, admission, snapshot
from extract.backbones.checkpoint.lock import BackboneLock, read_lock, require_locked, unlike
from extract.backbones.checkpoint.whole import incomplete
from extract.backbones.processor import Processor, read_processor


class PublishedBackbone(NamedBackbone):
    """Where a checkpoint lies, and how it is held to its lock; which network it is, the kinds say."""

    path: Path | None = None
    """A local folder with `config.json` and `*.safetensors`, in place of a download, e.g.
    `weights/dinov2-small`."""
    repository: str | None = None
    """A Hugging Face id, as of a network that was trained further, e.g. `microsoft/rad-dino`."""
    revision: str | None = None
    """Commit or tag of the repository; the weights' digest stands in the fingerprint in any case, e.g.
    `main`."""
    lock: Path | None = later(None)
    """File that `slicecache backbone fetch` wrote: what is loaded must be what was fetched, and nothing is
    looked for on the network, e.g. `adni.lock.json`."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None and (self.repository is not None or self.revision is not None):
            raise ValueError("give path, or repository and revision, not both")
        if self.lock is not None and self.revision is not None:
            raise ValueError("give lock, which holds a commit, or revision, not both")
        return self

    @property
    @abstractmethod
    def hub_id(self) -> str:
        """The Hugging Face id that is meant."""

    def located(self, base: Path) -> Self:
        """With relative `path` and `lock` taken from the pipeline file's folder."""
        given = {name: getattr(self, name) for name in ("path", "lock")}
        return self.model_copy(
            update={name: base / os.path.expanduser(path) for name, path in given.items() if path is not None}
        )

    def missing(self) -> str | None:
        """Why there are no weights on this machine, or not those of the lock, and how they get here."""
        try:
            lock = self._read_lock()
        except ConfigError as error:
            return str(error)
        try:
            folder = self._folder(lock, offline=True)
        except ConfigError as error:
            return str(error) if self.path is not None else self._absent("it is not in the local cache")
        lacks = incomplete(folder) or (None if lock is None else unlike(folder, lock))
        if lacks is None:
            return None
        return self._absent(lacks) if self.path is None else f"extract.backbone.path: {lacks}"

    def _absent(self, lacks: str) -> str:
        first = f"; {admission(self.hub_id)}, then fetch them" if self.gated else "; fetch it"
        return (
            f"the backbone {self.hub_id!r} is not on this machine: {lacks}{first} where there is "
            "internet, into a cache or folder that this machine sees: slicecache backbone fetch "
            f"{'PIPELINE' if self.lock is not None else self.named}"
        )

    @property
    def named(self) -> str:
        """What `backbone fetch` calls it."""
        name = next((name for name, (spec, _) in self.listed().items() if spec == self), None)
        revision = f"@{self.revision}" if self.revision else ""
        return name or f"{getattr(self, 'kind', '')}/{self.hub_id}{revision}"

    def hub(self) -> HubSource | None:
        """The repository; None for a local folder."""
        return None if self.path is not None else HubSource(self.hub_id, self.revision)

    @property
    def lock_file(self) -> Path | None:
        """The lock."""
        return self.lock

    def source(self) -> str:
        """The folder, or the repository in the cache."""
        return self.hub_id if self.path is None else str(self.path)

    def processor(self, offline: bool = True) -> Processor | None:
        """What its checkpoint states of its pixels; `load` holds it to its lock."""
        return read_processor(self._folder(self._read_lock(), offline))

    def folder(self, offline: bool) -> Path:
        """The local folder of the checkpoint, fetched when that is allowed and needed, held to its lock.

        Raises:
            ConfigError: If it is absent, cannot be fetched, or is not what the lock says.
        """
        lock = self._read_lock()
        folder = self._folder(lock, offline)
        if lock is not None and self.lock is not None:
            require_locked(folder, lock, self.lock)
        return folder

    def _read_lock(self) -> BackboneLock | None:
        """What the lock says; None without one.

        Raises:
            ConfigError: If it is another repository's.
        """
        lock = None if self.lock is None else read_lock(self.lock)
        if lock is not None and self.path is None and lock.repository != self.hub_id:
            raise ConfigError(
                f"the lock {str(self.lock)!r} is of the backbone {lock.repository!r}, and the pipeline's is "
                f"{self.hub_id!r}: correct the one that is not meant"
            )
        return lock

    def _folder(self, lock: BackboneLock | None, offline: bool) -> Path:
        """Where the files lie.

        Raises:
            ConfigError: If the folder is absent, or the weights cannot be fetched.
        """
        if self.path is not None:
            return local_folder(self.path)
        if lock is not None:
            return snapshot(HubSource(lock.repository, lock.revision, self.gated), offline=True)
        return snapshot(HubSource(self.hub_id, self.revision, self.gated), offline)


def called(folder: Path) -> str:
    """How errors name a checkpoint."""
    return f"the backbone in {str(folder)!r}"


def local_folder(path: Path) -> Path:
    """A folder that the pipeline names.

    Raises:
        ConfigError: If it is absent.
    """
    if not os.path.isdir(path):
        raise ConfigError(f"extract.backbone.path: there is no folder {str(path)!r}")
    return path


def read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's `config.json`.

    Raises:
        ConfigError: If it is absent, or no JSON object.
    """
    path = folder / "config.json"
    try:
        config = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the backbone folder {str(folder)!r} has no readable config.json") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{str(path)!r} must hold a JSON object")
    return config
