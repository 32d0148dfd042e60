"""Writers to an object store are killed and its server is restarted: nothing is torn, nothing is lost.

Against two servers that keep their data on disk: OpenStack Swift, which keeps nobody out by its conditional
puts, and SeaweedFS, which does.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from attacks.scene import run
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row
from swift_server import swift, swift_python
from weed_server import weed, weed_program

from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

pytestmark = pytest.mark.slow

N = 24
SLICES = 40
KILLS = 10
WRITER = """
import sys
from made_up_store import *
from cache_schema.store.writer import StoreWriter
url, n, slices, first = sys.argv[1], *map(int, sys.argv[2:])
header = example_header(slice_chunk=slices, dim=96)
writer = StoreWriter.open(url, header, [example_row(example_key(i), slices) for i in range(n)])
for i in [*range(first, n), *range(first)]:
    if writer.record(example_key(i)) is None:
        arrays = example_arrays(header, slices, i)
        writer.commit(example_draft(example_key(i), slices), arrays, tiny_png(i))
        print(i, flush=True)
"""


PIPELINE = """run: {folder: run}
cache: {store: cache.zarr}
extract:
  input: {bids: cohort, suffix: T1w}
  backbone: {kind: untrained, size: tiny, seed: 0}
  slices: {kind: uniform, n: 6}
  tokens: [patch_mean, patches]
  workers: 0
"""


@pytest.fixture(scope="module", params=["swift", "weed"])
def server(request, tmp_path_factory):
    """A running server with the bucket `cohort`."""
    folder = tmp_path_factory.mktemp(request.param)
    program = {"swift": swift_python, "weed": weed_program}[request.param]()
    if program is None:
        pytest.skip(f"there is no {request.param}; `make .venv-s3/.done` installs both servers beside")
    serve = {"swift": swift, "weed": weed}[request.param]
    with serve(folder, program) as running, pytest.MonkeyPatch.context() as environment:
        for name, value in running.environment.items():
            environment.setenv(name, value)
        if request.param == "swift":
            running.bucket("cohort")
        yield running


def started(url, first):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", WRITER, url, str(N), str(SLICES), str(first)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def undisturbed(tmp_path):
    header = example_header(slice_chunk=SLICES, dim=96)
    place = str(tmp_path / "undisturbed")
    writer = StoreWriter.open(place, header, [example_row(example_key(i), SLICES) for i in range(N)])
    for i in range(N):
        writer.commit(example_draft(example_key(i), SLICES), example_arrays(header, SLICES, i))
    return open_store(place)


@pytest.fixture
def writers():
    """Processes that write; whatever comes, none outlives its test."""
    running = []
    yield running
    for writer in running:
        writer.kill()
        writer.wait()
        writer.stdout.close()
        writer.stderr.close()


def test_ten_kills_and_a_restart_of_the_server(server, tmp_path, writers):
    """Two writers at a time; each that is killed is followed by another."""
    url, draw, began = f"s3://cohort/kills-{os.getpid()}.zarr", random.Random(0), time.monotonic()
    writers += [started(url, 0), started(url, N // 2)]
    for kill in range(KILLS):
        writers[kill % 2].stdout.readline()  # it has committed one at least, or all are
        time.sleep(draw.uniform(0, 0.3))
        writers[kill % 2].send_signal(signal.SIGKILL)
        writers[kill % 2].communicate()
        if kill == KILLS // 2:
            server.stop()
            time.sleep(1.5)
            server.start()
        writers[kill % 2] = started(url, draw.randrange(N))
        open_store(url).read("cls")  # nothing is torn at any moment
    for writer in writers:
        _, errors = writer.communicate(timeout=180)
        assert writer.returncode == 0, errors
    store, expected = open_store(url), undisturbed(tmp_path)
    assert store.content_digest() == expected.content_digest()
    found = verify_store(url, full=True)
    assert (found.problems, found.n_volumes) == ((), N)
    print(f"{KILLS} kills, a restart, {N} volumes, none torn or lost: {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A pipeline over three participants."""
    folder = tmp_path_factory.mktemp("cohort")
    answer = run("simulate", (str(folder / "cohort"), "--participants", "3", "--effect", "none"))
    assert answer.code == 0, answer.text
    (folder / "pipeline.yaml").write_text(PIPELINE)
    return str(folder / "pipeline.yaml")


def asked(verb, *words):
    answer = run(verb, words)
    assert answer.code == 0, answer.text
    return json.loads(answer.out) if "--json" in words else None


def test_it_is_extracted_to_as_to_a_folder(server, cohort, tmp_path):
    def to(url):
        return "--set", f"cache.store={url}", "--set", f"run.folder={tmp_path / url.partition(':')[0]}"

    url = f"s3://cohort/extracted-{os.getpid()}.zarr"
    asked("plan", cohort, "--create", *to(url))
    for shard in ("1/2", "0/2"):
        asked("extract", cohort, "--shard", shard, *to(url))
    there = asked("extract", cohort, *to(url), "--json")
    here = asked("extract", cohort, *to(str(tmp_path / "here.zarr")), "--json")
    assert (there["embedded"], there["skipped"]) == (0, 3)
    assert there["content_digest"] == here["content_digest"]
    asked("cache seal", url)
    asked("cache verify", "--full", url)
    gone = open_store(url).entries[0].key.participant_id
    asked("cache remove", url, gone)
    asked("cache verify", "--full", url)
    again = asked("extract", cohort, *to(url), "--json")
    assert (gone in json.dumps(again["withdrawn"]), again["skipped"]) == (True, 2)


@pytest.mark.parametrize("server", ["swift"], indirect=True)
def test_a_server_that_is_gone_is_one_line_and_the_same_command_goes_on(
    server, cohort, tmp_path, monkeypatch
):
    monkeypatch.setenv("SLICECACHE_REMOTE_RETRIES", "1")
    url = f"s3://cohort/gone-{os.getpid()}.zarr"
    words = (cohort, "--set", f"cache.store={url}", "--set", f"run.folder={tmp_path}")
    real, calls = StoreWriter.commit, []

    def commit(self, *given):
        calls.append(given)
        if len(calls) == 3:
            server.stop()
        return real(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(StoreWriter, "commit", commit)
        answer = run("extract", words)
    server.start()
    assert (answer.code, "Traceback" in answer.text) == (3, False)
    assert re.search("volumes were committed before that and stay, and the same command goes on", answer.err)
    again = asked("extract", *words, "--json")
    assert again["embedded"] + again["skipped"] == 3
    assert open_store(url).content_digest() == again["content_digest"]
