"""`make container`: the OCI recipe built for CPUs, run as a BIDS-App, and held to what runs without it.

Takes minutes and a gigabyte, so nothing else runs it. Where no registry can be reached, the base is made from
Debian's packages.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests" / "data" / "v1"
IMAGE, BASE = "localhost/slicecache-test", "localhost/slicecache-test-base"
PACKAGES = "ca-certificates,python3,python3-venv"


def section(text, name):
    """The lines of a section of Apptainer's recipe."""
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", text, re.MULTILINE | re.DOTALL)
    lines = map(str.strip, found[1].splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_both_recipes_do_the_same():
    """Apptainer is not in Debian, so its recipe is held to the one that is built."""
    oci = (ROOT / "containers" / "Containerfile").read_text()
    sif = (ROOT / "containers" / "slicecache.def").read_text()
    copied = {name for line in re.findall(r"^COPY (.*)$", oci, re.MULTILINE) for name in line.split()[:-1]}
    assert {line.split()[0] for line in section(sif, "files")} == copied
    assert all((ROOT / name).exists() for name in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == copied
    (environment,) = section(sif, "environment")
    assert environment == "export " + re.search(r"^ENV (.*)$", oci, re.MULTILINE)[1]
    arguments = {line.partition("=")[0]: line.partition("=")[2] for line in section(sif, "arguments")}
    declared = dict(re.findall(r"^ARG (\w+)=(.*)$", oci, re.MULTILINE))
    assert declared == arguments
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", oci, re.MULTILINE)[1])
    assert section(sif, "runscript") == [f'exec {" ".join(entry)} "$@"']
    pinned = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    assert declared["TORCH"] == pinned


def run(*command, env=None):
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def builder():
    """A function that runs buildah, with a base image; images are deleted at the end."""
    if not os.environ.get("SLICECACHE_CONTAINER"):
        pytest.skip("it takes minutes: make container")
    if shutil.which("buildah") is None:
        pytest.skip("there is no buildah (Debian: apt-get install buildah mmdebstrap)")
    environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def buildah(*given):
        return run("buildah", *given, env=environment)

    yield buildah
    for image in (IMAGE, BASE):
        subprocess.run(
            ["buildah", "rmi", "--force", image], env=environment, capture_output=True, check=False
        )


@pytest.fixture(scope="module")
def base(builder, tmp_path_factory):
    """The recipe's own base, or one that is made here."""
    name = re.search(r"^ARG BASE=(.*)$", (ROOT / "containers" / "Containerfile").read_text(), re.MULTILINE)[1]
    try:
        builder("pull", name)
        return name
    except AssertionError:
        if shutil.which("mmdebstrap") is None:
            pytest.skip("no registry answers, and there is no mmdebstrap to make a base with")
    root = tmp_path_factory.mktemp("base") / "root.tar"
    run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root)
    container = builder("from", "scratch").strip()
    builder("add", container, root, "/")
    builder("commit", "--rm", container, BASE)
    return BASE


@pytest.mark.slow
def test_the_container_embeds_what_is_embedded_without_it(builder, base, tmp_path):
    import torch

    told = {"BASE": base, "TORCH": f"torch=={torch.__version__}"}
    volumes = ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if Path(wheels).is_dir():  # pip is told in there what it is told out here
        volumes += ["--volume", f"{wheels}:/wheels:ro"]
        told["PIP_FIND_LINKS"] = "/wheels"
    arguments = [word for name, value in told.items() for word in ("--build-arg", f"{name}={value}")]
    builder("bud", *volumes, *arguments, "-f", ROOT / "containers" / "Containerfile", "-t", IMAGE, ROOT)

    shutil.copytree(ARCHIVE / "images", tmp_path / "in")
    (tmp_path / "in" / "sub-09" / "anat" / "sub-09_T1w.nii.gz").unlink()  # which cannot be embedded
    pipeline = tmp_path / "pipeline.yaml"
    text = (ARCHIVE / "pipeline.yaml").read_text()
    pipeline.write_text(text.replace("images/participants", "in/participants"))
    container = builder("from", IMAGE).strip()
    try:
        bound = ["--volume", f"{tmp_path}:/data"]
        entry = [*bound, container, "--", "/opt/slicecache/bin/python", "/opt/slicecache/run.py"]
        given = ["/data/in", "/data/out", "--pipeline", "/data/pipeline.yaml"]
        builder("run", *entry, *given[:2], "participant", *given[2:])
        builder("run", *entry, *given[:2], "group", *given[2:])
        inspect = ("slicecache", "cache", "inspect", "/data/out/store", "--json")
        found = json.loads(builder("run", *bound, container, "--", *inspect))
        looked = json.loads(builder("run", container, "--", "slicecache", "doctor", "--json"))
    finally:
        builder("rm", container)
    assert looked["problems"] == 0
    assert (tmp_path / "out" / "train" / "report.html").is_file()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    outside = [tmp_path / "in", tmp_path / "here", "participant", "--pipeline", pipeline]
    run(sys.executable, ROOT / "containers" / "run.py", *outside, env=environment)
    command = [
        sys.executable,
        ROOT / "slicecache.py",
        "cache",
        "inspect",
        tmp_path / "here" / "store",
        "--json",
    ]
    assert found["content_digest"] == json.loads(run(*command, env=environment))["content_digest"]
