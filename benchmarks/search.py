"""Searches of a memory bank by torch's product, by oneDNN's, and by faiss where it is installed.

    OMP_NUM_THREADS=1 python benchmarks/search.py --json out.json

The queries are slices of unit tokens, the bank is drawn likewise; each way answers the same question, and its
results are held to ours in float64 (share of the same neighbours, largest error of the distance). Processor
seconds of one thread, the best of some turns that alternate.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aggregate.anomaly.arithmetic import nearest
from aggregate.heads.multiply import multiplied_by, multiply

Search = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Queries and bank -> distance and place of the nearest."""
AGREES = 1e-6
"""Of a distance in float64: neighbours no further apart than this share are both right."""


def ours(query: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """As the detectors search."""
    found = nearest.nearest_euclidean(query, bank)
    return found.distance, found.index


def by_product(product: Any, query: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The same blocks, multiplied otherwise."""
    squares, best = bank.square().sum(1), query.new_full((len(query),), torch.inf)
    index = torch.zeros(len(query), dtype=torch.long)
    with multiplied_by(product):
        for start in range(0, len(bank), nearest.BANK):
            part = bank[start : start + nearest.BANK]
            values, places = (squares[start : start + nearest.BANK] - 2 * multiply(query, part.T)).min(1)
            nearer = values < best
            best, index = torch.where(nearer, values, best), torch.where(nearer, places + start, index)
    return (query - bank[index]).square().sum(1).sqrt(), index


def by_faiss(faiss: Any, query: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Its flat index, made anew: adding is a copy."""
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank.numpy())
    squares, places = index.search(query.numpy(), 1)
    return torch.from_numpy(squares[:, 0]).clamp_min(0).sqrt(), torch.from_numpy(places[:, 0])


def ways() -> dict[str, Search]:
    """What there is."""
    found: dict[str, Search] = {"torch": ours, "onednn": partial(by_product, "onednn")}
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        return found
    faiss.omp_set_num_threads(1)
    return found | {"faiss": partial(by_faiss, faiss)}


def held(query: Tensor, bank: Tensor, found: tuple[Tensor, Tensor]) -> dict[str, float]:
    """A way's results beside those of float64."""
    own, places = found
    truth = nearest.nearest_euclidean(query.double(), bank.double()).distance
    taken = (query.double() - bank[places].double()).square().sum(1).sqrt()
    return {
        "same_neighbour": float((taken <= truth * (1 + AGREES)).double().mean()),
        "largest_error": float((own.double() - truth).abs().max()),
    }


def measure(tokens: int, dim: int, queries: int, turns: int) -> dict[str, Any]:
    """One size of bank."""
    generator = torch.Generator().manual_seed(tokens + dim)
    bank, query = (
        torch.nn.functional.normalize(torch.randn(n, dim, generator=generator), dim=1)
        for n in (tokens, queries)
    )
    every, best = ways(), {}
    for _ in range(turns):
        for name, search in every.items():
            start = time.process_time()
            search(query, bank)
            best[name] = min(best.get(name, torch.inf), time.process_time() - start)
    few = query[:256]
    exact = {name: held(few, bank, search(few, bank)) for name, search in every.items()}
    return {"tokens": tokens, "dim": dim, "seconds": best, "exact": exact}


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[192, 384, 768])
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for tokens in options.tokens:
        for dim in options.dims:
            row = measure(tokens, dim, options.queries, options.turns)
            rows.append(row)
            told = ", ".join(
                f"{name} {seconds:.3f} s (same {row['exact'][name]['same_neighbour']:.4f}, "
                f"error {row['exact'][name]['largest_error']:.1e})"
                for name, seconds in row["seconds"].items()
            )
            print(f"{tokens} x {dim}: {told}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
