"""The `extract` section that makes a store which somebody wants, from what a fingerprint says of it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from cache_schema.format.header import Fingerprint
from cache_schema.format.layout import INNER_PATCHES, TOKENS
from cache_schema.store.wanted import WantedStore
from extract.backbones.registry import KINDS, BackboneSpec
from extract.planning.config import EmbeddingOptions
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import PRESETS, PresetName, preprocessing_of

GIVE_IT = "give the checkpoint with --backbone FOLDER"


def section_like(wanted: WantedStore, checkpoint: Path | None = None) -> dict[str, Any]:
    """All keys of the section but `input`, as a pipeline file would have them.

    Args:
        wanted: What must come of it.
        checkpoint: Folder of the weights, where they are not where they were.

    Raises:
        ConfigError: If this version knows no such preprocessing, or the weights are not on this machine.
    """
    backbone = backbone_like(wanted, checkpoint)
    if (lacks := backbone.missing()) is not None:
        raise ConfigError(f"{lacks}; or {GIVE_IT}")
    preset, steps = _steps_like(wanted.fingerprint)
    return {
        "preset": preset,
        "plane": wanted.fingerprint.plane,
        **steps,
        "backbone": backbone.model_dump(mode="json"),
        "tokens": [name for name in wanted.arrays if is_token(name)] or ["patch_mean"],
        "layers": list(wanted.fingerprint.backbone.layers),
        "storage": wanted.numerics.storage_dtype,
        "allow_unknown_orientation": wanted.making.get("allow_unknown_orientation") is True,
        "offline": True,
    }


def backbone_like(wanted: WantedStore, checkpoint: Path | None) -> BackboneSpec:
    """Where the weights are: in the folder that is given, where they were, or what the architecture implies.

    Raises:
        ConfigError: If nobody says it, or there are no weights to be given.
    """
    noted, architecture = wanted.making.get("backbone"), wanted.fingerprint.backbone.architecture
    spec: BackboneSpec | None
    if noted:
        found = validate(EmbeddingOptions, {"backbone": noted}, "what the bundle says of its making")
        spec = found.backbone.located(Path(str(wanted.making.get("folder") or Path.cwd())))
    else:
        told = (kind.of_architecture(architecture) for kind in get_args(KINDS))
        spec = next((each for each in told if each is not None), None)
    kind = architecture.get("kind")
    if spec is None:
        raise ConfigError(
            f"the bundle does not say where its backbone (of kind {kind!r}) came from: embed the images by a "
            "pipeline that names it, and give the store"
        )
    if checkpoint is None:
        return spec
    moved = spec.at(Path(os.path.abspath(os.path.expanduser(checkpoint))))
    if moved == spec:
        raise ConfigError(f"--backbone: a backbone of kind {kind!r} reads no checkpoint; leave it out")
    return moved


def is_token(array: str) -> bool:
    """Whether an array is asked for by its name; others come with it, or by the layers."""
    return array in TOKENS or INNER_PATCHES.fullmatch(array) is not None


def _steps_like(fingerprint: Fingerprint) -> tuple[PresetName, dict[str, Any]]:
    """A preset and its overrides that come to the fingerprint's steps.

    Raises:
        ConfigError: If none does.
    """
    steps: dict[str, Any] = {
        str(step.get("step")): {name: value for name, value in step.items() if name != "step"}
        for step in fingerprint.preprocessing
    }
    steps |= {"slices": dict(fingerprint.slices), "plane": fingerprint.plane}
    if steps.keys() <= StepOverrides.model_fields.keys():
        given = validate(StepOverrides, steps, "the fingerprint")
        for preset in PRESETS:
            made = preprocessing_of(preset, given)
            if made.plane == fingerprint.plane and _same(made.fingerprint_steps(), fingerprint.preprocessing):
                return preset, steps
    raise ConfigError(
        "the bundle reads embeddings whose preprocessing this version of slicecache does not know: use the "
        "version that made them"
    )


def _same(ours: tuple[Mapping[str, Any], ...], theirs: tuple[Mapping[str, Any], ...]) -> bool:
    return [dict(step) for step in ours] == [dict(step) for step in theirs]
