"""What a run folder's trainings multiply by, and where: found once, written down, and obeyed from then on.

The choice stands in `products.json` of the verb's folder before anything is trained (and that of
`train.device: auto` in `device.json`), and then in `config.yaml`, `metrics.json` and the keys of an
ablation's journal: who goes on, or trains again, gets the same bytes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import ValidationError

from aggregate.common.artefacts import write_json
from aggregate.config.setup import TrainingSetup
from aggregate.heads.multiply import Product, require_available
from aggregate.training.device import settled_device
from aggregate.training.probe import Probe, Work, probe, shapes_of
from aggregate.training.spec import TrainSpec
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.stored_json import read_object

FILE = "products.json"
DEVICE_FILE = "device.json"


def settled(
    folder: Path,
    train: TrainSpec,
    works: Callable[[], Sequence[Work]],
    dtype: torch.dtype,
    keep: bool = True,
) -> TrainSpec:
    """What a file says of training, with every `auto` of the arithmetic as the folder has it, or is found.

    Args:
        folder: The verb's own in the run folder.
        train: As the file has it.
        works: Gives what will be trained, where products are to be measured.
        dtype: Of the arithmetic.
        keep: Whether what is found is written down.

    Raises:
        ConfigError: If the device is not here.
        SlicecacheError: As `product_for`.
    """
    device, product = device_for(folder, train.device, keep), train.products
    if product == "auto":
        product = product_for(folder, works(), dtype, keep) if device == "cpu" else "torch"
    return train.model_copy(update={"device": device, "products": product})


def device_for(folder: Path, asked: str, keep: bool = True) -> str:
    """As asked; of `auto` what stands in the folder, or else what torch sees here.

    Raises:
        ConfigError: If it is not here.
        SlicecacheError: If what is written cannot be read.
    """
    path = folder / DEVICE_FILE
    if asked != "auto":
        return settled_device(asked)
    try:
        written = read_object(path.read_bytes())["taken"]
        return settled_device(TrainSpec(device=written).device, str(path))
    except FileNotFoundError:
        found = settled_device(asked)
    except (ValueError, KeyError, TypeError) as error:
        raise SlicecacheError(
            f"{path} should say on which device this folder's heads train, and cannot be read; remove it to "
            "look anew"
        ) from error
    if keep:
        write_json(path, {"taken": found})
    logging.getLogger("slicecache").info("device: %s (auto)", found)
    return found


def product_for(folder: Path, works: Sequence[Work], dtype: torch.dtype, keep: bool = True) -> Product:
    """What stands in the folder, or else what is fastest here.

    Args:
        folder: The verb's own in the run folder.
        works: What will be trained.
        dtype: Of the arithmetic; only float32 has a choice.
        keep: Whether what is measured is written down.

    Raises:
        SlicecacheError: If what is written cannot be read, or this machine does not have it.
    """
    found, logger = _written(folder / FILE), logging.getLogger("slicecache")
    if found is None:
        found = probe(shapes_of(works) if dtype == torch.float32 else [])
        if keep:
            write_json(folder / FILE, found.model_dump(mode="json"))
    logger.info("%s", found.sentence())
    require_available(found.taken)
    return found.taken


def _written(path: Path) -> Probe | None:
    """What an earlier run measured."""
    try:
        return Probe.model_validate(read_object(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError) as error:
        raise SlicecacheError(
            f"{path} should say by what this folder's trainings multiply, and cannot be read; remove it to "
            "measure anew"
        ) from error


def with_arithmetic(setup: TrainingSetup, train: TrainSpec) -> TrainingSetup:
    """The setup with the device that was settled, and told by what to multiply unless it says so itself."""
    told = {"device": train.device} if setup.train.device == "auto" else {}
    told |= {"products": train.products} if setup.train.products == "auto" else {}
    return replace(setup, train=setup.train.model_copy(update=told))
