"""slicecache as a BIDS-App: `run.py IN OUT participant|group [--participant-label 01 02] [--pipeline FILE]`.

participant: embed the volumes of the participants named (or of all) into OUT/store; many may run at a
time, and a stopped one is started again. group: check the store, seal it, and train where the pipeline
says how.
Each step is a `slicecache` command, printed before it runs; whoever needs more gives those.
"""

import argparse
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import slicecache
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.files.disk.room import require_writable
from cache_schema.files.disk.whole import write_whole

DEFAULT = """# Written because no --pipeline was given.
run: {{folder: ..}}
cache: {{store: ../store}}
extract:
  input: {{bids: {bids}, suffix: T1w}}
  backbone: {{kind: dinov2, path: {weights}, lock: {weights}/backbone.lock.json}}
  offline: true
"""
OURS = ("*.html", "*.tsv", "code/", "extract/", "jobs/", "store/", "train/")
"""What lies in OUT and is no BIDS file."""
LONGEST = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one level; the exit code of the first step that does not end well."""
    given = parser().parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command does
    return slicecache.guarded(lambda args, standalone_mode: run(given), [])


def parser() -> argparse.ArgumentParser:
    """The command line that BIDS-Apps share, and what is ours."""
    made = argparse.ArgumentParser(prog="slicecache-bids", description=__doc__.partition("\n\n")[2])
    made.add_argument("bids", metavar="IN", type=Path, help="the BIDS dataset; it is only read")
    made.add_argument("out", metavar="OUT", type=Path, help="a folder for store and results")
    made.add_argument("level", choices=("participant", "group"))
    labels = {"nargs": "+", "metavar": "LABEL", "default": []}
    made.add_argument("--participant-label", "--participant_label", help="with or without sub-", **labels)
    made.add_argument("--session-label", "--session_label", help="with or without ses-", **labels)
    made.add_argument("--pipeline", type=Path, metavar="FILE", help="its places are set here")
    made.add_argument("--weights", type=Path, metavar="FOLDER", help="a fetched backbone")
    made.add_argument("--n-cpus", "--n_cpus", type=int, metavar="N", help="processes that decode volumes")
    made.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="overrides the pipeline"
    )
    made.add_argument("--skip-bids-validator", action="store_true", help="taken for compatibility: none runs")
    made.add_argument("--version", action="version", version=f"slicecache {version('slicecache')}")
    return made


def run(given: argparse.Namespace) -> int:
    """Check what was given, describe OUT, and run the steps of a level.

    Raises:
        ConfigError: If a label has no folder, or there is neither pipeline nor weights.
        MachineError: If OUT cannot be written to.
    """
    if not given.bids.is_dir():
        raise ConfigError(f"there is no BIDS folder {str(given.bids)!r}; is it bound into the container?")
    labels = [label.removeprefix("sub-") for label in given.participant_label]
    absent = [label for label in labels if not (given.bids / f"sub-{label}").is_dir()]
    if absent:
        raise ConfigError(f"{str(given.bids)!r} has no folder 'sub-{absent[0]}' ({len(absent)} such labels)")
    require_writable(given.out, "OUT")
    pipeline = given.pipeline or default_pipeline(given)
    describe(given.out)
    steps = participant(given, pipeline, labels) if given.level == "participant" else group(given, pipeline)
    for step in steps:
        print(f"$ slicecache {shlex.join(step)}", file=sys.stderr, flush=True)
        code = slicecache.guarded(slicecache.cli.main, step)
        if code and (code, step[0]) != (1, "plan"):  # extract counts what cannot be embedded
            return code
    return 0


def default_pipeline(given: argparse.Namespace) -> Path:
    """The pipeline of whoever gives none: DINOv2 from a folder of weights, stage one alone.

    Raises:
        ConfigError: If there are no weights.
    """
    if given.weights is None:
        raise ConfigError(
            "give --pipeline FILE, or --weights FOLDER: `slicecache backbone fetch dinov2/small --to FOLDER` "
            "makes it where there is internet"
        )
    path = given.out / "code" / "pipeline.yaml"
    quoted = {"bids": json.dumps(os.path.abspath(given.bids)), "weights": os.path.abspath(given.weights)}
    write_whole(path, DEFAULT.format(**quoted).encode())
    return path


def describe(out: Path) -> None:
    """Make OUT a BIDS derivatives dataset; a description that is there stays."""
    if (out / "dataset_description.json").exists():
        return
    by = {"Name": "slicecache", "Version": version("slicecache")}
    tag = os.environ.get("SLICECACHE_IMAGE")
    description = {
        "Name": "slicecache: embeddings of axial slices",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [by | ({"Container": {"Type": "oci", "Tag": tag}} if tag else {})],
    }
    write_whole(out / "dataset_description.json", f"{json.dumps(description, indent=2)}\n".encode())
    write_whole(out / ".bidsignore", "".join(f"{name}\n" for name in OURS).encode())


def places(given: argparse.Namespace, pipeline: Path, folder: Path) -> list[str]:
    """A pipeline with its input, run folder and store here."""
    found = {"run.folder": folder, "cache.store": store(given), "extract.input.bids": given.bids}
    sets = [f"{name}={json.dumps(os.path.abspath(place))}" for name, place in found.items()]
    if given.n_cpus is not None:
        sets.append(f"extract.workers={given.n_cpus}")
    return [str(pipeline), *(word for value in (*sets, *given.set) for word in ("--set", value))]


def store(given: argparse.Namespace) -> Path:
    """Where the store lies."""
    return (given.out / "store").absolute()


def participant(given: argparse.Namespace, pipeline: Path, labels: list[str]) -> list[list[str]]:
    """Create the store for the whole dataset unless it is there, then embed a part of it.

    Each part has a run folder of its own: several that run at a time would overwrite each other's failures.
    """
    steps = []
    if not store(given).exists():
        steps.append(["plan", *places(given, pipeline, given.out), "--create"])
    sessions = [label.removeprefix("ses-") for label in given.session_label]
    chosen = {"participant": labels, "session": sessions}
    named = "_".join(f"{name[:3]}-{'+'.join(values)}" for name, values in chosen.items() if values)
    short = named if len(named) <= LONGEST else hashlib.sha256(named.encode()).hexdigest()[:16]
    folder = given.out / "jobs" / short if named else given.out
    sets = [f"extract.input.{name}={json.dumps(values)}" for name, values in chosen.items() if values]
    return [*steps, ["extract", *places(given, pipeline, folder), *(w for s in sets for w in ("--set", s))]]


def group(given: argparse.Namespace, pipeline: Path) -> list[list[str]]:
    """Check and seal the store; train where the pipeline has a second stage."""
    steps = [["cache", "verify", "--full", str(store(given))], ["cache", "seal", str(store(given))]]
    if "aggregate" in load_pipeline(pipeline, given.set).data:
        steps.append(["train", *places(given, pipeline, given.out)])
    return steps


if __name__ == "__main__":
    sys.exit(main())
