"""`slicecache backbone fetch` against a hub on this machine, and what a lock refuses afterwards."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_server import COMMIT, Hub, Repository, hub_serving
from serving import Fault

import slicecache
from cache_schema.common.errors import ConfigError
from extract.backbones.checkpoint.hub import HubSource, beginning, first_sentence
from extract.backbones.checkpoint.hub import snapshot as snapshot_of
from extract.backbones.checkpoint.lock import BackboneLock, read_lock
from extract.backbones.dinov2 import Dinov2Spec, write_example
from extract.backbones.huggingface.dinov3 import Dinov3Spec
from extract.backbones.present import weights_missing
from extract.backbones.weights import read_weights, weights_digest
from extract.fetch.names import listed
from extract.fetch.show import show

ROOT = Path(__file__).parents[2]
NAME, ID = "dinov2/lab/small", "lab/small"


@pytest.fixture
def checkpoint(tmp_path):
    """What the hub has of `lab/small`, with files that nobody should fetch."""
    folder = write_example(tmp_path / "upstream", gated=False, registers=False)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit('code of a repository ran')")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"another format")
    return folder


@pytest.fixture
def hub(tmp_path, checkpoint, monkeypatch):
    """The hub, as this process's endpoint, and an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    made = Hub(tmp_path / "none", repositories={ID: Repository(checkpoint)})
    with hub_serving(made):
        at(made.url, monkeypatch)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the package waits between its attempts
        yield made


def at(url, monkeypatch):
    """What `HF_ENDPOINT` does when the package is imported."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    for module in ("constants", "file_download"):  # old versions keep it in both
        place = f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE"
        monkeypatch.setattr(place, url + template, raising=False)


def command(*given):
    return slicecache.guarded(slicecache.cli.main, ["backbone", "fetch", *map(str, given)])


def refusal(capsys, *given, code=2):
    """The one sentence that a fetch ends with."""
    assert command(*given) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def write_pipeline(folder, **backbone):
    folder.mkdir(exist_ok=True)
    content = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {"input": {"bids": "images"}, "backbone": {"kind": "dinov2", **backbone}},
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def snapshot(tmp_path):
    return tmp_path / "cache" / "models--lab--small" / "snapshots" / COMMIT


def test_what_is_read_is_fetched_into_the_cache_and_written_down(hub, tmp_path, checkpoint, capsys):
    assert weights_missing(Dinov2Spec(repository=ID), tmp_path)
    assert command(NAME, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    lock = read_lock(Path("dinov2-lab-small.lock.json"))
    assert (lock.kind, lock.repository, lock.revision) == ("dinov2", ID, COMMIT)
    assert [file.name for file in lock.files] == ["config.json", "model.safetensors"]
    assert lock.weights_sha256 == said["weights_sha256"] == weights_digest(read_weights(checkpoint))
    assert sorted(path.name for path in snapshot(tmp_path).iterdir()) == ["config.json", "model.safetensors"]
    assert weights_missing(Dinov2Spec(repository=ID), tmp_path) is None


def test_from_the_login_node_to_a_node_without_a_network(tmp_path, checkpoint):
    """As typed: `HF_ENDPOINT` and `HF_HOME` in the environment, the hub gone before the extraction."""
    archive = Path(__file__).parents[1] / "data" / "v1"
    shutil.copytree(archive / "images", tmp_path / "images")
    text = (archive / "pipeline.yaml").read_text()
    lines = [line for line in text.splitlines() if "backbone:" not in line]
    own = f"  backbone: {{kind: dinov2, repository: {ID}, lock: dino.lock.json}}"
    (tmp_path / "pipeline.yaml").write_text("\n".join(lines).replace("\nextract:", f"\nextract:\n{own}"))

    def typed(*words, **environment):
        command = [sys.executable, ROOT / "slicecache.py", *words, tmp_path / "pipeline.yaml", "--json"]
        env = {**os.environ, "HF_HOME": str(tmp_path / "home"), **environment}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)

    with hub_serving(Hub(tmp_path / "none", repositories={ID: Repository(checkpoint)})) as hub:
        code, fetched = typed("backbone", "fetch", HF_ENDPOINT=hub.url)
    assert code == 0
    assert fetched["lock_file"] == str(tmp_path / "dino.lock.json")
    code, extracted = typed("extract", HF_ENDPOINT="http://127.0.0.1:9")
    assert (code, extracted["embedded"]) == (1, 9), "one of the archive's images cannot be embedded"
    header = json.loads((tmp_path / "unsealed.zarr" / "header.json").read_text())["header"]
    assert header["fingerprint"]["backbone"]["weights_sha256"] == fetched["weights_sha256"]


def test_a_folder_appears_whole_with_its_lock_and_is_not_fetched_twice(hub, tmp_path, capsys):
    folder = tmp_path / "weights"
    assert command(NAME, "--to", folder) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["backbone.lock.json", "config.json", "model.safetensors"]
    spec = Dinov2Spec(path=folder, lock=folder / "backbone.lock.json")
    assert weights_missing(spec, tmp_path) is None
    digest = weights_digest(spec.load(offline=True).weights)
    assert digest == read_lock(folder / "backbone.lock.json").weights_sha256
    asked = len(hub.asked)
    assert command(NAME, "--to", folder) == 0
    assert "already there" in capsys.readouterr().out
    assert len(hub.asked) == asked


def test_the_lock_of_a_pipeline_lies_beside_it_and_is_obeyed(hub, tmp_path, capsys):
    pipeline = write_pipeline(tmp_path / "study", repository=ID)
    assert command(pipeline) == 0
    lock = tmp_path / "study" / "pipeline.lock.json"
    assert str(lock) in capsys.readouterr().out
    write_pipeline(tmp_path / "study", repository=ID, lock="pipeline.lock.json")
    hub.repositories[ID].refs["main"] = "f" * 40  # the branch moves on, the lock does not
    asked = len(hub.asked)
    spec = Dinov2Spec(repository=ID, lock=Path("pipeline.lock.json")).located(tmp_path / "study")
    spec.load()
    assert len(hub.asked) == asked
    before = lock.read_bytes()
    hub.repositories[ID].refs["old"] = COMMIT
    assert command(pipeline) == 0
    assert lock.read_bytes() == before


def test_every_backbone_of_a_pipeline_is_fetched_once_with_a_lock_of_its_own(
    hub, checkpoint, tmp_path, capsys
):
    pipeline = write_pipeline(tmp_path / "study", repository=ID)
    data = yaml.safe_load(pipeline.read_text())
    other = write_example(tmp_path / "other", gated=False, registers=True)
    hub.repositories["lab/other"] = Repository(other)
    backbones = {
        "main": {"kind": "dinov2", "repository": ID},
        "wide": {"kind": "dinov2", "repository": "lab/other"},
        "none": {"kind": "untrained"},
    }
    data["extract"]["stores"] = {name: {"backbone": each} for name, each in backbones.items()}
    data["extract"]["stores"]["same"] = {"preset": "dinoatten3d"}
    pipeline.write_text(yaml.safe_dump(data, sort_keys=False))
    assert "--to is for one backbone, and the stores" in refusal(capsys, pipeline, "--to", "weights")
    assert "--lock is for one" in refusal(capsys, pipeline, "--lock", "x.json")
    assert hub.asked == []
    assert command(pipeline, "--json") == 0
    said = json.loads(capsys.readouterr().out)["backbones"]
    assert {name: each["fetched"] for name, each in said.items()} == {
        "main": True,
        "wide": True,
        "none": False,
    }
    locks = {name: read_lock(tmp_path / "study" / f"pipeline-{name}.lock.json") for name in ("main", "wide")}
    assert locks["main"].weights_sha256 == weights_digest(read_weights(checkpoint))
    assert locks["wide"].weights_sha256 == weights_digest(read_weights(other))
    assert command(pipeline) == 0
    out = capsys.readouterr().out
    assert "store main: fetched lab/small" in out
    assert "store none: nothing to fetch" in out
    with pytest.raises(ConfigError, match=r"several backbones \(main: .*lab/small.*, wide: .*lab/other"):
        show(str(pipeline))


def test_a_lock_that_is_named_but_not_there_is_written(hub, tmp_path):
    pipeline = write_pipeline(tmp_path / "study", repository=ID, lock="locks/dino.json")
    (tmp_path / "study" / "locks").mkdir()
    assert command(pipeline) == 0
    assert read_lock(tmp_path / "study" / "locks" / "dino.json").repository == ID


def other_bytes(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.resolve().read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (other_bytes, r"has sha256 \w{64}, not \w{64}"),
        (lambda f: (f / "config.json").write_text("{}"), "has 2 bytes, not"),
        (lambda f: (f / "model.safetensors").unlink(), "there is no .*model.safetensors"),
        (lambda f: (f / "second.safetensors").write_bytes(b""), "second.safetensors.* should not be"),
    ],
)
def test_what_is_not_what_was_fetched_is_refused_by_name(hub, tmp_path, spoil, says):
    folder = tmp_path / "weights"
    assert command(NAME, "--to", folder) == 0
    spec = Dinov2Spec(path=folder, lock=folder / "backbone.lock.json")
    spec.load()
    spoil(folder)
    with pytest.raises(ConfigError, match=rf"not what was fetched: .*{says}.*backbone\.lock\.json"):
        spec.load(offline=True)


def test_a_lock_of_another_backbone_names_both(hub, tmp_path):
    assert command(NAME, "--lock", "here.json") == 0
    with pytest.raises(ConfigError, match=r"'lab/small', and the pipeline's is 'facebook/dinov2-base'"):
        Dinov2Spec(size="base", lock=tmp_path / "here.json").load()
    assert "facebook/dinov2-base" in weights_missing(
        Dinov2Spec(size="base", lock=Path("here.json")), tmp_path
    )


def test_a_lock_without_its_snapshot_asks_nobody(hub, tmp_path):
    assert command(NAME, "--lock", "here.json") == 0
    shutil.rmtree(tmp_path / "cache")
    asked = len(hub.asked)
    spec = Dinov2Spec(repository=ID, lock=tmp_path / "here.json")
    with pytest.raises(ConfigError, match="a lock is given"):
        spec.load()
    assert "not on this machine" in weights_missing(spec, tmp_path)
    assert len(hub.asked) == asked


def cut(handler):
    """Half of the file, then nobody."""
    data = (handler.site.repositories[ID].folder / "model.safetensors").read_bytes()
    headers = {"X-Repo-Commit": COMMIT, "ETag": '"1"'}
    handler.answer(200, data[: len(data) // 2], len(data), **headers)


@pytest.mark.parametrize("to", [[], ["--to", "weights"]])
def test_an_interrupted_fetch_leaves_nothing_under_its_name_and_goes_on(
    hub, tmp_path, capsys, monkeypatch, to
):
    hub.faults.append(Fault(lambda handler: handler.answer(503, b"busy"), "model.safetensors"))
    before = {path.name for path in tmp_path.iterdir()}
    line = refusal(capsys, NAME, *to, code=3)
    assert "127.0.0.1" in line
    assert "the same command goes on" in line
    assert {path.name for path in tmp_path.iterdir()} - before <= {"cache"}
    assert weights_missing(Dinov2Spec(repository=ID), tmp_path)
    hub.faults.clear()
    assert command(NAME, *to) == 0
    lock = Path("weights/backbone.lock.json") if to else Path("dinov2-lab-small.lock.json")
    assert read_lock(lock).repository == ID


def test_a_connection_that_breaks_off_in_a_file_leaves_no_half(hub, tmp_path, capsys, monkeypatch):

    def breaks(handler):
        handler.gives() if handler.command == "HEAD" else cut(handler)

    hub.faults.append(Fault(breaks, "model.safetensors"))
    assert command(NAME, "--to", "weights") == 3
    assert not Path("weights").exists()
    assert [path.name for path in tmp_path.iterdir() if "writing" in path.name] == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dinov2/lab/none", "no such repository"),
        ("dinov2/lab/small@v9", "at 'v9': .* no such repository or revision"),
        ("dinov2/lab/gated", "accept the licence at .* `hf auth login`, or set HF_TOKEN"),
        ("dinov2/lab/..", "'lab/..'"),
        ("dinov2/smal", "did you mean 'dinov2/small'"),
        ("mystery/lab/small", "there is no backbone"),
        ("none.yaml", "none.yaml"),
    ],
)
def test_what_cannot_be_fetched_is_a_mistake_in_one_line(hub, capsys, name, says):
    assert re.search(says, refusal(capsys, name))
    assert not list(Path().glob("*.lock.json"))


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(hub, checkpoint, tmp_path, capsys):
    (checkpoint / "model.safetensors").unlink()
    assert "pickled weights can run code" in refusal(capsys, NAME)
    assert not any("resolve" in path for path in hub.asked)


def test_bytes_that_the_hub_did_not_announce_are_refused(hub, capsys):
    hub.repositories[ID].announced["model.safetensors"] = "a" * 64
    assert "the hub says aaaa" in refusal(capsys, NAME, "--to", "weights")
    assert not Path("weights").exists()


def test_a_checkpoint_that_is_none_of_this_kind_gets_no_lock(hub, checkpoint, capsys):
    (checkpoint / "config.json").write_text('{"model_type": "bert"}')
    assert "'bert'" in refusal(capsys, NAME, "--to", "weights")
    assert not Path("weights").exists()


def test_an_offline_switch_and_a_hub_that_is_gone(hub, capsys, monkeypatch):
    with monkeypatch.context() as switched:
        switched.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE" in refusal(capsys, NAME)
    at("http://127.0.0.1:9", monkeypatch)
    assert "127.0.0.1:9" in refusal(capsys, NAME, code=3)


def test_a_full_disk_is_the_machines(hub, capsys, monkeypatch):
    def full(*given, **named):
        raise OSError(errno.ENOSPC, "No space left on device", "cache/x")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    assert "disk is full" in refusal(capsys, NAME, code=3)


def test_options_that_contradict_each_other(hub, capsys, tmp_path):
    assert "--lock is not for --to" in refusal(capsys, NAME, "--to", "w", "--lock", "l")
    assert "--set is for a pipeline" in refusal(capsys, NAME, "--set", "extract.offline=true")
    assert command(NAME, "--to", "weights") == 0
    other = Repository(hub.repositories[ID].folder)
    hub.repositories["lab/other"] = other
    capsys.readouterr()
    assert "name another folder" in refusal(capsys, "dinov2/lab/other", "--to", "weights")
    Path("taken").mkdir()
    assert "there already" in refusal(capsys, NAME, "--to", "taken")


def test_what_has_nothing_to_fetch_says_so(hub, capsys, tmp_path):
    assert command("untrained/tiny") == 0
    assert "drawn from the seed" in capsys.readouterr().out
    assert command(write_pipeline(tmp_path / "study", path="../upstream")) == 0
    assert "nothing to fetch" in capsys.readouterr().out
    assert hub.asked == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"extra": 1}, "'extra', which this version"),
        ({"revision": "main"}, "revision"),
        ({"files": []}, "files"),
        ({"files": [{"name": "../x", "bytes": 1, "sha256": "a" * 64}]}, "name"),
        ({"files": [{"name": "x", "bytes": -1, "sha256": "a" * 64}]}, "bytes"),
    ],
)
def test_a_foreign_lock_is_held_to_its_form(tmp_path, change, says):
    file = {"name": "x", "bytes": 1, "sha256": "a" * 64}
    lock = {
        "kind": "dinov2",
        "repository": ID,
        "revision": COMMIT,
        "weights_sha256": "b" * 64,
        "files": [file],
    }
    path = tmp_path / "lock.json"
    path.write_text(json.dumps(lock))
    assert read_lock(path) == BackboneLock.model_validate(lock)
    path.write_text(json.dumps(lock | change))
    with pytest.raises(ConfigError, match=says):
        read_lock(path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"lock\.json"):
        read_lock(path)


def test_a_lock_and_a_revision_contradict_each_other():
    with pytest.raises(ValueError, match="not both"):
        Dinov2Spec(lock=Path("x"), revision="main")


def test_specs_without_a_lock_are_stored_as_before():
    assert "lock" not in Dinov2Spec().model_dump(mode="json")
    assert Dinov2Spec(lock=Path("x")).model_dump(mode="json")["lock"] == "x"


def test_the_list_counts_what_a_checkpoint_holds(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert slicecache.guarded(slicecache.cli.main, ["backbone", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["backbones"]}
    assert set(rows) == {name for name, _, _ in listed()}
    assert rows["dinov2/giant"]["parameters"] == 1_136_480_768 - 1536  # of a mask token, which nothing uses
    assert (rows["dinov2/small"]["here"], rows["untrained/tiny"]["here"]) == (False, True)
    for name, spec, shape in listed():
        if name.startswith("untrained/tiny"):
            weights = spec.load().weights.values()
            assert sum(tensor.numel() for tensor in weights) == shape.count() == rows[name]["parameters"]
    assert slicecache.guarded(slicecache.cli.main, ["backbone", "list"]) == 0
    assert str(tmp_path) in capsys.readouterr().out


def test_gated_weights_say_the_licence_and_the_command(hub, capsys):
    hub.repositories[ID].gated = True
    line = refusal(capsys, NAME)
    let_in = f"accept the licence at {hub.url}/{ID} and log in with `hf auth login`, or set HF_TOKEN"
    assert f"{let_in}, then fetch again" in line
    with pytest.raises(ConfigError, match=r"weights are gated: accept the licence at .*lab/small"):
        Dinov2Spec(repository=ID).load()


def test_what_the_hub_says_ends_with_a_whole_word():
    said = beginning(ValueError("sentence " * 60 + "\n end"))
    assert len(said) <= 300
    assert said.endswith("sentence ...")
    assert beginning(ValueError("  short\n one ")) == "short one"


def test_the_processor_is_fetched_with_the_weights(hub, checkpoint, tmp_path):
    (checkpoint / "preprocessor_config.json").write_text("{}")
    assert command(NAME, "--to", str(tmp_path / "mine")) == 0
    assert (tmp_path / "mine" / "preprocessor_config.json").is_file()


def test_dinov3_that_is_not_here_says_how_it_gets_here(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    said = weights_missing(Dinov3Spec(size="large"), tmp_path)
    assert "facebook/dinov3-vitl16-pretrain-lvd1689m" in said
    assert "accept the licence at " in said
    assert "slicecache backbone fetch" in said
    with pytest.raises(ConfigError, match=r"offline is set.*its weights are gated: accept the licence at"):
        Dinov3Spec(size="large").load(offline=True)


@pytest.mark.parametrize("offline", [False, True])
def test_without_the_hub_one_sentence_of_the_librarys_and_what_needs_no_weights(hub, monkeypatch, offline):
    at("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ConfigError, match="cannot get the backbone 'lab/small'") as refused:
        snapshot_of(HubSource(ID), offline)
    said = str(refused.value)
    assert "backbone: {kind: untrained, size: tiny} tries everything out without weights" in said
    assert "backbone fetch PIPELINE" in said
    library = said.rpartition(" (")[2]
    assert len(library) < 130  # one sentence, whichever a version begins with, and never its advice
    assert "To enable" not in said
    assert "check your internet" not in said


def test_a_first_sentence_ends_where_it_ends():
    assert first_sentence(OSError("Got: Error: [Errno -2] x.y unknown\nAn error happened. Try.")) == (
        "Got: Error: [Errno -2] x.y unknown"
    )
    assert first_sentence(OSError("Cannot find it. Pass this.")) == "Cannot find it"
    assert first_sentence(OSError("word " * 99)).endswith("word ...")
    assert first_sentence(OSError()) == "OSError"
