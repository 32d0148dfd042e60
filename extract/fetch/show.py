"""`slicecache backbone show`: what a checkpoint on this machine is, by its JSON and its weights' headers.

No code of a repository runs, and nothing is asked of the network.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema.common.errors import ConfigError
from extract.backbones.backbone import NamedBackbone
from extract.backbones.checkpoint.hub import HubSource
from extract.backbones.checkpoint.whole import incomplete
from extract.backbones.dinov2 import Dinov2Spec, read_shape
from extract.backbones.huggingface.dinov3 import Dinov3Spec
from extract.backbones.huggingface.layout import layout_of, vision_config
from extract.backbones.huggingface.spec import HuggingFaceSpec, TransformersBackbone
from extract.backbones.processor import Processor, read_processor
from extract.backbones.published import PublishedBackbone, called, read_config
from extract.backbones.shape import MODEL_TYPES
from extract.fetch.names import wanted_one

UNKNOWN = "unknown"
Said = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be said of a backbone; a text where something is not known says why."""

    kind: str
    source: str
    folder: str | None
    model_type: str
    sizes: Said
    tokens: Said
    processor: Said | None
    weights: Said | None
    digest: str | None
    """As it stands in a fingerprint; None where nobody asked."""
    licence: str
    gated: bool
    pipeline: str
    """What a pipeline says to use it."""

    def as_json(self) -> Said:
        """The whole as JSON data."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def show(name: str, with_digest: bool = True) -> Shown:
    """Look at a checkpoint.

    Args:
        name: A folder, a listed name, a repository in the local cache, or a pipeline file.
        with_digest: Read all weights for their digest.

    Raises:
        ConfigError: If there is no such backbone here, naming the command that fetches it.
    """
    spec = spec_of(name)
    if not isinstance(spec, PublishedBackbone):
        return _drawn(spec, with_digest)
    if (lacks := spec.missing()) is not None:
        raise ConfigError(lacks)
    folder = spec.folder(offline=True)
    sizes, tokens = _described(spec, folder)
    processor = read_processor(folder)
    return Shown(
        kind=_kind(spec),
        source=spec.source(),
        folder=str(folder),
        model_type=str(vision_config(read_config(folder), called(folder)).get("model_type")),
        sizes=sizes,
        tokens=tokens,
        processor=None if processor is None else _stated(processor),
        weights=weights_of(folder),
        digest=_digest(spec) if with_digest else None,
        licence=spec.licence,
        gated=spec.gated,
        pipeline=_pipeline(spec),
    )


def spec_of(name: str) -> NamedBackbone:
    """The backbone that is meant, of the kind that its checkpoint is read by.

    Raises:
        ConfigError: If there is none.
    """
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if path.is_dir():
        if (lacks := incomplete(path)) is not None:
            raise ConfigError(f"this is no checkpoint that can be read: {lacks}")
        return _by_model_type(path)(path=path)
    repository, _, revision = name.partition("@")
    if repository.count("/") != 1 or path.exists() or repository.split("/")[0] in LISTED:
        return wanted_one(name)
    source = HubSource(repository, revision or None)
    spec = HuggingFaceSpec(repository=source.repository, revision=source.revision)
    if (lacks := spec.missing()) is not None:
        raise ConfigError(lacks)
    found = _by_model_type(spec.folder(offline=True))
    return found(repository=source.repository, revision=source.revision)


LISTED = ("dinov2", "dinov3", "untrained")
"""What stands before the slash in a listed name."""


def _by_model_type(folder: Path) -> type[Dinov2Spec] | type[Dinov3Spec] | type[HuggingFaceSpec]:
    """The kind that reads a checkpoint."""
    kind = read_config(folder).get("model_type")
    if kind in MODEL_TYPES:
        return Dinov2Spec
    return Dinov3Spec if str(kind).startswith("dinov3") else HuggingFaceSpec


def _described(spec: PublishedBackbone, folder: Path) -> tuple[Said, Said]:
    """Sizes of the network, and its tokens in their order."""
    if isinstance(spec, Dinov2Spec):
        shape = read_shape(folder)
        sizes = {"blocks": shape.layers, "dim": shape.dim, "heads": shape.heads, "patch": shape.patch_size}
        table = f"a table of {shape.table_side} x {shape.table_side}, resampled as DINOv2 does"
        return sizes, _tokens(True, shape.registers, shape.offers, table)
    declared = spec.layout if isinstance(spec, TransformersBackbone) else None
    try:
        layout = layout_of(read_config(folder), declared, called(folder))
    except ConfigError as error:
        return {}, {"unknown": str(error)}
    sizes = {
        "blocks": layout.layers, "dim": layout.dim, "heads": layout.heads, "patch": layout.patch_size,
    }  # fmt: skip
    side = layout.table_side
    rule = layout.family.positions
    table = f"a table of {side} x {side}, {rule}" if rule.startswith("transformers-") else rule
    return sizes, _tokens(layout.family.cls, layout.registers, layout.offers, table)


def _tokens(cls: bool, registers: int, offers: frozenset[str], positions: str) -> Said:
    return {"cls": cls, "registers": registers, "offers": sorted(offers), "positions": positions}


def _stated(processor: Processor) -> Said:
    """What a checkpoint's processor says."""
    return {
        "size": None if processor.size is None else list(processor.size),
        "mean": list(processor.mean),
        "std": list(processor.std),
        "interpolation": processor.interpolation,
        "canvas": None if processor.canvas is None else dict(processor.canvas),
    }


def weights_of(folder: Path) -> Said:
    """Files, tensors and numbers, by the headers of the safetensors files.

    Raises:
        ConfigError: If one cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    files, tensors, numbers, dtypes = [], 0, 0, set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    part = opened.get_slice(name)
                    tensors += 1
                    dtypes.add(str(part.get_dtype()))
                    count = 1
                    for length in part.get_shape():
                        count *= length
                    numbers += count
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"cannot read the weights {str(path)!r}: {error}") from error
        files.append({"name": path.name, "bytes": path.stat().st_size})
    return {"files": files, "tensors": tensors, "parameters": numbers, "dtypes": sorted(dtypes)}


def _digest(spec: NamedBackbone) -> str:
    """Of the weights as they are loaded, or why there is none."""
    try:
        from extract.backbones.weights import weights_digest

        return weights_digest(spec.load(offline=True).weights)
    except ModuleNotFoundError as error:
        return f"{UNKNOWN}: it needs {error.name}, pip install 'slicecache[extract]'"
    except ConfigError as error:
        return f"{UNKNOWN}: {error}"


def _drawn(spec: NamedBackbone, with_digest: bool) -> Shown:
    """A backbone that has no checkpoint."""
    outline = spec.outline(224)
    if outline is None:
        raise ConfigError(f"{spec.source()}: only what it loads could be shown, and that would run its code")
    shape: Any = getattr(spec, "shape", None)
    sizes = {"blocks": shape.layers, "dim": shape.dim, "heads": shape.heads, "patch": shape.patch_size}
    table = f"a table of {shape.table_side} x {shape.table_side}, resampled as DINOv2 does"
    return Shown(
        kind=_kind(spec),
        source=spec.source(),
        folder=None,
        model_type="dinov2",
        sizes=sizes,
        tokens=_tokens(True, shape.registers, outline.offers, table),
        processor=None,
        weights=None,
        digest=_digest(spec) if with_digest else None,
        licence=spec.licence,
        gated=False,
        pipeline=_pipeline(spec),
    )


def _kind(spec: NamedBackbone) -> str:
    return str(getattr(spec, "kind", ""))


def _pipeline(spec: NamedBackbone) -> str:
    """The backbone as a pipeline file names it, without what goes without saying."""
    said = {"kind": _kind(spec), **spec.model_dump(mode="json", exclude_defaults=True)}
    return f"backbone: {{{', '.join(f'{name}: {value}' for name, value in said.items())}}}"
