"""Fixtures that more than one room's tests use."""

import contextlib
import html
import importlib
import os
import signal
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, settings
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row
from serving import Site, serving

from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.writer import StoreWriter

# As the command does: idle threads sleep, so that tests on a busy machine take no longer than they must.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Nobody's power fails while these run, but where that is simulated (`power_loss`), by processes of their own:
# none of them has to wait for the disk. A file that is closed is refused as ever.
os.fsync = lambda file: os.fstat(file) and None

# What a job in the background inherits as ignored its children would ignore, too, and never be stopped.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A law holds on a busy machine, too.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _same_draws_in_every_run(request: pytest.FixtureRequest) -> None:
    """What a test draws without a seed of its own depends on its name alone: a failure can be made again."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def _pdfs_where_somebody_looks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PDF takes a third of a second, and most tests that train look at none; the kit has its own."""
    kit = sys.modules.get("aggregate.paper.kit")
    if kit is not None and "paper" not in request.module.__name__:
        monkeypatch.setattr(kit, "pdf", lambda drawing: b"%PDF-")


@pytest.fixture(autouse=True, scope="session")
def _pages_where_somebody_asks() -> Iterator[None]:
    """A participant's page takes half a second, and most tests that detect look at none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aggregate.common.telling.SHOWN", 0)
        yield


@pytest.fixture(autouse=True, scope="module")
def _figures_where_somebody_looks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Drawing takes longer than training: studies have a frame in its place, but where LOOKS_AT_FIGURES."""
    module = request.module
    if getattr(module, "LOOKS_AT_FIGURES", False) or "/tests/studies/" not in module.__file__:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ModuleNotFoundError):
            patch.setattr(importlib.import_module("aggregate.report.figures.drawing"), "_element", _frame)
        yield


def _frame(figure: Any, salt: str, alt: str) -> str:
    return f'<svg role="img" aria-label="{html.escape(alt)}"></svg>'


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images that lies beside a developer's checkout; tests skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images are not on this machine")
    return folder


@dataclass(frozen=True)
class Scan:
    """One volume of a made-up store."""

    participant: str
    session: str = ""
    volume_id: str = "T1w"
    n_slices: int = 3
    shift: float = 0.0
    """Added to every token: what a label may depend on."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Whole fields of the record that differ from the example's."""


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """Serve a folder by URL until the test ends."""
    with contextlib.ExitStack() as ending:
        yield lambda folder, **options: ending.enter_context(serving(Site(Path(folder), **options)))


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[[Sequence[Scan]], StoreReader]:
    """Write a real store of random tokens (dim 7) and open it."""

    def make(scans: Sequence[Scan]) -> StoreReader:
        header = example_header(("cls", "patch_mean"), slice_chunk=5)
        keys = [VolumeKey(scan.participant, scan.session, scan.volume_id) for scan in scans]
        rows = [example_row(key, scan.n_slices) for key, scan in zip(keys, scans, strict=True)]
        location = str(tmp_path / "cohort.zarr")
        writer = StoreWriter.open(location, header, rows)
        for seed, (key, scan) in enumerate(zip(keys, scans, strict=True)):
            arrays = example_arrays(header, scan.n_slices, seed)
            arrays = {name: values + np.float32(scan.shift) for name, values in arrays.items()}
            writer.commit(example_draft(key, scan.n_slices, **scan.changes), arrays)
        return open_store(location)

    return make


def normal_arrays(header: Any, n_slices: int, seed: int) -> dict[str, Any]:
    """One volume of which slices of a height look alike: tokens that a detector can learn from.

    A token is a pattern of its row, column and height, which are the same in every volume, and a little
    noise; the foreground is a disc, and the intensity follows the row.
    """
    rows, cols, dim = next(spec.item_shape for spec in header.arrays if spec.name == "patches")
    common, own = np.random.default_rng(12345), np.random.default_rng([1, seed])
    row, col, height = (common.standard_normal((n, dim)) for n in (rows, cols, 64))
    pattern = row[:, None] + col + 0.5 * height[:n_slices, None, None]
    down, across = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, cols)
    inside = np.clip(1.6 - 1.5 * np.hypot(down, across), 0, 1)
    patches = pattern + 0.2 * own.standard_normal(pattern.shape)
    grid = (n_slices, rows, cols)
    arrays = {
        "patches": patches,
        "cls": patches.mean((1, 2)),
        "foreground": np.broadcast_to(inside, grid),
        "patch_intensity": np.broadcast_to(0.5 + 0.1 * down, grid) + 0.02 * own.standard_normal(grid),
    }
    return {name: values.astype(np.float32) for name, values in arrays.items()}


@pytest.fixture
def normal_store(tmp_path: Path) -> Callable[..., StoreReader]:
    """Write a store of `normal_arrays`, one volume per number of slices, and open it."""

    def make(
        lengths: Sequence[int],
        *,
        name: str = "normal.zarr",
        first: int = 0,
        order: Sequence[int] | None = None,
        change: Callable[[dict[str, Any], int], None] | None = None,
        record: Callable[[int], dict[str, Any]] | None = None,
        **header: Any,
    ) -> StoreReader:
        made = example_header(("cls", "patches"), **{"dim": 11, "slice_chunk": 4, **header})
        places = range(len(lengths)) if order is None else order
        keys = {place: example_key(first + place) for place in places}
        location = str(tmp_path / name)
        rows = [example_row(keys[place], lengths[place]) for place in places]
        writer = StoreWriter.open(location, made, rows)
        for place in places:
            arrays = normal_arrays(made, lengths[place], first + place)
            if change is not None:
                change(arrays, place)
            changes = {} if record is None else record(place)
            writer.commit(example_draft(keys[place], lengths[place], **changes), arrays)
        return open_store(location)

    return make


@pytest.fixture(scope="session")
def scan() -> type[Scan]:
    """The class that describes a volume to `make_store`."""
    return Scan


DETECTORS = [{"kind": "memory_bank", "size": 500}, {"kind": "mahalanobis", "shrinkage": 0.1}]


class DetectionStudy:
    """A store, a table with lesion masks of the patients, and a pipeline that has no target."""

    lengths = (9, 7, 11, 8, 9, 10, 7, 8, 9, 8, 9, 7)
    sick = range(8, 12)
    """The last four are patients, with odd tokens in two slices."""
    detectors = DETECTORS

    def __init__(self, folder: Path, normal_store: Callable[..., Any]) -> None:
        self.folder = folder
        normal_store(self.lengths, change=self.odd)
        rows = ["participant_id\tdiagnosis\tlesion_mask"]
        for place, length in enumerate(self.lengths):
            cell = f"masks/p{place:03d}.nii.gz" if place in self.sick else "n/a"
            rows.append(f"sub-p{place:03d}\t{'patient' if place in self.sick else 'control'}\t{cell}")
            if place in self.sick:
                self.mask(folder / "masks" / f"p{place:03d}.nii.gz", length)
        (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
        self.file = self.write()

    @classmethod
    def odd(cls, arrays: dict[str, Any], place: int) -> None:
        """Plant tokens that no normal has in row 1, columns 2 and 3 of a patient's slices 3 and 4."""
        if place in cls.sick:
            noise = np.random.default_rng([5, place]).standard_normal(arrays["patches"][3:5, 1, 2:4].shape)
            arrays["patches"][3:5, 1, 2:4] += 4 * noise.astype(np.float32)

    @staticmethod
    def mask(path: Path, n_slices: int, shift: int = 0) -> None:
        """The voxels of the planted tokens (or others) in the made-up geometry: canvas pixels are voxels."""
        import nibabel

        values = np.zeros((60, 70, n_slices + 4), dtype=np.uint8)
        values[24 + shift : 46 + shift, 28:56, 5:7] = 1
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(values, np.eye(4))
        image.header.set_sform(np.eye(4), code=1)
        nibabel.save(image, path)

    def write(self, name: str = "pipeline.yaml", run: str = "run", **changes: Any) -> Path:
        """A pipeline file."""
        detect = {
            "reference": {"column": "diagnosis", "value": "control"},
            "detectors": self.detectors,
            "truth": {"column": "lesion_mask"},
            "split": {"fit": 0.5, "calibration": 0.25, "test": 0.25},
            **changes,
        }
        data = {
            "run": {"folder": run},
            "cache": {"store": "normal.zarr"},
            "aggregate": {"cohort": "participants.tsv", "detect": detect},
        }
        (self.folder / name).write_text(yaml.safe_dump(data))
        return self.folder / name

    @staticmethod
    def run(file: Path, *overrides: str) -> Any:
        """Detect by any file."""
        from aggregate.detect import detect_pipeline
        from cache_schema.common.pipeline_file import load_pipeline

        return detect_pipeline(load_pipeline(file, overrides))

    def detect(self, *overrides: str) -> Any:
        """Detect by the study's own file."""
        return self.run(self.file, *overrides)


@pytest.fixture
def study(
    normal_store: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DetectionStudy:
    """A small study of detectors, in which few draws and few lesions are enough for an interval."""
    monkeypatch.setattr("aggregate.anomaly.measure.intervals.FEWEST", 1)
    monkeypatch.setattr("aggregate.anomaly.findings.measure.DRAWS", 40)
    return DetectionStudy(tmp_path, normal_store)
