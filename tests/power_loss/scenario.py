"""What is recorded: real commands on a small cohort, and marks of what they have promised when they return.

    python scenario.py BASE MARKS [--no-fsync]

`BASE` holds `bids`, `later` (volumes that are added and changed on the way) and `pipeline.yaml`; the store
and the run folder come to lie in `BASE/disk`, which is what the power failures hit.
"""

import os
import shutil
import sys
from pathlib import Path

import yaml

VOLUMES, LATER = 4, 2
STORE = "disk/run/cache.zarr"


def write_cohort(base: Path) -> None:
    """Small balls of noise, each of another length, and a pipeline that embeds them."""
    import nibabel as nib
    import numpy as np

    def write(folder: str, index: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        shape = (31, 37, 13 + index)
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        values = ((sum(axis**2 for axis in axes) < 0.6) * rng.uniform(50, 200, shape)).astype(np.float32)
        anat = base / folder / f"sub-{index:02}" / "anat"
        anat.mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, np.diag([5, 5, 5, 1])), anat / f"sub-{index:02}_T1w.nii.gz")

    for index in range(VOLUMES):
        write("bids", index, index)
    for index in range(VOLUMES, VOLUMES + LATER):
        write("later", index, index)
    write("later", 0, 99)
    extract = {
        "input": {"bids": "bids"},
        "canvas": 56,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "tokens": ["cls", "patch_mean", "patches"],
        "dtype": "float32",
        "device": "cpu",
        "workers": 0,
    }
    data = {"run": {"folder": "disk/run"}, "cache": {"store": STORE}, "extract": extract}
    (base / "pipeline.yaml").write_text(yaml.safe_dump(data))
    (base / "disk").mkdir()


def command(base: Path, *arguments: str, marks: int | None = None) -> None:
    """One command, as its user types it."""
    import slicecache

    verb = "extract" if arguments[0] == "extract" else "cache"
    given = (
        [arguments[0], str(base / "pipeline.yaml")]
        if verb == "extract"
        else [verb, arguments[0], str(base / STORE)]
    )
    if verb == "extract" and marks is not None:
        os.write(marks, b"begin\n")
    code = slicecache.guarded(slicecache.cli.main, [*given, *arguments[1:]])
    if code:
        raise SystemExit(f"{arguments} ended with {code}")


def add_later(base: Path, *names: str) -> None:
    """New or changed images arrive."""
    for name in names:
        shutil.copytree(base / "later" / name, base / "bids" / name, dirs_exist_ok=True)


def all_later(base: Path) -> None:
    """Bring the images into their last state."""
    add_later(base, *(path.name for path in sorted((base / "later").iterdir())))


def mark_promises(marks: int) -> None:
    """Say in the recording what was promised, just after it was, or is about to be taken back."""
    from cache_schema.store.writer import StoreWriter

    commit, remove = StoreWriter.commit, StoreWriter.remove_record

    def marked_commit(self, draft, *arguments, **options):
        record = commit(self, draft, *arguments, **options)
        os.write(marks, f"committed {draft.key} {record.digest}\n".encode())
        return record

    def marked_remove(self, key):
        os.write(marks, f"replacing {key}\n".encode())
        remove(self, key)

    StoreWriter.commit, StoreWriter.remove_record = marked_commit, marked_remove


def main() -> None:
    """Embed, seal, embed more, seal, pack, unpack, replace."""
    base, how = Path(sys.argv[1]), sys.argv[3:]
    marks = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    mark_promises(marks)
    command(base, "extract", *how, marks=marks)
    command(base, "seal")
    os.write(marks, b"sealed\n")
    add_later(base, "sub-04", "sub-05")
    command(base, "extract", *how, marks=marks)
    command(base, "seal")
    os.write(marks, b"sealed\n")
    command(base, "pack")
    os.write(marks, b"sealed and packed\n")
    command(base, "unpack")
    os.write(marks, b"sealed and unpacked\n")
    add_later(base, "sub-00")
    command(base, "extract", "--replace", *how, marks=marks)


if __name__ == "__main__":
    main()
