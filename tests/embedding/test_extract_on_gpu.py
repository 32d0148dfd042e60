"""What an embedder does on a GPU, on a pretended one: how images travel, where results are, when it waits."""

import numpy as np
import pytest
import torch
from far_device import FAR, far_device
from made_up_slices import MEAN, STD, draft_of, prepared_of

from cache_schema.format.header import BackboneIdentity
from extract.backbones.backbone import Tokens
from extract.engines import device as devices
from extract.engines import embed as embedding
from extract.engines.embed import Embedder
from extract.slices.prepare import PreparedVolume

CPU = torch.device("cpu")
NAMES = frozenset({"cls", "patch_mean", "patches", "foreground", "patch_intensity"})


class Blocks:
    """A backbone whose tokens are means of the image; its memory holds some slices only."""

    identity = BackboneIdentity(architecture={}, weights_sha256="0" * 64, position_table="native")
    dim, heads, grid, largest_token = 3, 1, (4, 4), 1.0
    offers, normalised = frozenset({"cls"}), None

    def __init__(self, room: int = 100) -> None:
        self.room = room

    def __call__(self, pixels):
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        patches = torch.nn.functional.avg_pool2d(pixels, 14).permute(0, 2, 3, 1)
        return Tokens({"cls": pixels.mean(dim=(2, 3))}, patches)


class Event:
    """Stands in for one of CUDA's: says that it was waited for."""

    waited = 0

    def __init__(self, enable_timing: bool = False) -> None: ...
    def record(self) -> None: ...
    def synchronize(self) -> None:
        Event.waited += 1


def embedded(volumes, device, batch_size=8, backbone=None):
    embedder = Embedder(backbone or Blocks(), device, NAMES, batch_size, MEAN, STD)
    done = [finished for volume in volumes for finished in embedder.add(volume)]
    done += embedder.flush()
    return {made.draft.participant_id: made for made in done}, embedder


@pytest.fixture
def gpu(monkeypatch):
    """One whose every wait is counted."""
    monkeypatch.setattr(devices, "ASYNCHRONOUS", (FAR.type,))
    monkeypatch.setattr(embedding, "device_name", lambda device: "Pretended GPU")
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(Event, "waited", 0)


def hold_alike(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, made in found.items():
        assert made.draft.empty_patch_slices == expected[name].draft.empty_patch_slices
        assert made.arrays.keys() == NAMES
        for array, values in made.arrays.items():
            np.testing.assert_allclose(values, expected[name].arrays[array], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(made.shown, expected[name].shown)


def stored(name: str, dtype: str) -> PreparedVolume:
    """Images that come as they are, or as a file stores them."""
    made = prepared_of(name, 6)
    top = {"uint8": 255, "int16": 3000}[dtype]
    return PreparedVolume(
        draft_of(name, 6), (made.images * top).astype(dtype), made.mask, made.row_weights, made.column_weights
    )


def test_a_gpu_gives_what_a_cpu_gives_and_images_travel_pinned_and_small(gpu):
    volumes = [prepared_of("a", 5, empty=2), stored("b", "uint8"), stored("c", "int16")]
    expected, _ = embedded(volumes, CPU)
    with far_device() as copied:
        found, embedder = embedded(volumes, FAR)
    hold_alike(found, expected)
    assert all(made.draft.processor == "Pretended GPU" for made in found.values())
    images = [copy for copy in copied if copy.there and copy.elements >= 5 * 61 * 47]
    assert [copy.dtype for copy in images] == [
        *(torch.float32, torch.uint8),  # what was converted to grey before, and its mask
        *(torch.uint8, torch.uint8),
        *(torch.int16, torch.uint8),
    ]
    assert all(copy.pinned and not copy.waits for copy in images)
    back = [copy for copy in copied if not copy.there]
    tokens = [copy for copy in back if copy.elements > 1]
    assert len(tokens) >= 3 * len(NAMES)
    assert not any(copy.waits for copy in tokens)
    assert Event.waited == -(-embedder.slices // 8)  # once for each batch, when the next one is under way


def test_a_batch_is_collected_while_the_next_one_computes(gpu, monkeypatch):
    """The device has its next batch before anything waits for the one before."""
    order: list[str] = []

    class Told(Blocks):
        def __call__(self, pixels):
            order.append("sent")
            return super().__call__(pixels)

    class Waits(Event):
        def synchronize(self) -> None:
            order.append("collected")

    monkeypatch.setattr(torch.cuda, "Event", Waits)
    with far_device():
        embedded([prepared_of("a", 24)], FAR, backbone=Told())
    assert order == ["sent", "sent", "collected", "sent", "collected", "collected"]


def test_memory_that_runs_out_on_a_gpu_halves_the_batch(gpu, monkeypatch):
    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    volumes = [prepared_of("a", 9), prepared_of("b", 14)]
    expected, _ = embedded(volumes, CPU)
    with far_device():
        found, embedder = embedded(volumes, FAR, 16, Blocks(3))
    hold_alike(found, expected)
    assert embedder.batch_size == 2
    assert len(emptied) == len(embedder.notes) == 3
