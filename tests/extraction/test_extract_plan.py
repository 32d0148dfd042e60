"""Planning: what will be embedded, what not and why, from headers alone."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from cache_schema.format.header import ArraySpec
from extract.planning.config import ExtractSection
from extract.planning.plan import ExtractionPlan, plan_extraction


def section(**options) -> ExtractSection:
    return validate(ExtractSection, {"backbone": {"kind": "untrained"}, **options}, "extract")


def planned(section: ExtractSection, base: Path) -> ExtractionPlan:
    return plan_extraction(section.input, base, section.preprocessing)


def save(path: Path, shape=(7, 11, 13), affine=None, codes=(1, 1)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(
        np.ones(shape, dtype=np.int16), np.diag([1.5, 2, 3, 1]) if affine is None else affine
    )
    image.set_qform(image.affine, codes[0])
    image.set_sform(image.affine, codes[1])
    nibabel.save(image, path)
    return path


@pytest.fixture
def manifest(tmp_path):
    save(tmp_path / "a.nii.gz")
    save(
        tmp_path / "b.nii.gz", affine=np.array([[0, 0, 1.5, 0], [-2, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1.0]])
    )
    save(tmp_path / "c.nii.gz", shape=(7, 11, 13, 5))
    save(tmp_path / "d.nii.gz", codes=(0, 0))
    (tmp_path / "volumes.csv").write_text(
        "participant_id,path\n1,a.nii.gz\n2,b.nii.gz\n3,c.nii.gz\n4,d.nii.gz\n5,gone.nii.gz\n6,\n"
    )
    return {"manifest": "volumes.csv"}


def test_a_plan_says_what_can_be_embedded_and_why_not(tmp_path, manifest):
    plan = planned(section(input=manifest), tmp_path)
    assert [each.candidate.key.participant_id for each in plan.embeddable] == ["1", "2"]
    # b is stored as (row, slice, column): its superior axis is the second one.
    assert [each.max_slices for each in plan.embeddable] == [13, 11]
    assert [each.refusal.split(":")[0] for each in plan.refused] == [
        "4D with 5 volumes",
        "neither qform nor sform gives the orientation",
        f"there is no file '{tmp_path / 'gone.nii.gz'}'",
    ]
    assert plan.notes == ("1 of 6 rows of volumes.csv have no path",)
    assert plan.slices == 24
    arrays = [
        ArraySpec(name="cls", dims=("volume", "slice", "dim"), item_shape=(384,), dtype="float16"),
        ArraySpec(name="x", dims=("volume", "slice", "row", "col"), item_shape=(3, 5), dtype="float32"),
    ]
    assert plan.bytes(arrays) == 24 * (384 * 2 + 15 * 4)
    assert [(row.participant_id, row.path, row.max_slices) for row in plan.rows()] == [
        ("1", "a.nii.gz", 13),
        ("2", "b.nii.gz", 11),
    ]


def test_the_slice_rule_bounds_the_slices(tmp_path, manifest):
    plan = planned(section(input=manifest, slices={"kind": "every", "step_mm": 6}), tmp_path)
    assert [each.max_slices for each in plan.embeddable] == [7, 6]
    plan = planned(section(input=manifest, preset="dinoatten3d_released"), tmp_path)
    assert [each.max_slices for each in plan.embeddable] == [13, 13]


def test_unknown_orientation_can_be_allowed(tmp_path, manifest):
    plan = planned(section(input=manifest, allow_unknown_orientation=True), tmp_path)
    assert len(plan.embeddable) == 3
    assert "unknown orientation" in plan.embeddable[2].warnings[0]


def test_duplicate_keys_name_both_files(tmp_path):
    for folder in ("x", "y"):
        save(tmp_path / folder / "t1.nii.gz")
    (tmp_path / "v.csv").write_text("participant_id,path\n1,x/t1.nii.gz\n1,y/t1.nii.gz\n")
    with pytest.raises(
        ConfigError, match=r"two volumes have the key 1/t1: '.*x/t1\.nii\.gz' and '.*y/t1\.nii\.gz'"
    ):
        planned(section(input={"manifest": "v.csv"}), tmp_path)


def test_one_bids_volume_in_two_formats_is_a_duplicate(tmp_path):
    for ending in (".nii", ".nii.gz"):
        save(tmp_path / "sub-1" / "anat" / f"sub-1_T1w{ending}")
    with pytest.raises(ConfigError, match="two volumes have the key sub-1/T1w"):
        planned(section(input={"bids": "."}), tmp_path)


def test_a_missing_mask_is_known_at_planning(tmp_path):
    save(tmp_path / "a.nii")
    (tmp_path / "v.csv").write_text("participant_id,path,foreground_path\n1,a.nii,mask.nii\n")
    plan = planned(section(input={"manifest": "v.csv"}), tmp_path)
    assert "there is no foreground mask" in plan.refused[0].refusal


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("sub-01,a.nii\nSUB-01,b.nii", r"the participants 'SUB-01' and 'sub-01' differ only in case"),
        ("sub-01,a.nii\nsub\u200b-01,b.nii", r"the participants 'sub-01' and 'sub\\u200b-01' differ only"),
        ("01,a.nii\n\uff10\uff11,b.nii", r"the participants '01' and '\\uff10\\uff11' differ only"),
        (
            "a,a.nii\nA,b.nii\nc,a.nii\nC,b.nii",
            r"the participants 'A' and 'a' differ .* \(2 such groups\): write each id",
        ),
    ],
)
def test_participants_that_look_like_one_are_refused(tmp_path, rows, says):
    for name in ("a.nii", "b.nii"):
        save(tmp_path / name)
    (tmp_path / "v.csv").write_text(f"participant_id,path\n{rows}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        planned(section(input={"manifest": "v.csv"}), tmp_path)


@pytest.mark.parametrize(
    ("column", "what"),
    [("session_id", "the sessions 'M12' and 'm12' of p "), ("volume_id", "the volumes 'M12'")],
)
def test_sessions_and_volumes_that_look_like_one_are_refused(tmp_path, column, what):
    (tmp_path / "v.csv").write_text(f"participant_id,path,{column}\np,a.nii,m12\np,b.nii,M12\nq,a.nii,M12\n")
    with pytest.raises(ConfigError, match=what):
        planned(section(input={"manifest": "v.csv"}), tmp_path)


def test_one_file_under_two_participants_is_a_note(tmp_path):
    save(tmp_path / "a.nii")
    save(tmp_path / "c.nii")
    (tmp_path / "b.nii").symlink_to("a.nii")
    (tmp_path / "v.csv").write_text("participant_id,path\n1,a.nii\n2,b.nii\n3,c.nii\n4,a.nii\n")
    plan = planned(section(input={"manifest": "v.csv"}), tmp_path)
    assert len(plan.embeddable) == 4
    assert plan.notes == ("one file under 3 participants, 1/a and 2/b: 'a.nii'",)


@pytest.mark.parametrize("column", ["path", "foreground_path"])
def test_what_is_no_ordinary_file_is_not_opened(tmp_path, column):
    save(tmp_path / "a.nii")
    os.mkfifo(tmp_path / "fifo.nii")
    other = "a.nii," if column == "foreground_path" else ""
    (tmp_path / "v.csv").write_text(
        f"participant_id,{'path,' if other else ''}{column}\n1,{other}fifo.nii\n2,{other}/dev/zero\n"
    )
    plan = planned(section(input={"manifest": "v.csv"}), tmp_path)
    assert [each.refusal for each in plan.refused] == [
        "'fifo.nii' is a fifo, not a file",
        "'zero' is a device, not a file",
    ]


def test_the_header_of_a_pair_is_not_opened_either(tmp_path):
    (tmp_path / "a.img").write_bytes(b"x" * 1000)
    os.mkfifo(tmp_path / "a.hdr")
    (tmp_path / "v.csv").write_text("participant_id,path\n1,a.img\n")
    plan = planned(section(input={"manifest": "v.csv"}), tmp_path)
    assert [each.refusal for each in plan.refused] == ["'a.hdr' is a fifo, not a file"]


def test_a_folder_that_nobody_may_enter_is_a_row(tmp_path, monkeypatch):
    save(tmp_path / "a.nii")
    (tmp_path / "v.csv").write_text("participant_id,path\n1,a.nii\n2,closed/b.nii\n")
    original = Path.stat

    def refusing(path, **options):
        if path.parent.name == "closed":
            raise PermissionError(13, "Permission denied")
        return original(path, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    plan = planned(section(input={"manifest": "v.csv"}), tmp_path)
    assert [each.refusal for each in plan.refused] == ["'b.nii' cannot be read: Permission denied"]


def test_real_trees_plan_whole(shared_data):
    plan = planned(section(input={"bids": "ds002748-2mm"}), shared_data)
    assert (len(plan.embeddable), len(plan.refused)) == (37, 0)
    assert all(each.max_slices == each.shape[2] for each in plan.embeddable)
    plan = planned(section(input={"bids": "ds002748-native", "suffix": "T1w"}), shared_data)
    assert [each.max_slices for each in plan.embeddable] == [181] * 8
    oblique = [
        each.candidate.key.participant_id for each in plan.embeddable if "oblique" in str(each.warnings)
    ]
    assert oblique == ["sub-03", "sub-50"]


def test_real_heads_by_manifest_plan_whole(shared_data, tmp_path):
    paths = sorted((shared_data / "ixi-2mm").glob("*.nii.gz"))
    lines = [f"{path.name.split('-')[0]}\t{path}" for path in paths]
    (tmp_path / "v.tsv").write_text("IXI_ID\tfile\n" + "\n".join(lines) + "\n")
    columns = {"participant": "IXI_ID", "path": "file"}
    plan = planned(section(input={"manifest": "v.tsv", "columns": columns}), tmp_path)
    assert len(plan.embeddable) == 10
    assert {each.max_slices for each in plan.embeddable} == {120}  # PSR: the second axis is superior
    assert {each.candidate.entities.contrast for each in plan.embeddable} == {"T1w"}
