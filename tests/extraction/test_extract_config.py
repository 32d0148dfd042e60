"""The `extract` section: defaults, overrides, and mistakes named in the user's own words."""

import subprocess
import sys

import pytest

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from extract.planning.config import ExtractSection
from extract.slices.canvas import (
    CropCanvas,
    CropOrPadCanvas,
    FieldCanvas,
    ShorterCanvas,
    StretchCanvas,
)
from extract.slices.preprocessing import AS_THEY_ARE, NormaliseSpec
from extract.sources.bids import BidsInput
from extract.sources.manifest import ManifestInput

BIDS = {"bids": "data"}


def section(**options) -> ExtractSection:
    return validate(ExtractSection, {"input": BIDS, **options}, "extract")


def test_what_is_not_said_has_a_default():
    made = section()
    assert isinstance(made.input, BidsInput)
    assert made.backbone.kind == "dinov2"
    assert made.tokens == ("patch_mean",)
    steps = made.preprocessing.fingerprint_steps()
    assert [step["step"] for step in steps] == ["orient", "foreground", "intensity", "canvas", "normalise"]
    assert steps[3]["field_mm"] == 224.0
    assert made.preprocessing.resize_backend == "matmul-float32"
    assert made.preprocessing.fingerprint_slices() == {"kind": "foreground"}


def test_a_section_is_also_a_manifest_one():
    assert isinstance(section(input={"manifest": "v.csv"}).input, ManifestInput)


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"field_mm": "native"}, "canvas", FieldCanvas(field_mm="native")),
        ({"field_mm": 256, "canvas": 448}, "canvas", FieldCanvas(field_mm=256.0, pixels=448)),
        ({"preset": "dinoatten3d", "canvas": 448}, "canvas", CropCanvas(resize=512, pixels=448)),
        ({"preset": "dinoatten3d", "field_mm": 224}, "canvas", FieldCanvas()),
        ({"canvas": {"kind": "crop"}}, "canvas", CropCanvas()),
        ({"canvas": [224, 168]}, "canvas", FieldCanvas(pixels=(224, 168))),
        ({"canvas": [448, 448]}, "canvas", FieldCanvas(pixels=448)),
        ({"preset": "dpmm", "canvas": 518}, "canvas", ShorterCanvas(resize=518, pixels=518)),
        ({"preset": "anomalydino", "canvas": [532, 448]}, "canvas", ShorterCanvas(pixels=(532, 448))),
        ({"preset": "ar", "canvas": [224, 256]}, "canvas", StretchCanvas(pixels=(224, 256))),
        ({"preset": "mst", "canvas": 256}, "canvas", CropOrPadCanvas(pixels=256)),
        ({"preset": "mst"}, "normalise", AS_THEY_ARE),
        ({"preset": "mst", "normalise": "imagenet"}, "normalise", NormaliseSpec()),
        ({"normalise": "none"}, "normalise", NormaliseSpec(mean=(0, 0, 0), std=(1, 1, 1))),
        ({"normalise": "model"}, "normalise", None),
    ],
)
def test_single_steps_are_overridden(options, field, value):
    assert getattr(section(**options).preprocessing, field) == value


def test_every_parameter_enters_the_fingerprint():
    base = section().preprocessing.fingerprint_steps()
    for options in (
        {"field_mm": 223},
        {"canvas": 448},
        {"intensity": {"kind": "percentile", "low": 1}},
        {"foreground": {"min_area_cm2": 4}},
        {"orient": {"to": "stored"}},
        {"normalise": {"mean": [0.5, 0.5, 0.5]}},
    ):
        assert section(**options).preprocessing.fingerprint_steps() != base
    allowed = section(allow_unknown_orientation=True).preprocessing
    assert allowed.fingerprint_steps() == base


def test_tokens_are_a_set_in_order():
    assert section(tokens=["patches", "patch_mean"]).tokens == ("patch_mean", "patches")
    assert section(layers=[8, 4, 8]).layers == (4, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slice": {"kind": "all"}}, "unknown key extract.slice; did you mean 'slices'"),
        ({"input": {"bids": "x", "manifest": "y"}}, "either `bids: FOLDER` or `manifest: TABLE`"),
        ({"input": {"bids": "x", "sufix": "T1w"}}, "did you mean 'suffix'"),
        ({"preset": "mailbox"}, "extract.preset"),
        ({"slices": {"kind": "every"}}, "step_mm is missing"),
        ({"intensity": {"kind": "percentile", "low": 60, "high": 40}}, "must be smaller than"),
        ({"layers": [0]}, "counted from 1"),
        ({"canvas": 3}, "extract.canvas"),
        ({"canvas": [224, 3]}, "extract.canvas"),
        ({"canvas": [224, 224, 3]}, "extract.canvas"),
        ({"canvas": {"kind": "shorter", "pixels": [462, 532]}}, "shorter side of pixels must be 448"),
        ({"canvas": {"kind": "shorter", "pixels": [448, 500]}}, "the longer a multiple"),
        (
            {"canvas": {"kind": "stretch", "filter": "lanczos"}},
            "is expected, not 'lanczos'",
        ),
        ({"intensity": {"kind": "window", "low": 100, "high": -100}}, "does not increase"),
        ({"intensity": {"kind": "zscore", "low": 60, "high": 40}}, "must be smaller than"),
        ({"normalise": "imagnet"}, "extract.normalise"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        section(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "mst", "field_mm": 224}, "over the canvas needs one of voxels"),
        ({"preset": "dpmm", "canvas": 512}, "must be 504"),
    ],
)
def test_steps_that_do_not_go_together_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        _ = section(**options).preprocessing


def test_decoding_and_planning_never_import_torch():
    code = (
        "import sys, extract.slices.prepare, extract.planning.plan, extract.planning.config;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'zarr', 'transformers', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
