"""What a store says it was made with, built again from its header: steps, backbone, input."""

import os
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import torch

from cache_schema.common.errors import ConfigError, StoreMismatch
from cache_schema.common.pipeline_file import validate
from cache_schema.common.strict import Strict
from cache_schema.format.header import Header, Numerics, require_equal
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import patch_layers
from extract.arithmetic.arithmetic import REFERENCE, arithmetic_of, place_by, require_engine
from extract.backbones.backbone import Backbone
from extract.backbones.dinov2 import Dinov2Spec
from extract.backbones.published import PublishedBackbone
from extract.backbones.registry import BackboneSpec
from extract.engines.embed import CPU_BLOCK
from extract.slices.preprocessing import STEPS, Preprocessing, StepOverrides
from extract.slices.sides import Canvas
from extract.sources.bids import BidsInput
from extract.sources.candidate import Candidate
from extract.sources.files import FilesInput
from extract.sources.find import VolumeInput, find_volumes

ELSEWHERE = "give the images with --input FOLDER, or the pipeline with --pipeline FILE"


def preprocessing_of_header(header: Header, allow_unknown_orientation: bool) -> Preprocessing:
    """The steps that the fingerprint names.

    Raises:
        ConfigError: If this version knows no such steps.
    """
    named = {step["step"]: {k: v for k, v in step.items() if k != "step"} for step in _steps(header)}
    given = validate(StepOverrides, {**named, "slices": header.fingerprint.slices}, "header.preprocessing")
    parts: dict[str, Any] = {
        step: part for step in (*STEPS, "slices") if isinstance(part := getattr(given, step), Strict)
    }
    required = {step.name for step in fields(Preprocessing) if step.default is MISSING}
    if not required <= parts.keys():
        raise ConfigError("the store's header lacks a preprocessing step that this version needs")
    made = Preprocessing(
        **parts, allow_unknown_orientation=allow_unknown_orientation, plane=header.fingerprint.plane
    )
    if made.fingerprint_steps() != _steps(header):
        raise ConfigError(
            "the store's header names preprocessing steps that this version does not know; "
            "use the slicecache version that made it (`slicecache cache inspect` says which)"
        )
    return made


def _steps(header: Header) -> tuple[dict[str, object], ...]:
    return header.fingerprint.preprocessing


def backbone_of_header(
    header: Header,
    numerics: Numerics,
    spec: BackboneSpec,
    pixels: Canvas,
    device: torch.device,
    offline: bool,
) -> Backbone:
    """Build the backbone and make sure that it is the store's.

    Args:
        header: Says which backbone it must be.
        numerics: Say engine and compute dtype.
        spec: Says where it comes from.
        pixels: Side of the canvas, or its rows and columns.
        device: Where it runs.
        offline: Take the weights from the local cache of Hugging Face only.

    Raises:
        StoreMismatch: If it is another one, naming both weights' digests.
        ConfigError: If it cannot be had.
    """
    arithmetic = arithmetic_of(numerics) or REFERENCE
    require_engine(arithmetic, device)

    def in_torch(dtype: torch.dtype) -> Backbone:
        return spec.build(
            pixels,
            device,
            dtype,
            layers=header.fingerprint.backbone.layers,
            attention=any(array.name == "cls_attention" for array in header.arrays),
            patch_layers=patch_layers(array.name for array in header.arrays),
            offline=offline,
        )

    backbone = place_by(arithmetic, in_torch, pixels, CPU_BLOCK)
    wanted, found = header.fingerprint.backbone.weights_sha256, backbone.identity.weights_sha256
    if wanted != found:
        raise StoreMismatch(
            f"this is not the backbone of the store: its weights_sha256 is {found} and the store's {wanted}; "
            "give the checkpoint with --backbone FOLDER"
        )
    require_equal(
        backbone.identity, header.fingerprint.backbone, "this is not the backbone of the store",
        "give the checkpoint with --backbone FOLDER",
    )  # fmt: skip
    return backbone


def from_folder(recorded: BackboneSpec, folder: Path) -> BackboneSpec:
    """The recorded kind of backbone with the checkpoint of a folder; DINOv2 where it was none."""
    return recorded.at(folder) if isinstance(recorded, PublishedBackbone) else Dinov2Spec(path=folder)


def find_again(spec: VolumeInput, base: Path, root: Path | None) -> dict[VolumeKey, Candidate]:
    """The input's volumes by key.

    Args:
        spec: Says where they were.
        base: Folder that relative paths start from.
        root: Where they are now: the BIDS folder, the manifest, or the folder that holds it.

    Raises:
        ConfigError: If the input is not there, with how to say where it is.
    """
    if root is not None:
        root = Path(os.path.abspath(os.path.expanduser(root)))
        if isinstance(spec, BidsInput):
            spec = spec.model_copy(update={"bids": root})
        elif isinstance(spec, FilesInput):
            spec = FilesInput(files=tuple(str(root / os.path.basename(name)) for name in spec.files))
        else:
            table = root / spec.manifest.name if root.is_dir() else root
            spec = spec.model_copy(update={"manifest": table})
    try:
        candidates: Sequence[Candidate] = find_volumes(spec, base)[0]
    except ConfigError as error:
        raise ConfigError(f"{error}; {ELSEWHERE}") from error
    return {candidate.key: candidate for candidate in candidates}
