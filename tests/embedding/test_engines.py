"""The backbone by another engine than torch: same tokens, same bits wherever a slice stands, nobody told."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from cache_schema.common.errors import ConfigError, MachineError
from extract.arithmetic.trial import trial_slices
from extract.backbones.backbone import Backbone
from extract.backbones.compiled import kept, placed
from extract.backbones.compiled.graph import flat
from extract.backbones.compiled.placed import CompiledBackbone, compile_backbone
from extract.backbones.compiled.runtime import installed
from extract.backbones.huggingface.examples import CONFIGURATIONS, readable, save_example
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.backbones.untrained import UntrainedSpec

pytestmark = pytest.mark.skipif(not installed(), reason="openvino is not installed")

CPU, FLOAT32 = torch.device("cpu"), torch.float32
CANVAS, ROWS = 56, 4
ASKED = {"layers": (2,), "attention": True, "patch_layers": (1,)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "slicecache" / "graphs"


@pytest.fixture
def exact() -> Backbone:
    """Ours, with everything that can be asked of it."""
    return UntrainedSpec(registers=True).build(CANVAS, CPU, FLOAT32, **ASKED)


def compiled(backbone: Backbone, compute: str = "float32", rows: int = ROWS) -> CompiledBackbone:
    return compile_backbone(backbone, CANVAS, rows, compute, "a test's")


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_close(backbone: Backbone, other: Backbone, pixels: torch.Tensor) -> None:
    ours, theirs = backbone(pixels), other(pixels)
    assert [set(t.cls) for t in (ours, theirs)] == [set(ours.cls)] * 2
    assert set(ours.more) == set(theirs.more)
    assert flat(ours).keys() == flat(theirs).keys()
    for name, values in flat(ours).items():
        torch.testing.assert_close(flat(theirs)[name], values, rtol=0, atol=1e-4 * float(values.abs().max()))


def test_every_array_of_the_exact_path_and_every_slice(exact):
    other = compiled(exact)
    assert set(flat(exact(trial_slices(CANVAS, 1)))) == {
        "cls", "cls_l02", "patches", "patches_l01", "registers", "cls_attention",
    }  # fmt: skip
    for count in (1, ROWS, 2 * ROWS + 3):
        assert_close(exact, other, trial_slices(CANVAS, count))
    assert other.identity == exact.identity
    names = ("dim", "heads", "grid", "offers", "registers", "normalised", "largest_token")
    assert all(getattr(other, name) == getattr(exact, name) for name in names)


@pytest.mark.parametrize(
    "name", ["dinov3", *(pytest.param(n, marks=pytest.mark.slow) for n in CONFIGURATIONS if n != "dinov3")]
)
def test_networks_of_transformers(tmp_path, name):
    if not readable(name):
        pytest.skip("the installed transformers does not read it")
    spec = HuggingFaceSpec(path=save_example(tmp_path, name))
    side = 4 * spec.load().patch_size
    asked = ASKED if name in ("dinov3", "dinov2_registers") else {}
    backbone = spec.build(side, CPU, FLOAT32, **asked)
    made = compile_backbone(backbone, side, ROWS, "float32", "a test's")
    assert_close(backbone, made, trial_slices(side, ROWS + 1))


@pytest.mark.numerics
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_a_slice_has_the_same_bits_in_any_batch_place_and_number_of_threads(exact, compute, monkeypatch):
    pixels = trial_slices(CANVAS, 3 * ROWS)
    try:
        whole = flat(compiled(exact, compute)(pixels))
    except MachineError as error:  # no bfloat16 on this processor
        assert compute == "bfloat16"
        pytest.skip(str(error))
    for rows in (1, 2 * ROWS):
        assert same_bits(whole, flat(compiled(exact, compute, rows)(pixels)))
    turned = torch.arange(len(pixels)).roll(5)
    other = flat(compiled(exact, compute)(pixels[turned]))
    assert same_bits({name: values[turned] for name, values in whole.items()}, other)
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert same_bits(whole, flat(compiled(exact, compute)(pixels)))


def test_graphs_are_kept_and_what_is_damaged_is_compiled_again(exact, own_cache, monkeypatch):
    first = flat(compiled(exact)(trial_slices(CANVAS, ROWS)))
    (path,) = own_cache.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644 or path.parent.stat().st_mode & 0o077 == 0
    whole, traced = path.read_bytes(), []
    trace = placed.traced_graph
    monkeypatch.setattr(placed, "traced_graph", lambda *given: traced.append(given) or trace(*given))
    assert same_bits(first, flat(compiled(exact)(trial_slices(CANVAS, ROWS))))
    assert not traced
    for damaged in (b"", whole[:-9], whole[:70] + b"x" + whole[71:], b"0" * 64 + whole[64:]):
        path.write_bytes(damaged)
        assert same_bits(first, flat(compiled(exact)(trial_slices(CANVAS, ROWS))))
        assert traced.pop()
        assert path.read_bytes()[64:] != damaged[64:] or damaged[:64] == b"0" * 64
    other = UntrainedSpec(registers=True, seed=1).build(CANVAS, CPU, FLOAT32, **ASKED)
    compiled(other)
    assert traced.pop()
    assert len(list(own_cache.iterdir())) == 2


def test_only_the_graphs_used_last_are_kept_and_a_place_that_cannot_be_written_is_none(
    own_cache, monkeypatch
):
    for number in range(kept.MOST + 3):
        kept.keep(f"{number:02}", b"graph")
        os.utime(own_cache / f"{number:02}.graph", ns=(number, number))
    assert len(list(own_cache.iterdir())) == kept.MOST
    assert kept.read_kept("00") is None
    assert kept.read_kept(f"{kept.MOST + 2:02}") == b"graph"
    taken = own_cache.parent / "file"
    taken.write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(taken))
    kept.keep("x", b"graph")
    assert kept.read_kept("x") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(own_cache.parent))
    assert kept.cache_folder() == own_cache.parent / ".cache" / "slicecache" / "graphs"


def test_passes_at_a_time_change_no_bit(exact, monkeypatch):
    pixels = trial_slices(CANVAS, 5 * ROWS - 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = compiled(exact)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    several = compiled(exact)
    assert (alone.at_once, several.at_once) == (1, 2)
    with ThreadPoolExecutor(4) as pool:  # more callers than passes
        found = list(pool.map(several, [pixels] * 4))
    expected = flat(alone(pixels))
    for each in found:
        assert same_bits(flat(each), expected)


def test_a_graph_that_gives_fewer_rows_is_refused(exact):
    class Short:
        def create_infer_request(self):
            return self

        def infer(self, given, share_inputs):
            return {name: values[: ROWS // 2].numpy() for name, values in whole.items()}

    whole = flat(exact(trial_slices(CANVAS, ROWS)))
    short = CompiledBackbone(exact, Short(), tuple(whole), (ROWS, 3, CANVAS, CANVAS))
    with pytest.raises(MachineError, match=r"2 rows of .* for 4 slices"):
        short(trial_slices(CANVAS, ROWS))


def test_what_is_not_here_is_said_in_one_sentence(exact, monkeypatch):
    monkeypatch.setattr(placed, "capabilities", lambda: ("FP32",))
    with pytest.raises(MachineError, match="no bfloat16 for openvino"):
        compiled(exact, "bfloat16")
    monkeypatch.setattr(placed, "installed", lambda: False)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'slicecache\[openvino\]'"):
        compiled(exact)


GUARDED = """
import json, os, sys
told = []
def guard(event, given):
    reaching = ("socket.__new__", "socket.connect", "socket.getaddrinfo", "subprocess", "os.fork", "os.exec")
    if event.startswith((*reaching, "os.posix_spawn", "os.system")):
        told.append(event)
import torch, platform
platform.processor()
from extract.backbones.untrained import UntrainedSpec
from extract.backbones.compiled.placed import compile_backbone
from extract.arithmetic.trial import trial_slices
backbone = UntrainedSpec().build(56, torch.device("cpu"), torch.float32)
sys.addaudithook(guard)
for _ in range(2):
    compile_backbone(backbone, 56, 4, "float32", "a test's")(trial_slices(56, 4))
print(json.dumps({"told": told, "loaded": [name for name, module in sys.modules.items() if module]}))
"""


def test_nobody_is_told_and_nothing_is_written_home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "kept")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GUARDED],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen["told"] == []
    assert "openvino_telemetry" not in seen["loaded"]
    assert list(home.iterdir()) == []
    assert len(list((tmp_path / "kept/slicecache/graphs").iterdir())) == 1


FIRST_TOGETHER = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
import numpy as np
from extract.backbones.compiled.runtime import runtime_core, silent_openvino
openvino = silent_openvino()
alone, first = [], openvino.InferRequest.infer
def noted(self, *given, **more):
    alone.append(threading.current_thread() is threading.main_thread())
    return first(self, *given, **more)
openvino.InferRequest.infer = noted
core = runtime_core()
assert alone == [True], alone
from openvino import Model
from openvino.opset13 import parameter, relu, result
x = parameter([8, 64], np.float32)
graph = core.compile_model(Model([result(relu(x))], [x]), "CPU", {"NUM_STREAMS": 2})
requests, ready = [graph.create_infer_request() for _ in range(2)], threading.Barrier(2)
sys.setswitchinterval(1e-6)
def one(request):
    ready.wait()
    request.infer([np.ones((8, 64), np.float32)], share_inputs=True)[0]
threads = [threading.Thread(target=one, args=(request,), daemon=True) for request in requests]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("both")
"""
"""Two threads whose first passes meet: without a pass before them one process in ten never ended."""


def test_two_threads_that_come_first_together_do_not_wait_for_each_other():
    done = subprocess.run(
        [sys.executable, "-c", FIRST_TOGETHER], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "both", done.stderr[-1500:]
