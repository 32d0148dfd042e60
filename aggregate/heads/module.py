"""A module of somebody else's: made from a seed, looked at once, applied to weights that lie outside it.

Torch has one generator for all threads, so whatever draws from it does so alone (`drawing_from`); a module
itself is used by one thread only, since applying outside weights changes it meanwhile.
"""

import copy
import inspect
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cache_schema.common.custom import resolve
from cache_schema.common.errors import ConfigError

State = dict[str, Tensor]
"""Parameters and buffers of a module, by its own names."""
BagTensors = tuple[Tensor, Tensor, Tensor]
"""x (bag, slice, dim), keep (bag, slice) and height_mm (bag, slice), with further axes before them."""

_DRAWING = threading.Lock()


@contextmanager
def drawing_from(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Let torch's generator give this seed's numbers, to this thread alone, and be as before afterwards.

    On a GPU its generator too, whose numbers of one seed are others.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with _DRAWING, torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def make_module(target: str, options: Mapping[str, Any], dim: int, seed: int) -> nn.Module:
    """`Name(dim, **options)` with the weights that this seed draws; nobody else holds it.

    Raises:
        ConfigError: If the target is not permitted, does not take these options, or makes no module.
    """
    part = resolve(target, "head")
    if isinstance(part, nn.Module):
        raise ConfigError(
            f"the head {target!r} was given as a module; give its class (or a function that makes it) and "
            "options, since each run draws first weights of its own"
        )
    try:
        inspect.signature(part).bind(dim, **options)
    except TypeError as error:
        raise ConfigError(f"the head {target!r} is made as Name(dim, **options), but {error}") from error
    except ValueError:
        pass  # written in C, and so without a signature
    with drawing_from(seed):
        made = part(dim, **options)
    if not isinstance(made, nn.Module):
        raise ConfigError(f"the head {target!r} must make a torch.nn.Module, not {type(made).__name__}")
    return copy.deepcopy(made)


def state_of(module: nn.Module) -> State:
    """Its parameters and buffers."""
    return {name: value.detach() for name, value in (*module.named_parameters(), *module.named_buffers())}


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What one look at a module in training says of it."""

    pooled_dim: int
    random: bool
    """Whether it draws numbers while it trains, as dropout does."""
    slice_width: int
    """Numbers per slice that it keeps for its backward."""


LENGTHS = (9, 4, 1)
"""Kept slices of the bags that a module is looked at with."""


def look_at(module: nn.Module, dim: int, target: str) -> ModuleFacts:
    """Apply it once, in training mode, to three bags of random tokens.

    Raises:
        ConfigError: If its results have another shape than they must, or a buffer changes.
    """
    batch = _example(dim)
    bags, slices = batch[1].shape
    before = {name: value.clone() for name, value in module.named_buffers()}
    given = {value.data_ptr() for value in (*module.parameters(), *before.values(), *batch)}
    kept: list[int] = []

    def keep(value: Tensor) -> Tensor:
        if value.data_ptr() not in given:
            kept.append(value.numel())
        return value

    with drawing_from(0), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        start = torch.default_generator.get_state()
        pooled, _ = checked(module(*batch), (bags, slices), target)
        random = not torch.equal(start, torch.default_generator.get_state())
    changed = [name for name, value in module.named_buffers() if not torch.equal(value, before[name])]
    if changed:
        raise ConfigError(
            f"the head {target!r} changes {', '.join(changed)} while it trains, as BatchNorm does, so that "
            "a bag depends on the others of its batch; use LayerNorm, or buffers that stay as they are"
        )
    return ModuleFacts(pooled.shape[1], random, -(-sum(kept) // (bags * slices)))


def _example(dim: int) -> BagTensors:
    """Bags of `LENGTHS` slices."""
    generator = torch.Generator().manual_seed(0)
    keep = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    x = torch.randn(*keep.shape, dim, generator=generator).masked_fill(~keep.unsqueeze(-1), 0)
    return x, keep, 10.0 * torch.arange(max(LENGTHS)).expand(keep.shape)


def checked(found: Any, shape: tuple[int, int], target: str) -> tuple[Tensor, Tensor | None]:
    """A module's results, if they are (pooled, attention).

    Raises:
        ConfigError: Naming what was found instead.
    """
    pair = isinstance(found, tuple | list) and len(found) == 2
    pooled, attention = found if pair else (found, None)
    shapes = [tuple(value.shape) if isinstance(value, Tensor) else value for value in (pooled, attention)]
    fits = isinstance(pooled, Tensor) and pooled.ndim == 2 and len(pooled) == shape[0]
    if not pair or not fits or not (attention is None or shapes[1] == shape):
        raise ConfigError(
            f"the head {target!r} must give (pooled, attention) of ({shape[0]}, features) and {shape} or "
            f"None, not {tuple(shapes) if pair else type(found).__name__}"
        )
    return pooled, attention


def by_loop(
    module: nn.Module, states: Sequence[State], batches: Iterable[BagTensors], seeds: Sequence[int] = ()
) -> tuple[Tensor, Tensor | None]:
    """Run by run, each on its batch: pooled (run, bag, features), and attention (run, bag, slice) or None.

    Args:
        module: Used by this thread alone.
        states: Of each run.
        batches: Of each run; one and the same for all of them, or of equal shapes.
        seeds: Of each run, for a module that draws numbers.
    """
    pooled, attention = [], []
    for run, (state, batch) in enumerate(zip(states, batches, strict=True)):
        with drawing_from(seeds[run], batch[0].device) if seeds else nullcontext():
            found = functional_call(module, state, batch)
        pooled.append(found[0])
        attention.append(found[1])
    return torch.stack(pooled), None if attention[0] is None else torch.stack(attention)


def by_vmap(
    module: nn.Module, state: State, batches: BagTensors, streams: int
) -> tuple[Tensor, Tensor | None]:
    """All runs at once; neighbouring runs see the same batch.

    Args:
        module: Used by this thread alone.
        state: (run, ...), as many runs for each stream.
        batches: (stream, bag, slice, ...).
        streams: How many.
    """

    def one(own: State, x: Tensor, keep: Tensor, height_mm: Tensor) -> tuple[Tensor, ...]:
        pooled, attention = functional_call(module, own, (x, keep, height_mm))
        return (pooled,) if attention is None else (pooled, attention)

    by_stream = {name: value.unflatten(0, (streams, -1)) for name, value in state.items()}
    found = vmap(vmap(one, in_dims=(0, None, None, None)))(by_stream, *batches)
    pooled, *attention = (value.flatten(0, 1) for value in found)
    return pooled, attention[0] if attention else None


def unbound(state: State, runs: int) -> list[State]:
    """Each run's own state; gradients come back as one stack."""
    columns = {name: value.unbind(0) for name, value in state.items()}
    return [{name: column[run] for name, column in columns.items()} for run in range(runs)]
