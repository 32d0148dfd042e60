"""Finding volumes: BIDS trees as they are, and tables as people have them."""

import os
import time
from pathlib import Path

import pytest

from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.pipeline_file import validate
from cache_schema.format.identity import VolumeKey
from extract.sources.bids import BidsInput, find_bids
from extract.sources.candidate import bids_parts, contrast_of, source_name, stem
from extract.sources.manifest import Columns, ManifestInput, find_manifest
from extract.sources.table import read_text_table


def tree(root: Path, *names: str) -> Path:
    """Empty files in their BIDS folders."""
    for name in names:
        parts, _ = bids_parts(stem(Path(name)))
        folder = root / f"sub-{parts['sub']}" / (f"ses-{parts['ses']}" if "ses" in parts else "") / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return root


def keys(root: Path, **filters) -> list[str]:
    spec = validate(BidsInput, {"bids": str(root), **filters}, "extract.input")
    return [str(found.key) for found in find_bids(spec, Path("/"))[0]]


@pytest.fixture
def raw(tmp_path):
    return tree(
        tmp_path,
        "sub-01_ses-01_T1w.nii.gz",
        "sub-01_ses-02_acq-mprage_run-1_T1w.nii.gz",
        "sub-01_ses-02_acq-mprage_run-02_T1w.nii.gz",
        "sub-01_ses-01_T2w.nii",
        "sub-02_T1w.nii.gz",
        "sub-02_label-lesion_T1w.nii.gz",
        "sub-02_label-lesion_mask.nii.gz",
        "sub-02_T1w.json",
    )


def test_keys_are_prefixed_ids_and_the_remaining_entities(raw):
    assert keys(raw) == [
        "sub-01/ses-01/T1w",
        "sub-01/ses-02/acq-mprage_run-02_T1w",
        "sub-01/ses-02/acq-mprage_run-1_T1w",
        "sub-02/T1w",
    ]


def test_participants_are_chosen_with_or_without_their_prefix(raw):
    assert keys(raw, participant="02") == keys(raw, participant=["sub-02"]) == keys(raw, participant=2)
    assert keys(raw, participant="02") == ["sub-02/T1w"]
    assert keys(raw, participant=["01", "02"]) == keys(raw)
    assert "participant" not in BidsInput(bids=raw).model_dump()
    with pytest.raises(ConfigError, match=r"none of the 2 participants .* is 03"):
        keys(raw, participant="03")


def test_entities_and_source(raw):
    found = find_bids(BidsInput(bids=raw, run=(1,)), Path("/"))[0][0]
    assert found.key == VolumeKey("sub-01", "ses-02", "acq-mprage_run-1_T1w")
    assert found.source == "sub-01/ses-02/anat/sub-01_ses-02_acq-mprage_run-1_T1w.nii.gz"
    assert (found.entities.contrast, found.entities.run, found.entities.acquisition) == ("T1w", "1", "mprage")


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"suffix": "T2w"}, 1),
        ({"suffix": ["T1w", "T2w"]}, 5),
        ({"session": "02"}, 2),
        ({"session": "ses-02"}, 2),
        ({"session": 2}, 2),
        ({"session": ["01", "02"]}, 3),
        ({"session": ""}, 1),
        ({"session": "*"}, 4),
        ({"run": 2}, 1),
        ({"run": "02"}, 1),
        ({"acquisition": "mprage"}, 2),
    ],
)
def test_filters(raw, filters, count):
    assert len(keys(raw, **filters)) == count


def test_a_raw_root_never_yields_its_derivatives(raw):
    tree(raw / "derivatives" / "fmriprep", "sub-01_ses-01_space-MNI_desc-preproc_T1w.nii.gz")
    assert len(keys(raw)) == 4
    assert keys(raw / "derivatives" / "fmriprep") == ["sub-01/ses-01/space-MNI_desc-preproc_T1w"]


def test_several_spaces_or_versions_are_a_choice_for_the_user(tmp_path):
    root = tree(
        tmp_path,
        "sub-01_desc-preproc_T1w.nii.gz",
        "sub-01_space-MNI152_desc-preproc_T1w.nii.gz",
        "sub-01_desc-brain_mask.nii.gz",
    )
    with pytest.raises(ConfigError, match=r"space '' \(1\), 'MNI152' \(1\): say which with `space:`"):
        keys(root)
    assert keys(root, space="") == ["sub-01/desc-preproc_T1w"]
    assert keys(root, space="MNI152") == ["sub-01/space-MNI152_desc-preproc_T1w"]
    assert len(keys(root, space="*")) == 2
    tree(root, "sub-01_desc-skullstripped_T1w.nii.gz")
    with pytest.raises(ConfigError, match="desc 'preproc'"):
        keys(root, space="")


def test_a_dangling_annex_link_is_still_a_candidate(tmp_path):
    root = tree(tmp_path, "sub-01_T1w.nii.gz")
    os.symlink(root / "gone", root / "sub-01" / "anat" / "sub-01_run-2_T1w.nii.gz")
    assert len(keys(root)) == 2


def notes(root: Path) -> list[str]:
    return find_bids(BidsInput(bids=root), Path("/"))[1]


@pytest.mark.parametrize(
    ("place", "folder", "name"),
    [
        ("sub-01/anat/sub-02_T1w.nii.gz", "sub-01", "sub-02"),
        ("sub-01/anat/sub-01b_T1w.nii.gz", "sub-01", "sub-01b"),
        ("sub-01/ses-01/anat/sub-01_ses-02_T1w.nii.gz", "ses-01", "ses-02"),
        ("sub-01/ses-01/anat/sub-02_ses-01_T1w.nii.gz", "sub-01", "sub-02"),
        ("sub-01_ses-01/anat/sub-01_ses-02_T1w.nii.gz", "sub-01_ses-01", "ses-02"),
    ],
)
def test_a_file_in_somebody_elses_folder_is_refused_by_name(raw, place, folder, name):
    (raw / place).parent.mkdir(parents=True, exist_ok=True)
    (raw / place).touch()
    with pytest.raises(
        ConfigError, match=f"'{place}' lies in the folder of '{folder}', and its name says '{name}': find out"
    ):
        keys(raw)
    assert len(keys(raw, suffix="T2w")) == 1  # not asked for


def test_folders_may_say_less_or_all_at_once(tmp_path):
    for place in ("sub-01_ses-02/anat/sub-01_ses-02_T1w.nii", "sub-03/sub-03_ses-01_T1w.nii"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    assert keys(tmp_path) == ["sub-01/ses-02/T1w", "sub-03/ses-01/T1w"]
    assert notes(tmp_path) == []


def test_images_without_an_id_are_noted(raw):
    (raw / "sub-02" / "anat" / "T1w.nii.gz").touch()
    assert len(keys(raw)) == 4
    assert notes(raw) == [
        "images left out, because their names begin with no sub-: 1, as 'sub-02/anat/T1w.nii.gz'"
    ]


@pytest.mark.parametrize("target", [".", "..", "../..", "/"])
def test_links_that_lead_back_are_not_followed_and_named(raw, target):
    for participant in ("sub-01", "sub-02"):
        (raw / participant / "anat").mkdir(exist_ok=True)
        for number in range(7):
            os.symlink(target, raw / participant / "anat" / f"back{number}")
    before = time.perf_counter()
    assert len(keys(raw)) == 4
    assert time.perf_counter() - before < 60  # followed, they would never end
    assert notes(raw) == [
        "links not followed, because they lead to a folder that holds them: 14, as 'sub-01/anat/back0'"
    ]


def test_a_net_of_links_is_walked_once(raw):
    """Two links per floor: 2 ** 30 ways to the top of it."""
    floor = raw / "sub-02" / "anat"
    for number in range(30):
        above = raw / "pool" / str(number)
        above.mkdir(parents=True)
        for side in "ab":
            os.symlink(above, floor / side)
        floor = above
    (floor / "sub-02_run-9_T1w.nii").touch()
    assert len(keys(raw)) == 5


def test_links_to_folders_are_followed_and_links_to_themselves_are_rows(raw, tmp_path_factory):
    pool = tmp_path_factory.mktemp("pool")
    (pool / "sub-07" / "anat").mkdir(parents=True)
    (pool / "sub-07" / "anat" / "sub-07_T1w.nii").touch()
    os.symlink(pool / "sub-07", raw / "sub-07")
    os.symlink("sub-02_run-9_T1w.nii", raw / "sub-02" / "anat" / "sub-02_run-9_T1w.nii")
    assert keys(raw)[3:] == ["sub-02/T1w", "sub-02/run-9_T1w", "sub-07/T1w"]
    os.symlink(pool / "sub-07", raw / "sub-08")
    with pytest.raises(ConfigError, match=r"'sub-08/anat/sub-07_T1w\.nii' lies in the folder of 'sub-08'"):
        keys(raw)


def test_a_folder_that_cannot_be_read_is_no_empty_one(raw, monkeypatch):
    original = os.scandir

    def refusing(folder):
        if Path(folder).name == "ses-02":
            raise PermissionError(13, "Permission denied")
        return original(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(MachineError, match=r"cannot read the folder '.*/sub-01/ses-02': Permission denied"):
        keys(raw)


def test_masks_are_no_volumes(raw):
    with pytest.raises(ConfigError, match="names a mask"):
        keys(raw, suffix="mask")


def test_nothing_found_says_what_there_is(raw, tmp_path_factory):
    with pytest.raises(ConfigError, match="has no FLAIR volume; it has T1w, T2w"):
        keys(raw, suffix="FLAIR")
    with pytest.raises(ConfigError, match=r"none of the 4 T1w volumes .* passes the filters ses"):
        keys(raw, session="07")
    with pytest.raises(ConfigError, match="is not a folder"):
        keys(raw / "nowhere")
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ConfigError, match=r"has no sub-\* folder"):
        keys(empty)


def table(folder: Path, text: str, name: str = "volumes.csv", **options):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    spec = validate(ManifestInput, {"manifest": str(path), **options}, "extract.input")
    return find_manifest(spec, Path("/"))


def test_a_table_with_odd_names_and_absolute_paths(tmp_path):
    found, notes = table(
        tmp_path,
        "RID,PTID,VISCODE,Path,DX\n2,0002,bl,/data/0002_bl.nii.gz,CN\n3,0003,m12,/data/a b/0003.nii,AD\n",
        columns={"participant": "PTID", "session": "VISCODE"},
    )
    assert [each.key for each in found] == [
        VolumeKey("0002", "bl", "0002_bl"),
        VolumeKey("0003", "m12", "0003"),
    ]
    assert found[1].path == Path("/data/a b/0003.nii")
    assert found[1].source.startswith("sha256:")
    assert notes == []


@pytest.mark.parametrize(
    ("delimiter", "name"), [("\t", "v.tsv"), (",", "v.csv"), (";", "v.csv"), ("\t", "v.txt"), (",", "v.tsv")]
)
def test_delimiters_and_relative_paths(tmp_path, delimiter, name):
    lines = ["\ufeffparticipant_id|session_id|path|orientation", "007||sub/x_T1.nii.gz|lps"]
    found, _ = table(tmp_path, "\r\n".join(lines).replace("|", delimiter) + "\r\n\r\n", name)
    assert found[0].key == VolumeKey("007", "", "x_T1")
    assert found[0].path == tmp_path / "sub" / "x_T1.nii.gz"
    assert found[0].source == "sub/x_T1.nii.gz"
    assert found[0].orientation == "LPS"
    assert found[0].entities.contrast == "T1w"


def test_volume_ids_come_from_the_column_the_contrast_or_the_name(tmp_path):
    head = "participant_id,path,volume_id,contrast,foreground_path\n"
    found, _ = table(
        tmp_path,
        head
        + "a,1.nii,scan7,T2w,m.nii\n"
        + "b,2.nii,,FLAIR,\n"
        + "c,sub-c_ses-1_acq-x_run-1_T1w.nii.gz,,,n/a\n"
        + "d,some file.nii.gz,,,\n",
    )
    assert [each.key.volume_id for each in found] == ["scan7", "FLAIR", "acq-x_run-1_T1w", "some file"]
    assert [each.entities.contrast for each in found] == ["T2w", "FLAIR", "T1w", ""]
    assert found[0].foreground_path == tmp_path / "m.nii"
    assert [each.foreground_path for each in found[1:]] == [None] * 3


def test_a_header_stands_for_the_image_beside_it(tmp_path):
    (tmp_path / "a.img").touch()
    found, _ = table(tmp_path, "participant_id,path\n1,a.hdr\n2,b.hdr\n")
    assert [each.source for each in found] == ["a.img", "b.hdr"]


def test_rows_without_a_file_are_noted_not_lost(tmp_path):
    found, notes = table(tmp_path, "participant_id,path\n1,a.nii\n2,\n3,NA\n")
    assert len(found) == 1
    assert notes == ["2 of 3 rows of volumes.csv have no path"]


def test_without_participants_it_is_refused_with_the_likely_column(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no column 'participant_id' .*columns: \{participant: PTID\}.*row_is_participant"
    ):
        table(tmp_path, "PTID,path\n1,a.nii\n")
    with pytest.raises(ConfigError, match=r"columns: \{path: file\}"):
        table(tmp_path, "participant_id,file\n1,a.nii\n")


def test_a_row_may_be_a_participant_when_said(tmp_path):
    found, _ = table(tmp_path, "path,y\nx/a.nii.gz,0\ny/b.nii.gz,1\n", row_is_participant=True)
    assert [each.key.participant_id for each in found] == ["a", "b"]
    found, _ = table(tmp_path, "path,y\nx/t1.nii.gz,0\ny/t1.nii.gz,1\n", row_is_participant=True)
    assert [each.key.participant_id for each in found] == ["x_t1", "y_t1"]
    with pytest.raises(ConfigError, match="several rows"):
        table(tmp_path, "path\nx/t1.nii\nx/t1.nii\n", row_is_participant=True)
    with pytest.raises(ConfigError, match="cannot be meant"):
        table(tmp_path, "participant_id,path\n1,x.nii\n", row_is_participant=True)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("participant_id,path\n1,a.nii\n", {"columns": {"session": "VISCODE"}}, "no column 'VISCODE'"),
        ("participant_id,path\n1,a.nii\n", {"columns": {"path": "pth"}}, "did you mean 'path'"),
        ("participant_id,path\n1,a.nii\n", {"columns": {"paths": "path"}}, "did you mean 'path'"),
        ("participant_id,path\n,a.nii\n", {}, "row 2 of .* has an empty participant_id"),
        ("participant_id,path\n1,a.nii,7\n", {}, "row 2 of .* has 3 cells, the header 2"),
        ("participant_id,path,path\n1,a.nii,7\n", {}, "'path' twice"),
        ("participant_id,path\n", {}, "at least one row"),
        ("participant_id,path\n1,a\0.nii\n", {}, "has a NUL on line 2"),
        ("participant_id,path\n1\t7,a.nii\n", {}, r"row 2 of .* control character, '\\t', in participant_id"),
        ("participant_id,path\n1,\n", {}, "no row of .* has a path"),
        ("participant_id,path,orientation\n1,a.nii,RAR\n", {}, "three axis codes such as RAS, not 'RAR'"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path, text, options, words):
    with pytest.raises(ConfigError, match=words):
        table(tmp_path, text, **options)


def test_a_table_that_is_no_ordinary_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.tsv")
    for place in (tmp_path / "fifo.tsv", Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigError, match=f"cannot read the table '{place}': it is no ordinary file"):
            read_text_table(place)


def test_an_unreadable_table_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the table"):
        read_text_table(tmp_path / "none.csv")
    (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="is no workbook that can be read: it is a broken zip"):
        read_text_table(tmp_path / "x.xlsx")


def test_a_sheet_of_a_workbook_may_be_the_manifest(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="slicecache[tables] is not installed")
    book = openpyxl.Workbook()
    book.active.append(["nothing"])
    sheet = book.create_sheet("Images")
    for line in (["PTID", "path"], ["007", "a.nii"], [None, None], [8, "b.nii"]):
        sheet.append(line)
    book.save(tmp_path / "m.xlsx")
    spec = ManifestInput(manifest=Path("m.xlsx"), sheet="Images", columns=Columns(participant="PTID"))
    found, _ = find_manifest(spec, tmp_path)
    assert [each.key.participant_id for each in found] == ["007", "8"]
    with pytest.raises(ConfigError, match="has 2 sheets: say which by sheet:"):
        find_manifest(ManifestInput(manifest=Path("m.xlsx")), tmp_path)


def test_names():
    assert [stem(Path(name)) for name in ("a.b.nii.gz", "a.NII", "x.mgz", "y.odd")] == ["a.b", "a", "x", "y"]
    assert contrast_of("IXI012-HH-1211-T1_ds") == "T1w"
    assert contrast_of("T1_to_T2") == ""
    assert source_name(Path("/a/b/../c/x.nii"), Path("/a")) == "c/x.nii"
    assert source_name(Path("/b/x.nii"), Path("/a")).startswith("sha256:")
