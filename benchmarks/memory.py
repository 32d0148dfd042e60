"""How much memory an extraction takes at most, whatever the cohort: 8, 64 and 512 volumes.

Each size is extracted by the command's own function in a process of its own, with an untrained tiny backbone
and two decoding processes. Counted are the largest resident sizes of the process that embeds and of the
largest one that decodes; the volumes are copies of four, so that only their number differs.

    python benchmarks/memory.py --sizes 8 64 512 --json memory.json
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DISTINCT = 4


def write_cohort(folder: Path, volumes: int, shape: tuple[int, int, int]) -> None:
    """Balls of noise as compressed int16 NIfTI."""
    import nibabel as nib
    import numpy as np

    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = sum(axis**2 for axis in axes) < 0.8
    for index in range(volumes):
        place = folder / f"sub-{index:04}" / "anat" / f"sub-{index:04}_T1w.nii.gz"
        place.parent.mkdir(parents=True)
        if index >= DISTINCT:
            first = f"sub-{index % DISTINCT:04}"
            shutil.copyfile(folder / first / "anat" / f"{first}_T1w.nii.gz", place)
            continue
        noise = np.random.default_rng(index).integers(100, 4000, shape)
        nib.save(nib.Nifti1Image((ball * noise).astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0])), place)


def extract_once(folder: Path) -> dict[str, float]:
    """Extract the cohort in a folder, and say what it took."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from cache_schema.common.pipeline_file import Pipeline
    from extract.extraction import run_extraction
    from extract.planning.config import ExtractSection

    section = ExtractSection.model_validate(
        {
            "input": {"bids": "bids", "suffix": "T1w"},
            "backbone": {"kind": "untrained", "size": "tiny"},
            "canvas": 112,
            "workers": 2,
            "fsync": False,
        }
    )
    data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}}
    outcome = run_extraction(Pipeline(data, folder), section, progress=False)
    mib = [
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return {
        "volumes": outcome.embedded,
        "slices": outcome.slices,
        "seconds": outcome.seconds,
        "embedding_mib": mib[0],
        "decoding_mib": mib[1],
    }


def measure(volumes: int, shape: tuple[int, int, int], where: Path | None) -> dict[str, Any]:
    """One size, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=where) as name:
        write_cohort(Path(name) / "bids", volumes, shape)
        command = [sys.executable, __file__, "--folder", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    """Print a table, and how far the largest peak is above the smallest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--shape", type=int, nargs=3, default=[96, 112, 80])
    parser.add_argument("--where", type=Path, metavar="FOLDER", help="where cohorts are made")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(extract_once(options.folder)))
        return
    print("| volumes | slices | seconds | embedding, MiB | decoding, MiB |\n|---|---|---|---|---|")
    found = []
    for volumes in options.sizes:
        found.append(one := measure(volumes, tuple(options.shape), options.where))
        print(
            f"| {volumes} | {one['slices']} | {one['seconds']:.1f} | {one['embedding_mib']:.0f} | "
            f"{one['decoding_mib']:.0f} |",
            flush=True,
        )
    for name in ("embedding_mib", "decoding_mib"):
        peaks = [one[name] for one in found]
        print(f"{name}: the largest is {max(peaks) / min(peaks) - 1:.1%} above the smallest")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
