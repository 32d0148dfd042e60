"""`benchmarks/lesions.py`: what it asks for can be read, and a pasted lesion lies in the brain."""

import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import ndimage

from aggregate.anomaly.detectors.registry import NewDetector

ROOT = Path(__file__).parents[2]
NAMES = ("lesions", "lesions_cohorts", "lesions_pasted")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import lesions
    import lesions_pasted

    yield SimpleNamespace(lesions=lesions, pasted=lesions_pasted)
    for name in NAMES:
        sys.modules.pop(name, None)


def test_every_detector_of_it_is_one(bench):
    adapter = TypeAdapter(tuple[NewDetector, ...])
    variants = [{**bench.lesions.BASE, **changes} for changes in bench.lesions.VARIANTS.values()]
    names = ("SINGLE", "COMBINATIONS", "TABLE", "DPMM", "AR", "HELD", "PASTED")
    lists = [getattr(bench.lesions, name) for name in names]
    for detectors in (*lists, variants):
        assert len(adapter.validate_python(detectors)) == len(detectors) > 0


@pytest.mark.parametrize("change", ["dark", "texture"])
def test_a_pasted_lesion_lies_in_the_brain_and_changes_nothing_else(bench, tmp_path, change):
    template = bench.pasted.load_template()
    step = 4
    small = template.t1[::step, ::step, ::step] * (template.t1[::step, ::step, ::step] > 0.12)
    affine = template.affine @ np.diag([step, step, step, 1.0])
    brain = nibabel.Nifti1Image((100 * small).astype(np.float32), affine)
    block = np.zeros(template.t1.shape, np.uint8)
    centre = tuple(int(n) for n in template.white[len(template.white) // 2])
    block[tuple(slice(n - 10, n + 10) for n in centre)] = 1
    nibabel.save(nibabel.Nifti1Image(block, template.affine), tmp_path / "shape.nii.gz")
    image, mask = bench.pasted.with_lesion(brain, tmp_path / "shape.nii.gz", template, change, (0, 0))
    before, after = np.asarray(brain.dataobj), np.asarray(image.dataobj)
    inside = np.asarray(mask.dataobj) > 0
    assert inside.sum() > 30
    assert (before[inside] > 0).all()
    far = ndimage.binary_dilation(inside, iterations=2)
    np.testing.assert_array_equal(after[~far], before[~far])
    ratio = after[inside].mean() / before[inside].mean()
    assert 0.5 < ratio < 0.7 if change == "dark" else ratio == pytest.approx(1.0, abs=0.05)
