"""The first hour with real weights, for who has internet: fetch, check, extract, train, compare.

    python benchmarks/first_hour.py                                  # DINOv2 ViT-S, simulated cohort
    python benchmarks/first_hour.py --backbones dinov2/small dinov3/small --bids data/bids --target sex
    python benchmarks/first_hour.py --dry-run                        # offline, with drawn weights

Each step says what it found beside what it should be; `--json FILE` keeps it, and the table at the end goes
into the README. docs/first-hour-with-weights.md says what each number means.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import slicecache as sc
from extract.backbones.dinov2 import Dinov2Spec, write_example
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.backbones.published import PublishedBackbone
from extract.fetch.fetch import fetch
from extract.fetch.names import wanted_one
from extract.fetch.show import show

TOLERANCE = 1e-5
"""Of the largest token: how far our DINOv2 may lie from `transformers` in float32 at the table's own grid."""
CONTROL = {"kind": "untrained", "size": "small"}
CPU = torch.device("cpu")
MARKS = {True: "ok", False: "NOT OK", None: "left out"}


@dataclass
class Step:
    """What one step found."""

    name: str
    backbone: str
    ok: bool | None
    """None where it was left out."""
    said: str
    seconds: float = 0.0
    found: dict[str, Any] = field(default_factory=dict)


class Hour:
    """Does the steps, and keeps what they said."""

    def __init__(self, folder: Path, dry: bool) -> None:
        self.folder, self.dry, self.steps = folder, dry, list[Step]()

    def step(self, name: str, backbone: str, work: Any) -> Any:
        """One step; what is refused is said, and the hour goes on without that backbone."""
        start = time.perf_counter()
        try:
            ok, said, found = work()
        except sc.SlicecacheError as error:
            ok, said, found = None, str(error), {}
        taken = time.perf_counter() - start
        self.steps.append(Step(name, backbone, ok, said, round(taken, 1), found))
        print(f"{MARKS[ok]:<9} {backbone}: {name}: {said} ({taken:.0f} s)", flush=True)
        return None if ok is None else found

    def fetched(self, name: str) -> PublishedBackbone | None:
        """The backbone, with its weights on this machine."""
        spec = wanted_one(name)
        if not isinstance(spec, PublishedBackbone):
            raise SystemExit(f"{name} has no weights to be fetched; name one of `slicecache backbone list`")
        if self.dry:
            registers = "registers" in name
            drawn = write_example(self.folder / name.replace("/", "-"), gated=False, registers=registers)
            spec = Dinov2Spec(path=drawn)

        def work() -> tuple[bool, str, dict[str, Any]]:
            if self.dry:
                return True, "a dry run draws weights of a small network in their place", {}
            came = fetch(spec, self.folder / f"{name.replace('/', '-')}.lock.json", None)
            commit = "" if came is None else came.lock.revision
            return True, f"commit {commit}", {"commit": commit}

        return spec if self.step("fetch", name, work) is not None else None


def looked_at(spec: PublishedBackbone) -> tuple[bool, str, dict[str, Any]]:
    """Digest and sizes, for the README."""
    shown = show(str(spec.folder(offline=True)))
    numbers = (shown.weights or {}).get("parameters", 0)
    found = {"digest": shown.digest, "parameters": numbers}
    return True, f"{numbers / 1e6:.1f} M numbers, digest {shown.digest}", found


def laws(spec: PublishedBackbone) -> tuple[bool, str, dict[str, Any]]:
    """`check_backbone` on the real weights."""
    try:
        sc.testing.check_backbone(spec)
    except AssertionError as error:
        return False, str(error), {}
    return True, "every law of check_backbone", {}


def beside_transformers(spec: PublishedBackbone) -> tuple[bool | None, str, dict[str, Any]]:
    """Our own DINOv2 and `transformers` on the same pixels: at the table's own grid, and at 224 px."""
    if not isinstance(spec, Dinov2Spec):
        return None, "this backbone is transformers' own here, so there is nothing to compare", {}
    folder = spec.folder(offline=True)
    config = json.loads((folder / "config.json").read_text())
    theirs = HuggingFaceSpec(path=folder)
    found = {}
    for canvas in dict.fromkeys((config["image_size"], 16 * config["patch_size"])):
        pixels = torch.randn(2, 3, canvas, canvas, generator=torch.Generator().manual_seed(0))
        one, other = (each.build(canvas, CPU, torch.float32)(pixels) for each in (spec, theirs))
        pairs = {"cls": (one.cls["cls"], other.cls["cls"]), "patches": (one.patches, other.patches)}
        for name, (a, b) in pairs.items():
            found[f"{name}_{canvas}"] = float((a - b).abs().max() / b.abs().max())
    native = max(value for name, value in found.items() if name.endswith(f"_{config['image_size']}"))
    told = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
    return native <= TOLERANCE, f"{told} of the largest; at its own grid {TOLERANCE:.0e} is expected", found


def studied(
    hour: Hour, backbone: dict[str, Any], name: str, given: argparse.Namespace, bids: Path
) -> tuple[bool, str, dict[str, Any]]:
    """Extract the cohort and train the default head, beside its baselines."""
    folder = hour.folder / f"run-{name.replace('/', '-')}"
    small = {"canvas": 56, "slices": {"kind": "every", "step_mm": 20}} if hour.dry else {}
    keys = {"input": {"bids": str(bids), "suffix": given.suffix}, "workers": given.workers, **small}
    store = folder / "cache.zarr"
    outcome = sc.extract(store=store, folder=folder, progress=not hour.dry, backbone=backbone, **keys)
    result = sc.train(
        {"cohort": str(given.table or bids / "participants.tsv"), "target": given.target},
        store=store,
        folder=folder,
        tokens="cls",
        folds={"n": 2 if hour.dry else 5, "repeats": 1 if hour.dry else 5, "seed": 0},
    )
    metrics = result.metrics
    head = metrics["metrics"]["auroc"]
    rows = {kind: row["auroc"] for kind, row in metrics["baselines"].items() if "auroc" in row}
    values = {kind: row["value"] if isinstance(row, dict) else row for kind, row in rows.items()}
    rate = outcome.slices / max(outcome.seconds, 1e-9)
    told = ", ".join(f"{kind} {value:.3f}" for kind, value in values.items())
    # Folds that agree to the last digit, as a dry run's few may, have no interval.
    span = "" if head["ci_low"] is None else f" [{head['ci_low']:.3f}, {head['ci_high']:.3f}]"
    said = f"AUROC {head['value']:.3f}{span}; {told}; {rate:.0f} slices/s"
    found = {"auroc": head, "baselines": values, "slices_per_s": rate, "n": metrics["n_participants"]}
    return outcome.failed == 0, said, {**found, "content_digest": outcome.content_digest}


def cohort(hour: Hour, given: argparse.Namespace) -> Path:
    """The user's tree, or a simulated one."""
    if given.bids is not None:
        return Path(given.bids)
    many = {"participants": 8, "coarseness": 4} if hour.dry else {"participants": 48}
    return Path(sc.simulate(hour.folder / "cohort", seed=0, workers=given.workers, **many).folder)


def readme_table(steps: list[Step], dry: bool) -> str:
    """The rows that go into the README."""
    lines = ["| backbone | step | found | |", "|---|---|---|---|"]
    where = " (dry run: drawn weights)" if dry else ""
    lines += [f"| {s.backbone} | {s.name}{where} | {s.said} | {MARKS[s.ok]} |" for s in steps]
    return "\n".join(lines)


def main() -> None:
    """All steps of every backbone; ends with 1 when one was not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["dinov2/small", "dinov2/with-registers-small"])
    parser.add_argument("--bids", help="a BIDS root; a simulated cohort without one")
    parser.add_argument("--suffix", default="T1w")
    parser.add_argument("--table", type=Path, help="labels; participants.tsv of the root without one")
    parser.add_argument("--target", default="diagnosis")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--folder", type=Path, help="where runs are kept; a temporary one without it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--dry-run", action="store_true", help="offline, with drawn weights and eight heads")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-hour-") as place:
        hour = Hour(given.folder or Path(place), given.dry_run)
        hour.folder.mkdir(parents=True, exist_ok=True)
        bids = cohort(hour, given)
        control = {"kind": "untrained", "size": "tiny"} if hour.dry else CONTROL
        hour.step("study", "untrained (control)", lambda: studied(hour, control, "untrained", given, bids))
        for name in given.backbones:
            spec = hour.fetched(name)
            if spec is None:
                continue
            hour.step("show", name, lambda spec=spec: looked_at(spec))
            hour.step("laws", name, lambda spec=spec: laws(spec))
            hour.step("beside transformers", name, lambda spec=spec: beside_transformers(spec))
            backbone = spec.model_dump(mode="json", exclude_none=True)
            hour.step("study", name, lambda b=backbone, n=name: studied(hour, b, n, given, bids))
    print("\n" + readme_table(hour.steps, hour.dry))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(step) for step in hour.steps], indent=1))
    raise SystemExit(1 if any(step.ok is False for step in hour.steps) else 0)


if __name__ == "__main__":
    main()
