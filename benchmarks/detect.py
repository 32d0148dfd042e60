"""Every detector of the registry on made-up tokens: time of a fit and of a score, memory, size of its state.

Scores stand beside exact 1-nearest-neighbour search among 500,000 tokens, the DPMM's step beside the
textbook form that builds all (token, dim, dim) products. What is compared alternates in one process.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from detect_measures import (
    DIM,
    exact_nearest,
    fit,
    grid,
    interleaved,
    kinds,
    memory_of_fit,
    slices,
    state_mib,
    textbook_step,
)
from torch.nn.functional import normalize

from aggregate.anomaly.arithmetic.mixture.rules import OURS
from aggregate.anomaly.arithmetic.mixture.start import first_sticks
from aggregate.anomaly.arithmetic.mixture.update import Mixture, Statistics, log_weights, observe

MEMORY_BATCHES = (8, 24)
"""A cohort, and one three times as large; the first batches still grow the allocator."""


def measure_detectors(names: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Fit each for a short while, then score one slice with each in turn, beside the exact search."""
    fitted = {name: fit(name, args.slices, epochs=2) for name in names}
    queries = {name: slices(1, grid(name), 12345) for name in names}
    bank = normalize(torch.randn(args.bank, DIM, generator=torch.Generator().manual_seed(0)), dim=1)
    calls: dict[str, Any] = {
        name: (lambda name=name: fitted[name].detector.score(queries[name])) for name in names
    }
    for side in sorted({grid(name) for name in names}):
        tokens = slices(1, side, 54321).patches.flatten(0, 2)
        calls[f"exact {side}"] = lambda tokens=tokens: exact_nearest(tokens, bank)
    taken = interleaved(calls, args.repeats)
    results: dict[str, Any] = {}
    for name in names:
        one, exact = fitted[name], taken[f"exact {grid(name)}"]
        spec = kinds()[name]()
        steps = -(-args.slices // one.detector.batch_slices)
        results[name] = {
            "grid": grid(name),
            "step_seconds": one.step_seconds,
            "slices_per_step": one.detector.batch_slices,
            "end_of_epoch_seconds": one.end_seconds,
            "epoch_seconds": steps * one.step_seconds + one.end_seconds,
            "epochs": spec.build(0).epochs,
            "score_ms_per_slice": 1e3 * taken[name],
            "exact_ms_per_slice": 1e3 * exact,
            "exact_over_score": exact / taken[name],
            "state_mib": state_mib(one.detector),
        }
    return results


def measure_step(args: argparse.Namespace) -> dict[str, Any]:
    """The DPMM's step with every component alive, ours in float64, the textbook's in float32."""
    patches = slices(max(1, args.textbook_tokens // 1024), 32, 7).patches
    tokens = normalize(patches.flatten(0, 2).double(), dim=1)[: args.textbook_tokens]
    k = args.components
    variance = (tokens.var(0, correction=0) + 1e-6).expand(k, DIM)
    mixture = Mixture(log_weights(first_sticks(k, 2.0, 0)), tokens[:k].clone(), variance, 1e-6)
    single = Mixture(mixture.log_weight.float(), mixture.mean.float(), variance.float(), 1e-6)
    ours, theirs = Statistics.zero(k, DIM, full=False), Statistics.zero(k, DIM, full=False)
    plain = Statistics(theirs.mass.float(), theirs.first.float(), theirs.second.float())
    given = tokens.float()

    def step() -> None:
        observe(tokens, mixture, ours, 0.2)
        ours.gaussians(mixture.reg, OURS.eps)

    taken = interleaved(
        {
            "ours": step,
            "products": lambda: textbook_step(given, single, plain, 0.2, products=True),
            "differences": lambda: textbook_step(given, single, plain, 0.2, products=False),
        },
        args.repeats,
    )
    return {f"{name}_seconds": value for name, value in taken.items()} | {
        "tokens": len(tokens),
        "components": k,
        "products_over_ours": taken["products"] / taken["ours"],
        "differences_over_ours": taken["differences"] / taken["ours"],
    }


def measure_memory(names: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Peak of a fit in a process of its own, by the number of batches in the cohort."""
    found = {}
    for name in names:
        size = kinds()[name]().build(0).batch_slices
        found[name] = {f"{n}_batches_mib": memory_of_fit(name, n * size) for n in MEMORY_BATCHES}
    return found


def show(results: dict[str, Any], args: argparse.Namespace) -> None:
    """Tables for people."""
    first, second = (f"{n}_batches_mib" for n in MEMORY_BATCHES)
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {args.repeats}; ", end=""
    )
    print(f"exact search among {args.bank} tokens; an epoch is {args.slices} slices\n")
    print(
        "| detector | grid | step s (slices) | epoch s | epochs | score ms | exact ms | exact / score ",
        end="",
    )
    print(f"| state MiB | peak MiB of a fit of {MEMORY_BATCHES[0]} batches | of {MEMORY_BATCHES[1]} |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, r in results["detectors"].items():
        memory = results["memory"][name]
        print(
            f"| {name} | {r['grid']} | {r['step_seconds']:.3f} ({r['slices_per_step']}) "
            f"| {r['epoch_seconds']:.2f} | {r['epochs']} | {r['score_ms_per_slice']:.2f} "
            f"| {r['exact_ms_per_slice']:.0f} | {r['exact_over_score']:.0f} | {r['state_mib']:.1f} "
            f"| {memory[first]:.0f} | {memory[second]:.0f} |"
        )
    step = results.get("dpmm_step")
    if step:
        print(f"\nA DPMM step of {step['tokens']} tokens, {step['components']} components, all evaluated:\n")
        print("| form | ms | ratio to ours |\n|---|---|---|")
        print(f"| ours, float64 | {1e3 * step['ours_seconds']:.0f} | 1 |")
        for form, what in (("products", "N x D x D products"), ("differences", "N x K x D differences only")):
            ratio = step[f"{form}_over_ours"]
            print(f"| textbook, float32, {what} | {1e3 * step[f'{form}_seconds']:.0f} | {ratio:.0f} |")


def main() -> None:
    """Print tables, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detectors", nargs="+", choices=list(kinds()), default=list(kinds()))
    for name, default in (("slices", 64), ("bank", 500_000), ("components", 500), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--textbook-tokens", type=int, default=2048, help="12288 needs 8 GiB")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    results: dict[str, Any] = {"detectors": measure_detectors(args.detectors, args)}
    if "dpmm" in args.detectors:
        results["dpmm_step"] = measure_step(args)
    results["memory"] = measure_memory(args.detectors, args)
    show(results, args)
    if args.json:
        settings = {k: v for k, v in vars(args).items() if k != "json"}
        args.json.write_text(json.dumps({"settings": settings, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
