"""From images through the store to logits, against backbone and head applied to the images in one pass."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from aggregate.bags.bags import Bags, read_bags
from aggregate.heads.attention import AttentionSpec
from aggregate.training.stacked import apply_head
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store
from extract.cli import read_extract_section
from extract.extraction import run_extraction
from extract.planning.plan import plan_extraction
from extract.slices.prepare import prepare_volume

pytestmark = pytest.mark.numerics

CANVAS = 56


def written(folder: Path) -> Path:
    """Two participants of different size, and a pipeline that keeps float32 all the way."""
    for index, shape in enumerate([(31, 37, 23), (29, 41, 19)]):
        anat = folder / "bids" / f"sub-{index}" / "anat"
        anat.mkdir(parents=True)
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        noise = np.random.default_rng(index).uniform(50, 200, shape)
        values = ((grid**2).sum(axis=0) < 0.6) * noise
        nib.save(
            nib.Nifti1Image(values.astype(np.float32), np.diag([5, 5, 5, 1])),
            anat / f"sub-{index}_T1w.nii.gz",
        )
    section = {
        "input": {"bids": "bids", "suffix": "T1w"},
        "canvas": CANVAS,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "dtype": "float32",
        "storage": "float32",
        "workers": 0,
    }
    file = folder / "pipeline.yaml"
    file.write_text(
        yaml.safe_dump({"run": {"folder": "run"}, "cache": {"store": "c.zarr"}, "extract": section})
    )
    return file


def test_the_cached_path_gives_the_logits_of_one_pass(tmp_path: Path) -> None:
    pipeline = load_pipeline(written(tmp_path))
    section = read_extract_section(pipeline)
    run_extraction(pipeline, section, progress=False)
    store = open_store(pipeline.store())
    bags = read_bags(store, store.entries, "cls")
    head = AttentionSpec(hidden=7, embedding=(5,), centre=False).build(bags.x.shape[2], 3)
    state = {name: value[0] for name, value in head.init([4]).items()}
    cached = apply_head(head, [state], bags).logits[0]

    backbone = section.backbone.build(CANVAS, torch.device("cpu"), torch.float32)
    preprocessing = section.preprocessing
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    for row, planned in enumerate(plan_extraction(section.input, pipeline.base, preprocessing).volumes):
        prepared = prepare_volume(planned.candidate, preprocessing)
        rows, columns = torch.tensor(prepared.row_weights), torch.tensor(prepared.column_weights)
        # One slice after the other, written out: resample, normalise, embed, then the head on all of them.
        tokens = []
        for image in torch.tensor(prepared.images):
            canvas = rows @ image @ columns.T
            pixels = (canvas.expand(3, -1, -1) - mean) / std
            tokens.append(backbone(pixels[None]).cls["cls"][0])
        x = torch.stack(tokens)[None]
        keep = torch.ones(1, len(tokens), dtype=torch.bool)
        direct = apply_head(head, [state], Bags(x, keep, torch.zeros(1, len(tokens)))).logits[0, 0]
        torch.testing.assert_close(cached[row], direct, rtol=0, atol=1e-6)
