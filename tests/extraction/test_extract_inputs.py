"""Whatever shaped a volume's numbers and is changed is noticed, named, and embedded again when asked."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import nibabel as nib
import pytest
from made_up_inputs import AFFINE, CHANGES, save_mask, swap, voxels, write_inputs, write_manifest

import slicecache
from cache_schema.common.text.counts import counted
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.inputs import InputFile, Inputs, differing_inputs
from cache_schema.format.layout import record_name
from cache_schema.format.record import VolumeRecord
from cache_schema.move.export import export_store, prepare_pseudonyms
from cache_schema.store.reader import open_store
from extract.engines import changes as changes_module
from extract.volume import read as read_module
from extract.volume.inputs import companions


@pytest.fixture(scope="module")
def extracted(tmp_path_factory) -> Path:
    """Images of every kind, and a store of them."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    assert command(folder) == 0
    return folder


@pytest.fixture
def cohort(extracted: Path, tmp_path: Path) -> Path:
    """A folder of one's own whose files have the same times, but other inodes: digested once, remembered."""
    return Path(shutil.copytree(extracted, tmp_path / "cohort"))


def command(folder: Path, *arguments: str) -> int:
    return slicecache.guarded(slicecache.cli.main, ["extract", str(folder / "pipeline.yaml"), *arguments])


def record_of(folder: Path, who: str) -> VolumeRecord:
    store = open_store(folder / "run" / "cache.zarr")
    return store.record(next(entry.key for entry in store.entries if entry.key.participant_id == who))


@pytest.mark.parametrize("fault", CHANGES)
def test_a_change_is_named_and_embedded_again_only_when_asked(cohort, capsys, fault):
    spoil, whose, says = CHANGES[fault]
    before = open_store(cohort / "run" / "cache.zarr").content_digest()
    spoil(cohort)
    assert command(cohort) == 1
    out = capsys.readouterr().out
    assert f"0 volumes embedded, {5 - len(whose)} already there, {len(whose)} failed" in out
    for who in whose:
        assert re.search(rf"{who}/\S+: {says} changed since it was embedded; extract with", out)
    assert open_store(cohort / "run" / "cache.zarr").content_digest() == before
    assert command(cohort, "--replace") == 0
    assert (
        f"{counted(len(whose), 'volume')} embedded, {5 - len(whose)} already there, 0 failed"
        in capsys.readouterr().out
    )
    after = open_store(cohort / "run" / "cache.zarr").content_digest()
    assert after != before
    assert command(cohort) == 0
    assert "0 volumes embedded, 5 already there, 0 failed" in capsys.readouterr().out
    assert command(cohort, "--set", "cache.store=run/fresh.zarr") == 0
    assert open_store(cohort / "run" / "fresh.zarr").content_digest() == after


def test_another_dataset_of_the_same_file_is_named(cohort, capsys):
    rows = [
        "participant_id\tpath\tvolume_id\torientation\tspacing_mm",
        "inside\tscans.h5:/b\tscans_a\tRAS\t5x5x5",
    ]
    (cohort / "volumes.tsv").write_text("\n".join(rows) + "\n")
    assert command(cohort) == 1
    assert "its dataset ('/a' then, '/b' now) has changed" in capsys.readouterr().out


def test_a_record_says_what_it_was_made_from(extracted):
    masked, pair, inside = (record_of(extracted, who).inputs for who in ("masked", "pair", "inside"))
    assert [set(each.files) for each in (masked, pair, inside)] == [
        {"image", "mask"},
        {"image", "header"},
        {"image"},
    ]
    assert pair.orientation == "RAS"
    assert (inside.dataset, inside.spacing_mm) == ("/a", (5, 5, 5))
    for role, file in masked.files.items():
        path = extracted / {"image": "masked.nii.gz", "mask": "mask.nii.gz"}[role]
        stat = path.stat()
        assert file.facts == (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # By the definition of SPEC.md, section 6.
    parts = {"image": inside.files["image"].sha256, "orientation": "RAS", "dataset": "/a"}
    assert inside.sha256 == sha256_json(parts | {"spacing_mm": [5.0, 5.0, 5.0]})


def test_bytes_are_read_where_facts_say_nothing_only_when_asked(cohort, capsys, monkeypatch):
    """A disk that lies, or a clock: the same facts over other bytes."""
    assert command(cohort) == 0
    records = {who: record_of(cohort, who).inputs for who in ("plain", "masked")}
    facts = {
        cohort / "plain.nii": records["plain"].files["image"].facts,
        cohort / "mask.nii.gz": records["masked"].files["mask"].facts,
    }
    original = changes_module.facts_of
    monkeypatch.setattr(changes_module, "facts_of", lambda path: facts.get(path) or original(path))
    nib.save(nib.Nifti1Image(voxels(77), AFFINE), cohort / "plain.nii")
    save_mask(cohort / "mask.nii.gz", 6)
    assert command(cohort) == 0
    capsys.readouterr()
    assert command(cohort, "--check-hashes") == 1
    out = capsys.readouterr().out
    assert "3 already there, 2 failed" in out
    assert "plain/plain: its file has" in out
    assert "masked/masked: its foreground mask has" in out


def test_a_committed_volume_that_cannot_be_read_any_more_is_a_failure(cohort, capsys, monkeypatch):
    def refusing(path, facts):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(changes_module, "digest_of", refusing)
    for path in cohort.glob("*.*"):
        path.touch()
    (cohort / "run" / "extract" / "seen.json").unlink(missing_ok=True)
    assert command(cohort) == 1
    out = capsys.readouterr().out
    assert "0 volumes embedded, 0 already there, 5 failed" in out
    assert out.count("its file cannot be read: Permission denied") == 5


def make_old(folder: Path) -> None:
    """Records as they were before inputs were recorded."""
    store = open_store(folder / "run" / "cache.zarr")
    for entry in store.entries:
        path = folder / "run" / "cache.zarr" / record_name(entry.key)
        raw = json.loads(path.read_bytes())
        body = {name: value for name, value in raw.items() if name not in ("inputs", "sha256")}
        path.write_bytes(canonical_json(body | {"sha256": sha256_json(body)}))


def test_older_records_are_trusted_as_before_and_that_is_said_once(cohort, capsys):
    make_old(cohort)
    save_mask(cohort / "mask.nii.gz", 6)
    assert command(cohort) == 0
    out = capsys.readouterr().out
    assert "0 volumes embedded, 5 already there, 0 failed" in out
    said = "5 volumes were embedded before inputs were recorded; --check-hashes decides"
    assert out.count(said) == 1
    assert command(cohort, "--check-hashes") == 0
    assert "their images were checked; whether a mask's voxels" in capsys.readouterr().out


def test_hashes_decide_what_older_records_can_tell(cohort, capsys):
    make_old(cohort)
    swap(cohort)
    write_manifest(cohort, ("masked", "foreground_path", ""), ("inside", "orientation", "LPS"))
    assert command(cohort) == 0
    capsys.readouterr()
    assert command(cohort, "--check-hashes") == 1
    out = capsys.readouterr().out
    assert "1 already there, 4 failed" in out
    assert "plain/plain: its file has" in out
    assert "twin/twin: its file has" in out
    assert "masked/masked: its foreground mask (none now) has" in out
    assert "inside/scans_a: its stated orientation ('RAS' then, 'LPS' now) has" in out
    assert command(cohort, "--check-hashes", "--replace") == 0
    assert record_of(cohort, "masked").inputs is not None
    assert record_of(cohort, "pair").inputs is None  # never embedded again silently


def test_a_copied_folder_is_digested_once_and_nothing_in_the_store_is_touched(cohort, capsys, monkeypatch):
    for path in cohort.glob("*.nii*"):
        path.touch()
    store = cohort / "run" / "cache.zarr"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    read = []
    original = changes_module.digest_of
    monkeypatch.setattr(
        changes_module, "digest_of", lambda path, facts: read.append(path.name) or original(path, facts)
    )
    original_time = changes_module.time.time_ns
    later = lambda: original_time() + 10**9  # noqa: E731
    monkeypatch.setattr(changes_module.time, "time_ns", later)
    assert command(cohort) == 0
    names = ["mask.nii.gz", "masked.nii.gz", "pair.hdr", "pair.img", "plain.nii", "scans.h5", "twin.nii"]
    assert sorted(read) == names
    read.clear()
    assert command(cohort) == 0
    assert read == []
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()} == before
    assert capsys.readouterr().out.count("0 volumes embedded, 5 already there, 0 failed") == 2
    for spoilt in (b"{", b"[]", b'{"a": 3}', b"[" * 100_000, b"\xff"):
        (cohort / "run" / "extract" / "seen.json").write_bytes(spoilt)
        assert command(cohort) == 0


@pytest.mark.parametrize("name", ["masked.nii.gz", "mask.nii.gz"])
def test_a_file_that_changes_while_it_is_read_is_a_failure(cohort, capsys, monkeypatch, name):
    """Though size and time of change are put back: the digest is of the bytes that were decoded."""
    original = read_module.mask_of_image

    def changing(*given):
        mask = original(*given)
        stat = (cohort / name).stat()
        data = bytearray((cohort / name).read_bytes())
        data[-1] ^= 1
        (cohort / name).write_bytes(bytes(data))
        os.utime(cohort / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return mask

    monkeypatch.setattr(read_module, "mask_of_image", changing)
    assert command(cohort, "--set", "cache.store=run/new.zarr") == 1
    out = capsys.readouterr().out
    assert "4 volumes embedded, 0 already there, 1 failed" in out
    assert "masked/masked: the file changed while it was read" in out


def test_recompute_names_a_changed_mask(cohort, capsys):
    save_mask(cohort / "mask.nii.gz", 5)
    arguments = ["recompute", str(cohort / "run" / "cache.zarr"), "--slices", "200"]
    code = slicecache.guarded(slicecache.cli.main, [*arguments, "--pipeline", str(cohort / "pipeline.yaml")])
    assert code == 1
    assert "masked/masked, source: not as it was when it was embedded: its foreground mask" in (
        capsys.readouterr().out
    )


def test_exports_keep_no_names_and_pseudonyms_no_digests(cohort, tmp_path):
    store = str(cohort / "run" / "cache.zarr")
    export_store(store, str(tmp_path / "a.h5"))
    kept = open_store(tmp_path / "a.h5").record(VolumeKey("inside", "", "scans_a")).inputs
    assert kept.dataset is None
    assert kept.sha256 == record_of(cohort, "inside").inputs.sha256
    pseudonyms = prepare_pseudonyms(store, str(tmp_path / "b.h5"), str(tmp_path / "map.tsv"))
    export_store(store, str(tmp_path / "b.h5"), pseudonyms=pseudonyms)
    made = open_store(tmp_path / "b.h5")
    assert all(made.record(entry.key).inputs is None for entry in made.entries)


def file(sha256: str) -> InputFile:
    return InputFile(bytes=1, mtime_ns=2, ctime_ns=3, inode=4, sha256=sha256)


def test_places_and_times_are_in_no_digest():
    one = Inputs.of({"image": file("aa")}, None, None, None)
    moved = Inputs.of(
        {"image": InputFile(bytes=1, mtime_ns=9, ctime_ns=9, inode=9, sha256="aa")}, None, None, None
    )
    assert one.sha256 == moved.sha256 == sha256_json({"image": "aa"})
    assert differing_inputs(one, moved) == []
    both = Inputs.of({"image": file("ab"), "mask": file("cc")}, None, None, "/a")
    assert differing_inputs(one, both) == ["file", "foreground mask (none then)"]
    unnamed = both.model_copy(update={"dataset": None})  # of an export
    assert differing_inputs(unnamed, both) == []


@pytest.mark.parametrize(
    ("name", "beside", "roles"),
    [
        ("a.nii.gz", ["a.mat", "a.hdr"], {"image"}),
        ("a.img", ["a.hdr"], {"image", "header"}),
        ("a.img.gz", ["a.hdr.gz", "a.hdr"], {"image", "header"}),
        ("A.IMG", ["A.HDR"], {"image", "header"}),
        ("a.rec", ["a.par"], {"image", "header"}),
        ("a.par", ["a.rec"], {"image", "voxels"}),
        ("a.mgz", ["a.hdr"], {"image"}),
        ("a.b.img", ["a.hdr", "a.b.hdr"], {"image", "header"}),
    ],
)
def test_files_in_several_parts(tmp_path, name, beside, roles):
    for each in (name, *beside):
        (tmp_path / each).write_bytes(b"")
    assert companions(tmp_path / name).keys() == roles


@pytest.mark.parametrize(
    ("magic", "roles"), [(b"ni1\0", {"image", "header"}), (b"\0" * 4, {"image", "header", "mat"})]
)
def test_a_mat_belongs_to_analyze_and_not_to_nifti(tmp_path, magic, roles):
    (tmp_path / "a.img").touch()
    (tmp_path / "a.mat").touch()
    (tmp_path / "a.hdr").write_bytes(b"\0" * 344 + magic)
    assert companions(tmp_path / "a.img").keys() == roles
