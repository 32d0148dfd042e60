"""DINOv2 from a Hugging Face checkpoint: a local folder, or an id that is fetched once.

Only `config.json` and safetensors files are fetched and read; no code of a repository ever runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.stored_json import read_json
from cache_schema.common.strict import later
from extract.backbones.backbone import NamedBackbone
from extract.backbones.checkpoint.hub import HubSource, snapshot
from extract.backbones.checkpoint.lock import BackboneLock, read_lock, require_locked, unlike
from extract.backbones.checkpoint.whole import incomplete
from extract.backbones.shape import MODEL_TYPES, Outline, Shape, shape_from_config

if TYPE_CHECKING:
    from extract.backbones.transformer import DinoNetwork

Dinov2Size = Literal["small", "base", "large", "giant"]

RELEASES: Mapping[Dinov2Size, Shape] = {
    "small": Shape(layers=12, dim=384, heads=6, hidden=1536),
    "base": Shape(layers=12, dim=768, heads=12, hidden=3072),
    "large": Shape(layers=24, dim=1024, heads=16, hidden=4096),
    "giant": Shape(layers=40, dim=1536, heads=24, hidden=4096, gated=True),
}
"""The releases; with registers they have four."""


class Dinov2Spec(NamedBackbone):
    """The released DINOv2 weights, or a local folder in the same format."""

    kind: Literal["dinov2"] = "dinov2"
    size: Dinov2Size = "small"
    """Which release: ViT-S, B, L or g, patch 14."""
    registers: bool = False
    """The variant with four register tokens."""
    path: Path | None = None
    """A local folder with `config.json` and `*.safetensors`, in place of a download."""
    repository: str | None = None
    """Another Hugging Face id in the same format, e.g. a DINOv2 trained further."""
    revision: str | None = None
    """Commit or tag of the repository; the weights' digest stands in the fingerprint in any case."""
    lock: Path | None = later(None)
    """File that `slicecache backbone fetch` wrote: what is loaded must be what was fetched, and nothing is
    looked for on the network."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None and (self.repository is not None or self.revision is not None):
            raise ValueError("give path, or repository and revision, not both")
        if self.lock is not None and self.revision is not None:
            raise ValueError("give lock, which holds a commit, or revision, not both")
        return self

    @property
    def hub_id(self) -> str:
        """The Hugging Face id that is meant."""
        if self.repository is not None:
            return self.repository
        return f"facebook/dinov2-{'with-registers-' if self.registers else ''}{self.size}"

    def located(self, base: Path) -> Self:
        """With relative `path` and `lock` taken from the pipeline file's folder."""
        given = {name: getattr(self, name) for name in ("path", "lock")}
        return self.model_copy(
            update={name: base / os.path.expanduser(path) for name, path in given.items() if path is not None}
        )

    def outline(self, canvas: int) -> Outline | None:
        """Sizes of a release or a local folder; None for another id, whose config lies on the network.

        Raises:
            ConfigError: If a local folder has no usable config.
        """
        if self.path is not None:
            return read_shape(_local_folder(self.path)).outline(canvas)
        return None if self.repository is not None else RELEASES[self.size].outline(canvas)

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
        return (
            f"the backbone {self.hub_id!r} is not on this machine: {lacks}; fetch it where there is "
            "internet, into a cache or folder that this machine sees: slicecache backbone fetch PIPELINE"
        )

    def hub(self) -> HubSource | None:
        """The repository; None for a local folder."""
        return None if self.path is not None else HubSource(self.hub_id, self.revision)

    @property
    def lock_file(self) -> Path | None:
        """The lock."""
        return self.lock

    def at(self, folder: Path) -> Self:
        """From a folder, without repository and lock."""
        return type(self)(path=folder)

    def source(self) -> str:
        """The folder, or the repository in the cache."""
        return self.hub_id if self.path is None else str(self.path)

    @classmethod
    def listed(cls) -> Mapping[str, tuple[Self, Shape]]:
        """The releases, named as their repositories are."""
        return {
            f"dinov2/{'with-registers-' if registers else ''}{size}": (
                cls(size=size, registers=registers),
                replace(shape, registers=4 if registers else 0),
            )
            for registers in (False, True)
            for size, shape in RELEASES.items()
        }

    @classmethod
    def of_repository(cls, kind: str, source: HubSource) -> Self | None:
        """Another repository in the same format."""
        return cls(repository=source.repository, revision=source.revision) if kind == "dinov2" else None

    @classmethod
    def of_architecture(cls, architecture: Mapping[str, Any]) -> Self | None:
        """The release of these sizes; weights of somebody else's have them too."""
        if architecture.get("kind") != "dinov2":
            return None
        names = ("layers", "dim", "heads", "hidden", "patch_size", "registers", "gated")
        for spec, shape in cls.listed().values():
            if all(getattr(shape, name) == architecture.get(name) for name in names):
                return spec
        return None

    @classmethod
    def examples(cls, folder: Path) -> tuple[Self, ...]:
        """Small checkpoints of every variant, drawn and written below `folder`."""
        return tuple(
            cls(path=write_example(folder / f"{gated}-{registers}", gated, registers))
            for gated in (False, True)
            for registers in (False, True)
        )

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
        """The local folder of the weights, fetched when it is allowed and needed.

        Raises:
            ConfigError: If the folder is absent, or the weights cannot be fetched.
        """
        if self.path is not None:
            return _local_folder(self.path)
        if lock is not None:
            return snapshot(HubSource(lock.repository, lock.revision), offline=True)
        return snapshot(HubSource(self.hub_id, self.revision), offline)

    def load(self, offline: bool = False) -> DinoNetwork:
        """Read a checkpoint, held to its lock where there is one."""
        from extract.backbones.transformer import DinoNetwork
        from extract.backbones.weights import read_weights, select_parameters

        lock = self._read_lock()
        folder = self._folder(lock, offline)
        if lock is not None and self.lock is not None:
            require_locked(folder, lock, self.lock)
        shape, weights = read_shape(folder), read_weights(folder)
        select_parameters(weights, shape.parameters(), called(folder))  # said before anything is placed
        return DinoNetwork("dinov2", shape, weights, called(folder))


def called(folder: Path) -> str:
    """How errors name a checkpoint."""
    return f"the backbone in {str(folder)!r}"


def _local_folder(path: Path) -> Path:
    """A folder that the pipeline names.

    Raises:
        ConfigError: If it is absent.
    """
    if not os.path.isdir(path):
        raise ConfigError(f"extract.backbone.path: there is no folder {str(path)!r}")
    return path


def read_shape(folder: Path) -> Shape:
    """Sizes from the folder's `config.json`.

    Raises:
        ConfigError: If it is absent, no JSON object, or of another model.
    """
    path = folder / "config.json"
    try:
        config = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the backbone folder {str(folder)!r} has no readable config.json") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{str(path)!r} must hold a JSON object")
    return shape_from_config(config, called(folder))


def write_example(folder: Path, gated: bool, registers: bool) -> Path:
    """A checkpoint of three small blocks with drawn weights, in the releases' format."""
    from safetensors.torch import save_file

    from extract.backbones.weights import draw_weights

    config = {
        "model_type": MODEL_TYPES[int(registers)],
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 70,
        "patch_size": 14,
        "use_swiglu_ffn": gated,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(draw_weights(read_shape(folder).parameters(), seed=5), folder / "model.safetensors")
    return folder
