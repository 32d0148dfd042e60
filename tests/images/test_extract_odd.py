"""Every odd file that people have, in one manifest with three good volumes, through the command."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cache_schema.store.reader import open_store

ROOT = Path(__file__).parents[2]

BAD = {
    "complex.nii.gz": "complex voxels",
    "ct_perfusion.nii.gz": "colour voxels",
    "example4d.nii.gz": "4D with 2 volumes",
    "example_nifti2.nii.gz": "4D with 2 volumes",
    "functional.nii": "4D with 20 volumes",
    "lfs_pointer_CC200.nii.gz": "git-LFS pointer",
    "low_res.nii.gz": "cm2 of foreground",
    "minimal.nii.gz": "state it in the manifest's orientation column",
    "nifti1.hdr": "no 'nifti1.img' beside it",
    "niworkflows_bold.nii.gz": "the file is empty",
    "niworkflows_boldref.nii": "a header without its voxels",
    "niworkflows_sub-pixar008_desc-preproc_T1w.nii.gz": "a header without its voxels",
    "standard.nii.gz": "cm2 of foreground",
    "cut.nii.gz": "cut short or damaged",
    "IM0001": "DICOM: convert it with dcm2niix",
}
USABLE = {"anatomical.nii", "ras.hdr", "ras.img", "resampled_anat_moved.nii", "shear.nii.gz"}
"""Odd, but volumes all the same."""


@pytest.fixture
def folder(shared_data, tmp_path) -> Path:
    good = sorted((shared_data / "ds002748-2mm").glob("sub-*/anat/*_T1w.nii.gz"))[:3]
    odd = sorted((shared_data / "odd").iterdir())
    (tmp_path / "cut.nii.gz").write_bytes(good[0].read_bytes()[:40_000])
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 500)
    files = [*odd, tmp_path / "cut.nii.gz", tmp_path / "IM0001"]
    rows = [f"good{index}\t{path}" for index, path in enumerate(good)]
    rows += [f"{path.name}\t{path}" for path in files]
    (tmp_path / "volumes.tsv").write_text("\n".join(["participant_id\tpath", *rows]) + "\n")
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {
            "input": {"manifest": "volumes.tsv"},
            "canvas": 56,
            "backbone": {"kind": "untrained", "size": "tiny"},
            "workers": 1,
        },
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def test_the_good_are_cached_and_each_bad_one_has_its_sentence(folder):
    command = [sys.executable, "-m", "slicecache", "extract", str(folder / "pipeline.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "Warning" not in said
    assert str(folder / "run" / "failures.tsv") in done.stdout
    with (folder / "run" / "failures.tsv").open(newline="") as stream:
        reasons = {row["participant_id"]: row["reason"] for row in csv.DictReader(stream, delimiter="\t")}
    assert reasons.keys() == BAD.keys()
    for name, part in BAD.items():
        assert part in reasons[name], name
        assert "unexpected" not in reasons[name], name
    committed = {entry.key.participant_id for entry in open_store(folder / "run" / "cache.zarr").entries}
    assert committed == {"good0", "good1", "good2", *USABLE}
