"""`extract --engine slurm` from one end to the other, with programs that stand in for Slurm's."""

import json
from pathlib import Path

import pytest
import yaml
from made_up_inputs import write_inputs

from cache_schema.cluster import site as site_module
from cache_schema.cluster.site import VARIABLE
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from slicecache import cli, guarded

SBATCH = """#!/bin/bash
here=$(dirname "$0")
echo "$@" >>"$here/sbatch.said"
count=$(cat "$here/count" 2>/dev/null || echo 10)
echo $((count + 1)) | tee "$here/count"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images and a pipeline, a Slurm that takes everything, and a queue that the test writes."""
    write_inputs(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "sbatch": SBATCH,
        "squeue": f"#!/bin/bash\ncat {programs}/queue\n",
        "scancel": f'#!/bin/bash\necho "$@" >>{programs}/scancel.said\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "queue").write_text("")
    (tmp_path / "site.yaml").write_text("{tasks: 3, partition: gpu}")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "site.yaml"))
    monkeypatch.setattr(site_module, "USUAL", tmp_path / "usual.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = guarded(cli.main, ["extract", "pipeline.yaml", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def submitted(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    code, out, err = typed(capsys, "--engine", "slurm", "--json", *words)
    assert code == 0, err
    return json.loads(out)


def test_a_dry_run_prints_both_scripts_and_does_nothing(place, capsys):
    code, out, _ = typed(capsys, "--engine", "slurm", "--dry-run", "--set", "extract.batch_size=3")
    assert code == 0
    assert "#SBATCH --array=0-2\n" in out
    assert "# partition: site file\n#SBATCH --partition=gpu\n" in out
    assert f"Settings: site file {str(place / 'site.yaml')!r}" in out
    assert f"extract {place}/pipeline.yaml --set extract.batch_size=3 --shard auto/3 &" in out
    assert f"cache finish {place}/run/cache.zarr\n" in out
    assert not (place / "run").exists()
    assert not (place / "bin" / "sbatch.said").exists()


def test_a_dry_run_needs_no_slurm(place, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, _ = typed(capsys, "--engine", "slurm", "--dry-run", "--no-pack", "--json")
    assert code == 0
    assert json.loads(out)["scripts"]["finish.sh"].endswith("--no-pack\n")


def test_flags_reach_the_tasks(place, capsys):
    _, out, _ = typed(capsys, "--engine", "slurm", "--dry-run", "--replace", "--check-hashes", "--no-fsync")
    for value in ("extract.replace=true", "extract.check_hashes=true", "extract.fsync=false"):
        assert f"--set {value} " in out


def test_the_scripts_say_that_there_is_no_network_and_where_weights_lie(place, capsys, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/weights of all")
    _, out, _ = typed(capsys, "--engine", "slurm", "--dry-run")
    assert "export HF_HUB_OFFLINE=1\nexport HF_HOME='/weights of all'\n" in out


def test_it_plans_submits_both_and_says_what_to_type_next(place, capsys):
    code, out, _ = typed(capsys, "--engine", "slurm")
    assert code == 0
    assert "array job 11: 3 tasks, 5 volumes" in out
    assert "finishing job 12" in out
    assert f"next: slicecache status {place}/run/cache.zarr" in out
    scripts = place / "run" / "slurm"
    said = (place / "bin" / "sbatch.said").read_text().splitlines()
    assert said == [
        f"--parsable {scripts}/extract.sh",
        f"--parsable --dependency=afterany:11 {scripts}/finish.sh",
    ]
    assert len(open_store(str(place / "run" / "cache.zarr")).table()) == 5
    assert (place / "run" / "extract" / "plan.jsonl").is_file()


def test_typed_again_it_leaves_alone_what_waits_or_runs_and_what_is_done(place, capsys):
    assert submitted(capsys)["shares"] == [0, 1, 2]
    (place / "bin" / "queue").write_text("0\n2\n")
    again = submitted(capsys, "--set", "extract.batch_size=8")
    assert again["shares"] == [1]
    said = (place / "bin" / "sbatch.said").read_text().splitlines()
    assert "--dependency=afterany:13:11" in said[-1], "the last task waits for both arrays"
    assert (place / "bin" / "scancel.said").read_text().split()[-1] == "12", (
        "and the one before is taken back"
    )
    (place / "bin" / "queue").write_text("0\n1\n2\n")
    assert submitted(capsys)["array_job"] is None
    (place / "bin" / "queue").write_text("")
    assert (
        guarded(cli.main, ["extract", "pipeline.yaml", "--shard", "1/3", "--set", "extract.workers=0"]) == 0
    )
    capsys.readouterr()
    assert submitted(capsys)["shares"] == [0, 2]


def test_while_tasks_are_in_the_queue_the_work_stays_divided_as_it_is(place, capsys):
    submitted(capsys)
    (place / "site.yaml").write_text("{tasks: 5}")
    (place / "bin" / "queue").write_text("0\n")
    assert (submitted(capsys)["tasks"], submitted(capsys)["shares"]) == (3, [1, 2])
    (place / "bin" / "queue").write_text("")
    assert submitted(capsys)["tasks"] == 5


def test_what_is_done_and_not_sealed_is_only_finished(place, capsys):
    submitted(capsys)
    assert guarded(cli.main, ["extract", "pipeline.yaml", "--set", "extract.workers=0"]) == 0
    capsys.readouterr()
    only = submitted(capsys)
    assert only["array_job"] is None
    assert only["finish_job"] is not None
    assert guarded(cli.main, ["cache", "finish", "run/cache.zarr"]) == 0
    capsys.readouterr()
    assert submitted(capsys)["finish_job"] is None


def name_stores(place: Path) -> None:
    """One with the backbone of the others, one on a canvas of its own, one that wants a GPU."""
    data = yaml.safe_load((place / "pipeline.yaml").read_text())
    data["extract"]["stores"] = {"main": {}, "small": {"canvas": 14}, "quick": {"device": "cuda"}}
    (place / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))


def test_several_stores_are_one_array_and_each_is_finished(place, capsys):
    name_stores(place)
    code, out, err = typed(capsys, "--engine", "slurm")
    assert code == 0, err
    assert "array job 11: 3 tasks, 5 volumes to embed" in out
    stores = [f"{place}/run/cache{more}.zarr" for more in ("", "-small", "-quick")]
    assert [line.removeprefix("next: slicecache status ") for line in out.splitlines()[-3:]] == stores
    scripts = place / "run" / "slurm"
    assert "for 3 stores" in (scripts / "extract.sh").read_text()
    last = (scripts / "finish.sh").read_text().splitlines()[-5:]
    assert [line.partition(" cache finish ")[2] for line in last[1:-1]] == [f"{s} || code=$?" for s in stores]
    assert all(len(open_store(store).table()) == 5 for store in stores)


def test_a_share_is_handed_in_while_one_of_several_stores_lacks_a_volume(place, capsys):
    name_stores(place)
    here = ("--set", "extract.workers=0", "--set", "extract.stores.quick.device=cpu")
    assert list(submitted(capsys)["stores"]) == ["main", "small", "quick"]
    for index in range(3):
        assert guarded(cli.main, ["extract", "pipeline.yaml", "--shard", f"{index}/3", *here]) == 0
    store = open_store(str(place / "run" / "cache-small.zarr"))
    gone = next(entry.key for entry in store.entries if entry.key.participant_id == "twin")
    StoreWriter.open(store.location, store.header, []).remove_record(gone)
    capsys.readouterr()
    left = submitted(capsys)
    assert (left["shares"], left["tasks"], left["volumes"]) == ([0], 1, 1)
    assert guarded(cli.main, ["extract", "pipeline.yaml", "--shard", "0/1", *here]) == 0
    capsys.readouterr()
    only = submitted(capsys)
    assert only["array_job"] is None
    assert only["finish_job"] is not None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--dry-run",), "add --engine slurm"),
        (("--site", "site.yaml"), "add --engine slurm"),
        (("--engine", "slurm", "--shard", "0/2"), "divides the work itself"),
        (("--engine", "slurm", "--site", "absent.yaml"), r"absent\.yaml"),
    ],
)
def test_what_says_nothing_is_a_mistake(place, capsys, words, says):
    code, _, err = typed(capsys, *words)
    assert code == 2
    assert says.replace("\\", "") in err


def test_a_last_task_that_slurm_refuses_is_said_beside_the_array_that_runs(place, capsys):
    sbatch = place / "bin" / "sbatch"
    sbatch.write_text(SBATCH + 'case "$*" in *finish.sh*) echo "sbatch: error: no" >&2; exit 1;; esac\n')
    code, _, err = typed(capsys, "--engine", "slurm")
    assert code == 2
    assert "job 11" in err
    assert "sbatch: error" not in err


def test_weights_that_are_not_there_are_refused_before_anything_is_submitted(place, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "empty"))
    data = yaml.safe_load((place / "pipeline.yaml").read_text())
    data["extract"]["backbone"] = {"kind": "dinov2", "size": "small"}
    (place / "pipeline.yaml").write_text(yaml.safe_dump(data))
    code, _, err = typed(capsys, "--engine", "slurm")
    assert code == 2
    assert "facebook/dinov2-small" in err
    assert not (place / "bin" / "sbatch.said").exists()
