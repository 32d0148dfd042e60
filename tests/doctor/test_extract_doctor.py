"""`slicecache doctor`: made-up facts, of machines that are not here, too, and a look at this one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import slicecache
from cache_schema.cluster.cores import usable_cores
from cache_schema.files.disk.mounts import Mount
from cache_schema.files.disk.probe import QUESTIONS, Semantics
from extract.backbones.dinov2 import Dinov2Spec, write_example
from extract.doctor import arithmetic, examine, weights
from extract.doctor.arithmetic import AcceleratorFacts, Gpu, TorchFacts, judge_gpus, judge_torch
from extract.doctor.cores import MachineFacts, judge_cores, judge_files, judge_memory, machine_facts
from extract.doctor.finding import Finding, looked_at
from extract.doctor.places import LACKS, DiskFacts, judge_disk, judge_semantics
from extract.doctor.python import VERBS, PythonFacts, judge_python, read_extras
from extract.doctor.scheduler import SchedulerFacts, judge_scheduler, scheduler_facts
from extract.doctor.weights import NetworkFacts, judge_network, judge_store_weights, judge_weights

ROOT = Path(__file__).parents[2]
A100 = Gpu("NVIDIA A100", 40 * 2**30, (8, 0))
T4 = Gpu("Tesla T4", 15 * 2**30, (7, 5))
CPU_BUILD = TorchFacts("2.13.0+cpu", "", "AVX2", 4)
CUDA_BUILD = TorchFacts("2.13.0", "13.0", "AVX2", 4)
DRIVER = AcceleratorFacts("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.1", None)
NO_DRIVER = AcceleratorFacts("", None)


def gpu_build(*gpus: Gpu) -> TorchFacts:
    return TorchFacts("2.13.0", "13.0", "AVX2", 4, gpus)


@pytest.mark.parametrize(
    ("facts", "machine", "wanted", "level", "says"),
    [
        (gpu_build(A100), DRIVER, "auto", "ok", "40 GiB, capability 8.0, bfloat16"),
        (gpu_build(T4), DRIVER, "auto", "note", "no bfloat16"),
        (gpu_build(Gpu("K1", 2**30, (8, 0))), DRIVER, "auto", "note", "1 GiB"),
        (CPU_BUILD, NO_DRIVER, "auto", "note", "none"),
        (CPU_BUILD, NO_DRIVER, "cpu", "ok", "none"),
        (CPU_BUILD, NO_DRIVER, "cuda", "problem", "extract.device is 'cuda'"),
        (CPU_BUILD, DRIVER, "auto", "problem", "is for CPUs"),
        (CPU_BUILD, DRIVER, "cpu", "note", "is for CPUs"),
        (CUDA_BUILD, DRIVER, "auto", "problem", "no device"),
        (CUDA_BUILD, AcceleratorFacts(DRIVER.driver, ""), "auto", "problem", "CUDA_VISIBLE_DEVICES=''"),
        (TorchFacts("2", "13.0", "AVX2", 4, failure="no libcuda"), DRIVER, "auto", "problem", "no libcuda"),
        (TorchFacts("2", "", "DEFAULT", 4, mps=True), NO_DRIVER, "auto", "ok", "Metal"),
        (None, DRIVER, "auto", "note", "580.1"),
    ],
)
def test_gpus_that_lie_idle_are_a_problem(facts, machine, wanted, level, says):
    (finding,) = judge_gpus(facts, machine, wanted)
    assert (finding.level, says in finding.found) == (level, True), finding


def test_every_gpu_has_a_line():
    assert [f.topic for f in judge_gpus(gpu_build(A100, T4), DRIVER, "auto")] == ["gpu 0", "gpu 1"]


def test_torch_may_be_absent_unless_it_is_needed():
    assert judge_torch(None, needed=False).level == "note"
    assert judge_torch(None, needed=True).level == "problem"
    assert judge_torch(CPU_BUILD, needed=True).level == "ok"
    assert judge_torch(TorchFacts("2", "", "DEFAULT", 1), needed=True).level == "note"


@pytest.mark.parametrize(
    ("judge", "facts", "level", "says"),
    [
        (judge_cores, MachineFacts(64, 64), "ok", "64 of 64"),
        (judge_cores, MachineFacts(64, 8, slurm=8), "ok", "bound 8"),
        (judge_cores, MachineFacts(64, 64, slurm=8), "note", "SLURM_CPUS_PER_TASK 8"),
        (judge_cores, MachineFacts(64, 64, quota=1.5), "note", "1.5 of 64"),
        (judge_cores, MachineFacts(64, 1, in_job=True), "note", "1 of 64"),
        (judge_cores, MachineFacts(8, 4, threads=16), "note", "OMP_NUM_THREADS=16"),
        (judge_memory, MachineFacts(8, 8, memory=64 * 10**9), "ok", "64 GB"),
        (judge_memory, MachineFacts(8, 8, memory=64 * 10**9, memory_limit=2 * 10**9), "note", "of 64 GB"),
        (judge_memory, MachineFacts(8, 8, memory=10**9), "problem", "1 GB"),
        (judge_memory, MachineFacts(8, 8), "note", "not say"),
        (judge_files, MachineFacts(8, 8, files=256), "note", "256"),
        (judge_files, MachineFacts(8, 8, files=-1), "ok", "any number"),
    ],
)
def test_cores_and_memory_are_what_may_be_used(judge, facts, level, says):
    finding = judge(facts)
    assert (finding.level, says in finding.found) == (level, True), finding
    assert bool(finding.advice) == (level != "ok")


def groups_v2(root):
    folder = root / "slurm" / "job_7"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("max 100000\n")
    (root / "slurm" / "cpu.max").write_text("250000 100000\n")
    (folder / "memory.max").write_text("4294967296\n")
    (root / "slurm" / "memory.max").write_text("max\n")
    return "0::/slurm/job_7\n"


def groups_v1(root):
    (root / "cpu,cpuacct" / "job_7").mkdir(parents=True)
    (root / "memory").mkdir()
    (root / "cpu,cpuacct" / "job_7" / "cpu.cfs_quota_us").write_text("250000\n")
    (root / "cpu,cpuacct" / "job_7" / "cpu.cfs_period_us").write_text("100000\n")
    (root / "memory" / "memory.limit_in_bytes").write_text(
        "4294967296\n"
    )  # a container sees its own as the top
    return "4:memory:/docker/abc\n3:cpu,cpuacct:/job_7\n"


def groups_without_limits(root):
    (root / "cpu").mkdir(parents=True)
    (root / "memory").mkdir()
    (root / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (root / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (root / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    return "2:memory:/\n1:cpu:/\nnonsense\n"


@pytest.mark.parametrize(
    ("make", "quota", "limit"),
    [(groups_v2, 2.5, 2**32), (groups_v1, 2.5, 2**32), (groups_without_limits, None, None)],
)
def test_limits_of_groups_are_read(tmp_path, make, quota, limit):
    own = tmp_path / "own"
    own.write_text(make(tmp_path / "groups"))
    environment = {"SLURM_CPUS_PER_TASK": "3", "SLURM_JOB_ID": "7", "OMP_NUM_THREADS": "many"}
    facts = machine_facts(environment, tmp_path / "groups", own)
    assert (facts.quota, facts.memory_limit) == (quota, limit)
    assert (facts.slurm, facts.in_job, facts.threads) == (3, True, None)
    assert usable_cores(environment, tmp_path / "groups", own) == min(facts.bound, 3, int(quota or 3))
    assert usable_cores({"SLURM_CPUS_PER_TASK": "1"}, tmp_path / "groups", own) == 1


def test_python_and_extras():
    facts = PythonFacts((3, 10, 2), "CPython", "Linux", 64, {})
    assert judge_python(facts)[0].level == "problem"
    there = {"extract": {"torch": None, "scipy": "1.17"}, "report": {"jinja2": "3"}}
    facts = PythonFacts((3, 12, 1), "CPython", "Linux", 64, there)
    assert [f.level for f in judge_python(facts)] == ["ok", "note", "ok"]
    _, extract, _ = judge_python(facts, needed=["extract"])
    assert (extract.level, extract.topic) == ("problem", "[extract]")
    assert "torch" in extract.found
    assert "scipy" not in extract.found
    assert "pip install 'slicecache[extract]'" in extract.advice


def test_the_distribution_says_what_its_extras_need():
    extras = read_extras()
    assert set(extras) <= set(VERBS)
    assert extras["extract"]["torch"]


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "ok"),
        ({"inodes": None}, "ok"),
        ({"writable": False}, "problem"),
        ({"free": 10**6}, "problem"),
        ({"free": 10**9}, "note"),
        ({"inodes": 0}, "problem"),
        ({"inodes": 500}, "note"),
        ({"kind": "tmpfs"}, "note"),
    ],
)
def test_disks(changes, level):
    given = {"place": "/s", "above": "/s", "kind": "ext4", "free": 10**12, "inodes": 10**7, "writable": True}
    finding = judge_disk("store", DiskFacts(**{**given, **changes}))
    assert finding.level == level
    assert bool(finding.advice) == (level != "ok")


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_lack_of_a_file_system_has_advice_of_its_own(question):
    found = {**dict.fromkeys(QUESTIONS, ""), question: "not here"}
    (finding,) = judge_semantics(Semantics(Mount("/home", "nfs4"), found, 1))
    assert (finding.level, finding.advice) == LACKS[question]
    assert f"no {question}" in finding.found
    assert "nfs4, shared with other machines" in finding.found


def test_coarse_times_are_a_note_and_a_sound_disk_is_one_line():
    sound = dict.fromkeys(QUESTIONS, "")
    assert [f.level for f in judge_semantics(Semantics(Mount("/", "ext4"), sound, 1))] == ["ok"]
    assert [f.level for f in judge_semantics(Semantics(Mount("/", "vfat"), sound, 2 * 10**9))] == ["note"]


@pytest.mark.parametrize(
    ("facts", "network", "there"),
    [
        (NetworkFacts("", None, False, False, ()), "ok", "ok"),
        (NetworkFacts("lab/x", None, False, False, ()), "note", "ok"),
        (NetworkFacts("lab/x", None, True, False, ()), "ok", "ok"),
        (NetworkFacts("lab/x", "absent", False, False, ()), "note", "problem"),
        (NetworkFacts("lab/x", "absent", True, False, ()), "ok", "problem"),
        (NetworkFacts("lab/x", "absent", False, False, ("HF_HUB_OFFLINE",)), "ok", "problem"),
        (NetworkFacts("lab/x", "absent", False, False, (), "no route"), "problem", "problem"),
        (NetworkFacts("lab/x", None, False, False, (), "no route"), "note", "ok"),
        (NetworkFacts("lab/x", "absent", False, False, (), ""), "note", "note"),
        (NetworkFacts("lab/x", "absent", True, False, (), ""), "ok", "problem"),
        (NetworkFacts("", "no folder", False, False, ()), "ok", "problem"),
    ],
)
def test_who_would_wait_for_a_network(facts, network, there):
    assert judge_network(facts).level == network
    assert judge_weights(Dinov2Spec(), facts, None).level == there


def test_a_store_of_other_weights_is_a_problem():
    assert judge_store_weights("", "a" * 64) == judge_store_weights("a" * 64, None) == []
    assert judge_store_weights("a" * 64, "a" * 64) == []
    (finding,) = judge_store_weights("a" * 64, "b" * 64)
    assert finding.level == "problem"
    assert "a" * 16 in finding.found
    assert "b" * 16 in finding.found


def test_schedulers(tmp_path):
    for name in ("sbatch", "squeue"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    facts = scheduler_facts({"PATH": str(tmp_path), "SLURM_JOB_ID": "12"})
    assert facts == SchedulerFacts({"Slurm": ("sbatch", "squeue")}, "Slurm job 12")
    assert "scontrol" in judge_scheduler(facts).found
    assert judge_scheduler(SchedulerFacts({}, "")).level == "note"
    assert judge_scheduler(SchedulerFacts({}, "Kubernetes job 10.0.0.1")).level == "ok"
    assert scheduler_facts({"PATH": "", "JOB_ID": "3", "SGE_ROOT": "/sge"}).job == "SGE job 3"


def test_a_look_that_fails_is_a_finding_of_one_line():
    def look():
        raise RuntimeError("driver\nhas\x1b[31m fallen over")

    (finding,) = looked_at("gpu", look)
    assert (finding.topic, finding.level) == ("gpu", "note")
    assert "RuntimeError: driver has" in finding.found
    assert finding.found.isprintable()
    assert looked_at("gpu", lambda: [Finding("gpu", "ok", "x")]) == [Finding("gpu", "ok", "x")]


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline whose input and weights are here; its places are not there yet."""
    write_example(tmp_path / "weights", gated=False, registers=False)
    (tmp_path / "images").mkdir()
    content = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": {"input": {"bids": "images"}, "backbone": {"kind": "dinov2", "path": "weights"}},
    }

    def write(**changes):
        path = tmp_path / "pipeline.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    write.content = content
    return write


def doctor(capsys, *given):
    code = slicecache.guarded(slicecache.cli.main, ["doctor", *given, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["problems"] == sum(f["level"] == "problem" for f in answer["findings"])
    assert code == (1 if answer["problems"] else 0)
    assert all(f["advice"] for f in answer["findings"] if f["level"] != "ok")
    return {f["topic"]: f for f in answer["findings"]}


def test_this_machine_is_fit_for_a_pipeline_that_has_all(capsys, pipeline, tmp_path):
    found = doctor(capsys, pipeline())
    assert {name for name, f in found.items() if f["level"] == "problem"} == set()
    assert {"python", "torch", "cores", "memory", "store", "run folder", "tmp", "scheduler"} <= set(found)
    assert "weights digest" in found["weights"]["found"]
    assert found["file system"]["level"] == "ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "pipeline.yaml", "weights"]


def test_a_store_in_one_file_that_is_only_read_need_not_be_writable(capsys, pipeline, tmp_path):
    (tmp_path / "laptop.h5").write_bytes(b"a store")
    given = pipeline()
    assert doctor(capsys, given, "--set", "cache.store=laptop.h5")["store"]["level"] == "problem"
    text = yaml.safe_load(Path(given).read_text())
    del text["extract"]
    Path(given).write_text(yaml.safe_dump(text | {"cache": {"store": "laptop.h5"}}))
    found = doctor(capsys, given)
    assert "store" not in found
    assert found["run folder"]["level"] == "ok"


def test_what_a_pipeline_lacks_here_is_named(capsys, pipeline, tmp_path):
    (tmp_path / "images").rmdir()
    (tmp_path / "weights" / "model.safetensors").unlink()
    found = doctor(capsys, pipeline(), "--set", "run.folder=/proc/nowhere")
    assert {name for name, f in found.items() if f["level"] == "problem"} >= {
        "input",
        "weights",
        "run folder",
    }


def test_weights_that_nobody_fetched_are_a_problem_of_a_pipeline_alone(
    capsys, pipeline, tmp_path, monkeypatch
):
    """With the command that fetches them; who gives no pipeline has named no weights."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nothing"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "nothing"))
    finding = doctor(capsys, pipeline(), "--set", "extract.backbone={kind: dinov2, size: small}")["weights"]
    assert finding["level"] == "problem"
    assert finding["advice"] == "slicecache backbone fetch PIPELINE on a login node"
    assert "weights" not in doctor(capsys)


def test_a_mistake_in_a_section_is_a_finding_and_the_rest_is_looked_at(capsys, pipeline):
    found = doctor(capsys, pipeline(), "--set", "extract.presett=mst", "--set", "cache.stor=x")
    assert "presett" in found["pipeline"]["found"]
    assert found["store"]["level"] == "problem"
    assert found["run folder"]["level"] == "ok"


def test_a_pipeline_that_is_not_there_is_a_mistake_in_what_was_asked(capsys, tmp_path):
    assert slicecache.guarded(slicecache.cli.main, ["doctor", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_people_get_a_line_per_finding_and_the_advice_below(capsys):
    slicecache.guarded(slicecache.cli.main, ["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("note     pipeline")
    assert lines[1].strip().startswith("-> ")
    assert " ok, " in lines[-1]


def test_a_store_of_other_weights_is_found(capsys, pipeline, tmp_path, make_store, monkeypatch):
    from conftest import Scan

    store = make_store([Scan("sub-1")]).location
    found = doctor(capsys, pipeline(), "--set", f"cache.store={store}")
    assert "was made with weights" in found["store"]["found"]


def test_every_look_may_fail(capsys, pipeline, monkeypatch):
    """Whatever a machine raises, wherever: one note each, and the other findings stay."""

    def fail(*given, **named):
        raise OSError(5, "Input/output error", "/proc/odd")

    before = doctor(capsys, pipeline())
    names = ("python_facts", "torch_facts", "machine_facts", "disk_facts", "probe", "scheduler_facts")
    for name in names:
        with monkeypatch.context() as odd:
            odd.setattr(examine, name, fail)
            found = doctor(capsys, pipeline())
            noted = [f for f in found.values() if "could not be found out" in f["found"]]
            assert noted, name
            assert all(f["level"] == "note" for f in noted)
            assert len(found) >= len(before) - len(VERBS) - 3
    monkeypatch.setattr(weights, "weights_missing", fail)
    assert "OSError" in doctor(capsys, pipeline())["weights"]["found"]


def test_torch_that_fails_to_ask_its_driver_is_still_described(monkeypatch):
    import torch

    def fail():
        raise RuntimeError("CUDA driver initialization failed")

    monkeypatch.setattr(torch.cuda, "is_available", fail)
    facts = arithmetic.torch_facts()
    assert facts is not None
    assert facts.version == torch.__version__
    assert "initialization failed" in facts.failure


def test_the_network_is_asked_only_when_the_user_says_so(capsys, pipeline, monkeypatch):
    import socket

    def fail(*given, **named):
        raise AssertionError("it called out")

    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(weights, "read_header", lambda location: fail())
    found = doctor(capsys, pipeline(), "--set", "cache.store=s3://bucket/cache.zarr")
    assert found["store"]["level"] == "note"
    assert "file system" not in found
    monkeypatch.setattr(weights, "read_header", lambda location: None)
    doctor(capsys, pipeline(), "--set", "extract.backbone={kind: dinov2, repository: nobody/has-this}")
    monkeypatch.setattr(weights, "ask_hub", lambda: "https://hub: no route to host")
    hub = "extract.backbone={kind: dinov2, repository: nobody/has-this}"
    found = doctor(capsys, pipeline(), "--network", "--set", hub)
    assert found["network"]["level"] == "problem"
    assert "no route" in found["network"]["found"]


def test_a_hub_that_answers_anything_answers(serve, tmp_path, monkeypatch):
    site = serve(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", site.url)
    assert weights.ask_hub() == ""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1:9" in weights.ask_hub()


def test_it_runs_with_nothing_but_the_base_installed(pipeline):
    """Extras are hidden from the process: each is said to be absent, and nothing is imported in vain."""
    hide = ["torch", "huggingface_hub", "nibabel", "scipy", "safetensors", "rich", "PIL", "pandas", "sklearn"]
    code = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hide!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
import slicecache
sys.exit(slicecache.guarded(slicecache.cli.main, sys.argv[1:]))
"""
    for given, expected in (["doctor"], 0), (["doctor", pipeline()], 1):
        done = subprocess.run(
            [sys.executable, "-c", code, *given], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert done.returncode == expected, done.stderr
        assert "torch" in done.stdout
        assert "not installed" in done.stdout
        assert done.stderr == ""
