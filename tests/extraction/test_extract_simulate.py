"""The simulated cohort: same bytes from the same options, and only the effect separates the groups."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nilearn")
nibabel = pytest.importorskip("nibabel")

import slicecache  # noqa: E402
from cache_schema.common.errors import SlicecacheError  # noqa: E402
from extract.simulate import tree  # noqa: E402
from extract.simulate.cohort import Participant, plan_cohort  # noqa: E402
from extract.simulate.stroke import stroke_ml  # noqa: E402
from extract.simulate.tree import simulate_tree  # noqa: E402

COARSE = 3.0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def lesioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight participants with lesions, two of them seen twice, written by two processes."""
    folder = tmp_path_factory.mktemp("lesioned") / "cohort"
    simulate_tree(folder, 8, "lesion", seed=5, coarseness=COARSE, workers=2)
    return folder


def test_bytes_do_not_depend_on_workers(lesioned: Path, tmp_path: Path) -> None:
    simulate_tree(tmp_path / "again", 8, "lesion", seed=5, coarseness=COARSE, workers=1)
    assert contents(tmp_path / "again") == contents(lesioned)


def test_bytes_depend_on_seed(lesioned: Path, tmp_path: Path) -> None:
    simulate_tree(tmp_path / "other", 8, "lesion", seed=6, coarseness=COARSE, workers=1)
    ours, theirs = contents(lesioned), contents(tmp_path / "other")
    volumes = [name for name in ours if name.endswith("_T1w.nii.gz") and name in theirs]
    assert volumes
    assert all(ours[name] != theirs[name] for name in volumes)


def test_finished_tree_is_left_alone_and_a_damaged_one_mended(lesioned: Path, tmp_path: Path) -> None:
    before = contents(lesioned)
    stamps = {path: path.stat().st_mtime_ns for path in lesioned.rglob("*")}
    assert simulate_tree(lesioned, 8, "lesion", seed=5, coarseness=COARSE).found
    assert {path: path.stat().st_mtime_ns for path in lesioned.rglob("*")} == stamps
    next(lesioned.rglob("*_T1w.nii.gz")).unlink()
    assert not simulate_tree(lesioned, 8, "lesion", seed=5, coarseness=COARSE, workers=1).found
    assert contents(lesioned) == before


def test_other_parameters_are_refused_by_name(lesioned: Path) -> None:
    with pytest.raises(SlicecacheError, match=r"seed is 6 here and 5 there"):
        simulate_tree(lesioned, 8, "lesion", seed=6, coarseness=COARSE)


def test_strange_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("ten years of work")
    with pytest.raises(SlicecacheError, match="no simulation"):
        simulate_tree(tmp_path, 2, coarseness=COARSE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_damaged_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / tree.NOTE).write_text("{")
    with pytest.raises(SlicecacheError, match="damaged"):
        simulate_tree(tmp_path, 2, coarseness=COARSE)


def test_bids_names_and_tables(lesioned: Path) -> None:
    lines = (lesioned / "participants.tsv").read_text().splitlines()
    assert lines[0] == "participant_id\tage\tsex\tsite\tdiagnosis"
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert [row["participant_id"] for row in rows] == [f"sub-{i:03d}" for i in range(1, 9)]
    assert Counter(row["diagnosis"] for row in rows) == {"control": 4, "patient": 4}
    twice = sorted(path.parent.name for path in lesioned.glob("sub-*/sub-*_sessions.tsv"))
    assert len(twice) == 2
    for row in rows:
        name = row["participant_id"]
        sessions = ["ses-01", "ses-02"] if name in twice else [""]
        for session in sessions:
            stem = f"{name}_{session}" if session else name
            folder = Path(name, session, "anat")
            assert (lesioned / folder / f"{stem}_T1w.nii.gz").is_file()
            mask = lesioned / "derivatives" / "lesions" / folder / f"{stem}_label-lesion_mask.nii.gz"
            assert mask.is_file() == (row["diagnosis"] == "patient")
    assert json.loads((lesioned / "dataset_description.json").read_text())["DatasetType"] == "raw"


def test_images_are_stored_as_planned(lesioned: Path) -> None:
    for person in plan_cohort(8, "lesion", 5, COARSE):
        for visit in person.visits:
            path = next((lesioned / person.participant_id / visit.session_id).glob("anat/*_T1w.nii.gz"))
            image, protocol = nibabel.load(path), visit.protocol
            assert "".join(nibabel.aff2axcodes(image.affine)) == protocol.orientation
            assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == protocol.codes
            assert image.get_data_dtype() == protocol.dtype
            canonical = nibabel.as_closest_canonical(image)
            assert np.allclose(nibabel.affines.voxel_sizes(canonical.affine), protocol.spacing_mm, atol=1e-5)
            data = np.asarray(image.dataobj)
            assert np.isfinite(data).all()
            # Skull-stripped: most of the border is exactly 0, the brain is neither absent nor cut off.
            assert 0.2 < (data == 0).mean() < 0.95
            lengths = protocol.spacing_mm
            assert 0.9e6 < (data > 0).sum() * lengths[0] * lengths[1] * lengths[2] < 2.6e6


def test_masks_lie_on_dark_tissue_of_the_same_grid(lesioned: Path) -> None:
    masks = sorted(lesioned.rglob("*_mask.nii.gz"))
    filled = 0
    for path in masks:
        relative = path.relative_to(lesioned / "derivatives" / "lesions")
        volume = lesioned / str(relative).replace("_label-lesion_mask", "_T1w")
        image, mask = nibabel.load(volume), nibabel.load(path)
        assert image.shape == mask.shape
        assert np.allclose(image.affine, mask.affine)
        inside, data = np.asarray(mask.dataobj) > 0, np.asarray(image.dataobj, dtype=float)
        assert np.isin(np.asarray(mask.dataobj), (0, 1)).all()
        if inside.any():
            filled += 1
            assert np.median(data[inside]) < 0.85 * np.median(data[(data > 0) & ~inside])
    assert filled >= len(masks) - 1


def ages(cohort: list[Participant], diagnosis: str) -> list[float]:
    return [person.age for person in cohort if person.diagnosis == diagnosis]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_but_the_effect_separates_the_groups(seed: int) -> None:
    cohort = plan_cohort(48, "atrophy", seed)
    for trait in ("site", "sex"):
        counts = Counter((getattr(person, trait), person.diagnosis) for person in cohort)
        for value in {getattr(person, trait) for person in cohort}:
            assert counts[value, "control"] == counts[value, "patient"] > 0
    # Three standard errors of a difference of two means of 24 with standard deviation 8.
    assert abs(np.mean(ages(cohort, "control")) - np.mean(ages(cohort, "patient"))) < 3 * 8 * (2 / 24) ** 0.5


@pytest.mark.parametrize("effect", ["atrophy", "none"])
def test_effect_is_large_but_not_total(effect: str) -> None:
    pairs = 600
    cohort = plan_cohort(2 * pairs, effect, 11)  # type: ignore[arg-type]
    widths = {
        label: np.array([p.visits[0].anatomy.ventricle_mm for p in cohort if p.diagnosis == label])
        for label in ("control", "patient")
    }
    auroc = (widths["patient"][:, None] > widths["control"][None]).mean()
    assert (0.96 < auroc < 0.999) if effect == "atrophy" else (0.45 < auroc < 0.55)


def test_sagittal_acquisitions_have_unequal_axial_pixels() -> None:
    spacings = {p.visits[0].protocol.spacing_mm for p in plan_cohort(48, "none", 0)}
    assert (1.2, 0.94, 0.94) in spacings
    assert (2.4, 1.88, 1.88) in spacings


def called(*arguments: str) -> int:
    """The exit code of the command."""
    return slicecache.guarded(slicecache.cli.main, ["simulate", *arguments])


def test_command_prints_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def coarse(*args: object, **kwargs: object) -> tree.Simulated:
        return simulate_tree(*args, **{**kwargs, "coarseness": COARSE, "workers": 1})  # type: ignore[arg-type]

    monkeypatch.setattr(tree, "simulate_tree", coarse)
    assert called(str(tmp_path / "c"), "--participants", "3", "--json") == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert (told["participants"], told["volumes"], told["found"]) == (3, 3, False)
    assert printed.err == ""  # it was soon done


@pytest.fixture(scope="module")
def mask_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two masks in MNI space on a grid of their own: a box on the left, a box on the right and lower."""
    folder = tmp_path_factory.mktemp("masks")
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -90, -126, -72
    for name, low in (("left", (-45, -30, 12)), ("right", (21, -30, 0))):
        data = np.zeros((61, 73, 61), dtype=np.uint8)
        first = [round((edge - origin) / 3) for edge, origin in zip(low, (-90, -126, -72), strict=True)]
        data[tuple(slice(start, start + 8) for start in first)] = 1
        nibabel.save(nibabel.Nifti1Image(data, affine), folder / f"{name}.nii.gz")
    return folder


def pairs_of(folder: Path) -> list[tuple[Path, Path]]:
    masks = sorted(folder.rglob("*_label-lesion_mask.nii.gz"))
    images = [
        str(path.relative_to(folder / "derivatives" / "lesions")).replace("_label-lesion_mask", "_T1w")
        for path in masks
    ]
    return [(folder / image, mask) for image, mask in zip(images, masks, strict=True)]


def test_textured_lesions_lie_where_dark_ones_do_and_only_there(lesioned: Path, tmp_path: Path) -> None:
    options = {"seed": 5, "coarseness": COARSE, "workers": 1}
    simulate_tree(tmp_path / "t", 8, "lesion", lesion="texture", **options)  # type: ignore[arg-type]
    dark, textured = contents(lesioned), contents(tmp_path / "t")
    assert dark.keys() == textured.keys()
    changed = {name for name in dark if dark[name] != textured[name]}
    patients = [f"{image.relative_to(lesioned)}" for image, _ in pairs_of(lesioned)]
    assert changed <= {*patients, "README.md", "simulation.json"}
    assert "texture alone" in textured["README.md"].decode()
    assert json.loads(textured["simulation.json"])["parameters"]["lesion"] == "texture"
    assert "lesion" not in json.loads(dark["simulation.json"])["parameters"]


def test_masks_give_lesions_their_shape(mask_folder: Path, tmp_path: Path) -> None:
    options = {"seed": 5, "coarseness": COARSE, "workers": 1, "lesion_masks": mask_folder}
    done = simulate_tree(tmp_path / "m", 8, "lesion", **options)  # type: ignore[arg-type]
    pairs = pairs_of(tmp_path / "m")
    assert done.lesion_masks == len(pairs) > 3
    for path, mask_path in pairs:
        image, mask = nibabel.load(path), nibabel.load(mask_path)
        inside = np.asarray(mask.dataobj) > 0
        size = float(np.abs(np.linalg.det(mask.affine[:3, :3])))
        assert inside.sum() * size == pytest.approx(24**3, rel=0.5)
        centre = mask.affine @ [*np.argwhere(inside).mean(axis=0), 1]
        assert 20 < abs(centre[0]) < 46  # one box, on either side
        data = np.asarray(image.dataobj, dtype=float)
        assert np.median(data[inside]) < 0.85 * np.median(data[(data > 0) & ~inside])
    # A pattern names the same masks as the folder.
    named = {**options, "lesion_masks": mask_folder / "*t.nii.gz"}
    assert simulate_tree(tmp_path / "m", 8, "lesion", **named).found  # type: ignore[arg-type]
    # The same masks elsewhere are the same simulation; others are not.
    note = json.loads((tmp_path / "m" / "simulation.json").read_text())
    assert str(mask_folder) not in json.dumps(note)
    assert simulate_tree(tmp_path / "m", 8, "lesion", **options).found  # type: ignore[arg-type]
    with pytest.raises(SlicecacheError, match="lesion_masks is None here"):
        simulate_tree(tmp_path / "m", 8, "lesion", seed=5, coarseness=COARSE, workers=1)


def test_looks_without_lesions_and_folders_without_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlicecacheError, match="'atrophy' has no lesions"):
        simulate_tree(tmp_path / "a", 2, "atrophy", lesion="texture")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlicecacheError, match="holds no lesion mask"):
        simulate_tree(tmp_path / "a", 2, "lesion", lesion_masks=tmp_path / "empty")
    nibabel.save(
        nibabel.Nifti1Image(np.full((3, 4, 5), 7, np.uint8), np.eye(4)), tmp_path / "empty" / "x.nii"
    )
    with pytest.raises(SlicecacheError, match=r"'x.nii' is no lesion mask"):
        simulate_tree(tmp_path / "a", 2, "lesion", lesion_masks=tmp_path / "empty")
    assert not (tmp_path / "a").exists()


def test_the_command_passes_looks_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, object] = {}

    def told(*args: object, **kwargs: object) -> tree.Simulated:
        seen.update(kwargs)
        return tree.Simulated("x", 2, 2, 1, 0.0, False)

    monkeypatch.setattr(tree, "simulate_tree", told)
    (tmp_path / "masks").mkdir()
    arguments = [str(tmp_path / "c"), "--effect", "lesion", "--lesion", "texture"]
    assert called(*arguments, "--lesion-masks", str(tmp_path / "masks")) == 0
    assert (seen["lesion"], seen["lesion_masks"]) == ("texture", tmp_path / "masks")
    assert "1 lesion mask;" in capsys.readouterr().out


def test_lesions_have_the_volumes_that_were_asked_for(tmp_path: Path) -> None:
    options = {"seed": 5, "coarseness": 2.0, "workers": 1, "lesion_ml": 10}
    done = simulate_tree(tmp_path / "s", 6, "lesion", **options)  # type: ignore[arg-type]
    pairs = pairs_of(tmp_path / "s")
    assert done.lesion_masks == len(pairs) >= 3
    people = {p.participant_id: p for p in plan_cohort(6, "lesion", 5, 2.0)}
    for path, mask_path in pairs:
        mask = nibabel.load(mask_path)
        inside = np.asarray(mask.dataobj) > 0
        found = inside.sum() * float(np.abs(np.linalg.det(mask.affine[:3, :3]))) / 1000
        seed = people[path.name.split("_")[0]].lesion_seed
        assert seed is not None
        # Heads differ in size, and voxels are coarse.
        assert found == pytest.approx(stroke_ml(seed, 10), rel=0.35)
        places = (mask.affine @ np.c_[np.argwhere(inside), np.ones(inside.sum())].T)[0]
        assert max((places > -8).mean(), (places < 8).mean()) > 0.98  # in one hemisphere; heads are turned
        data = np.asarray(nibabel.load(path).dataobj, dtype=float)
        assert np.median(data[inside]) < 0.85 * np.median(data[(data > 0) & ~inside])
    note = json.loads((tmp_path / "s" / "simulation.json").read_text())
    assert note["planted"]["lesions"] == 3
    assert note["planted"]["smallest_ml"] < note["planted"]["median_ml"] < note["planted"]["largest_ml"]
    assert "median of 10 ml" in (tmp_path / "s" / "README.md").read_text()
    assert simulate_tree(tmp_path / "s", 6, "lesion", **options).found  # type: ignore[arg-type]


def test_drawn_volumes_are_those_of_strokes() -> None:
    volumes = np.array([stroke_ml((0, 5, place), 10) for place in range(2000)])
    assert np.median(volumes) == pytest.approx(10, rel=0.1)
    assert volumes.mean() == pytest.approx(21, rel=0.15)
    assert 0.1 <= volumes.min() < 1
    assert 60 < volumes.max() <= 250


def test_sizes_that_no_lesion_has_are_refused(tmp_path: Path, mask_folder: Path) -> None:
    with pytest.raises(SlicecacheError, match="'none' has no lesions"):
        simulate_tree(tmp_path / "a", 2, "none", lesion_ml=10)
    with pytest.raises(SlicecacheError, match="not both"):
        simulate_tree(tmp_path / "a", 2, "lesion", lesion_ml=10, lesion_masks=mask_folder)
    with pytest.raises(SlicecacheError, match=r"0.1 to 250 ml is expected, not 900"):
        simulate_tree(tmp_path / "a", 2, "lesion", lesion_ml=900)
    assert not (tmp_path / "a").exists()
