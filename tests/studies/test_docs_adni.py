"""The page on ADNI runs as it stands, on made-up tables and images of that form."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_inputs import AFFINE, voxels

import slicecache as sc
from cache_schema.store.reader import open_store

PAGE = (Path(__file__).parents[2] / "docs" / "adni.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"```(?:python|yaml)\n# ([^\n]+)\n(.*?)```", PAGE, re.DOTALL))
SMALL = {
    "extract": {"canvas": 28, "backbone": {"kind": "untrained", "size": "tiny"}, "workers": 0},
    "aggregate": {"train": {"epochs": 2}, "folds": {"n": 2}},
}
N = 12
IMAGES = "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,Downloaded"
VISITS = "RID,COLPROT,PTID,SITE,VISCODE,EXAMDATE,DX_bl,AGE,PTGENDER,DX"


def ptid(rid: int) -> str:
    return f"{11 + rid % 3:03d}_S_{rid:04d}"


def tables(folder: Path) -> None:
    """Screening scans of all, a later scan of some; visits with and without a diagnosis."""
    images, visits = [], []
    for rid in range(1, N + 1):
        group = ("CN", "Dementia", "MCI")[rid % 3 if rid < 10 else rid % 2]
        scans = [("sc", "9/5/2005"), ("m12", "10/2/2006")] if rid % 4 == 0 else [("sc", "9/5/2005")]
        for number, (visit, day) in enumerate(scans):
            images.append(f"I{rid * 10 + number},{ptid(rid)},x,F,70,{visit},MRI,MPR,Raw,{day},NiFTI,1/1/2020")
        rows = [("bl", "2005-10-20", group), ("m06", "2006-04-01", ""), ("m12", "2006-10-20", group)]
        if rid == 11:
            rows = [("m36", "2008-10-20", group)]
        visits += [
            f"{rid},ADNI1,{ptid(rid)},{11 + rid % 3},{code},{day},{group},{60 + rid},Female,{dx}"
            for code, day, dx in rows
        ]
    images.append(f"I9,{ptid(1)},x,F,70,sc,MRI,MPR repeat,Raw,9/5/2005,NiFTI,1/1/2020")
    images.append(f"I990,{ptid(2)},x,F,70,m24,MRI,MPR,Raw,9/5/2007,NiFTI,")  # listed, not downloaded
    (folder / "images.csv").write_text("\n".join([IMAGES, *images]) + "\n")
    (folder / "ADNIMERGE.csv").write_text("\n".join([VISITS, *visits]) + "\n")
    genes = [f"{rid},3,{3 + rid % 2},2005-01-01" for rid in range(1, N)]
    (folder / "APOERES.csv").write_text("\n".join(["RID,APGEN1,APGEN2,USERDATE", *genes]) + "\n")
    for line in images[:-1]:
        image, subject, *_, day, _, _ = line.split(",")
        place = folder / "ADNI" / subject / "MPR" / day.replace("/", "-") / image
        place.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels(int(image[1:])), AFFINE), place / f"ADNI_{subject}_{image}.nii")


def smaller(pipeline: dict) -> dict:
    """The page's pipeline with an untrained backbone and few epochs."""
    return {
        name: {**section, **SMALL.get(name, {})} if isinstance(section, dict) else section
        for name, section in pipeline.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("adni")
    tables(place)
    (place / "volumes.py").write_text(FILES["volumes.py"])
    (place / "adni.yaml").write_text(yaml.safe_dump(smaller(yaml.safe_load(FILES["adni.yaml"]))))
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for line in block.splitlines():
            program, *arguments = shlex.split(line.removeprefix("$ "))
            if program == "python":
                subprocess.run([sys.executable, *arguments], cwd=place, check=True)
            else:
                assert sc.guarded(sc.cli.main, arguments) == 0, line
    return place


def metrics(folder):
    return json.loads((folder / "runs" / "adni" / "train" / "metrics.json").read_text())


def test_each_scan_has_the_diagnosis_of_the_visit_nearest_to_it(folder):
    found = metrics(folder)
    left = {(item["participant_id"], item["session_id"]): item["reason"] for item in found["left_out"]}
    assert left[ptid(11), "sc"] == "no row within 180 days (the nearest is 1141 days away)"
    assert left[ptid(4), "m12"] == "session not first"
    assert left[ptid(2), "sc"] == "target MCI is in no class"
    assert found["n_per_class"] == {"CN": 5, "AD": 3}
    (apoe,) = found["turnout"]["tables"]
    assert (apoe["table"], apoe["by"], apoe["absent"]) == ("APOERES.csv", ["RID"], ["12"])
    keys = [entry.key for entry in open_store(str(folder / "runs/adni/cache.zarr")).entries]
    assert (ptid(1), "sc", "I9") in [tuple(key.as_list()) for key in keys]
    assert len(keys) == N + 3


def test_codes_and_bids_ids_find_the_same_rows(folder, tmp_path):
    pipeline = yaml.safe_load((folder / "adni.yaml").read_text())
    section = {**pipeline["aggregate"], "join": yaml.safe_load(FILES["join: by codes"])}
    by_code = sc.train(
        {**section, "cohort": str(folder / "ADNIMERGE.csv")}, store=folder / "runs/adni/cache.zarr"
    )
    assert by_code.metrics["n_per_class"] == metrics(folder)["n_per_class"]
    volumes = pd.read_csv(folder / "volumes.csv", dtype=str)
    volumes["Subject"] = ["sub-ADNI" + name.replace("_", "") for name in volumes["Subject"]]
    volumes["Visit"] = volumes["Visit"].map({"sc": "ses-M000", "m12": "ses-M012", "m24": "ses-M024"})
    volumes.to_csv(folder / "bids.csv", index=False)
    pipeline["extract"]["input"]["manifest"] = str(folder / "bids.csv")
    pipeline["cache"]["store"] = str(tmp_path / "bids.zarr")
    pipeline["run"]["folder"] = str(tmp_path / "run")
    sc.extract(pipeline)  # a BIDS tree of these images has these keys
    bids = sc.train(
        {**section, "cohort": str(folder / "ADNIMERGE.csv"), "join": yaml.safe_load(FILES["join: BIDS"])},
        store=tmp_path / "bids.zarr",
    )
    assert bids.metrics["n_per_class"] == by_code.metrics["n_per_class"]
    np.testing.assert_array_equal(
        [name.replace("sub-ADNI", "") for name in bids.predictions["participant_id"].unique()],
        [name.replace("_", "") for name in by_code.predictions["participant_id"].unique()],
    )


def test_all_visits_count_as_one_participant(folder):
    pipeline = yaml.safe_load((folder / "adni.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = sc.train(pipeline, sessions="all")
    assert found.metrics["n_participants"] == metrics(folder)["n_participants"]
    assert found.metrics["n_bags"] > found.metrics["n_participants"]
