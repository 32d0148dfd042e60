"""Blocks side by side: one Python thread per core, each with single-threaded arithmetic.

Splitting every product over the cores instead makes each of the many small steps wait for the slower core,
which on a busy machine is most of the time. Here a core that is held up delays its own block alone. How many
blocks there are follows from the number of threads, and who shares a block decides the last digits: one
number of threads gives the same bits every time, another the same within the contract.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")


def run_side_by_side(jobs: Sequence[Callable[[], Result]], workers: int | None = None) -> list[Result]:
    """Run all jobs, as many at once as torch may use threads, or as told; results in the jobs' order.

    The first error is raised, once the jobs that run have ended; jobs that wait are not begun.
    """
    workers = min(workers or torch.get_num_threads(), len(jobs))
    with single_threaded():
        if workers <= 1:
            return [job() for job in jobs]
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let torch use one thread per operation meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
