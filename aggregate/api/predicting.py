"""`sc.predict`: a bundle of heads or detectors, from a folder or from a result, on a store."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from aggregate.anomaly.study.bundle import DetectorBundle, is_detector_bundle, load_detectors
from aggregate.anomaly.study.predict import predict_detectors
from aggregate.anomaly.study.wanted import wanted_by_card
from aggregate.api.results import DetectResult, TrainResult
from aggregate.common.run_folder import find_bundle, permit_bundle
from aggregate.predict.bundle import Bundle, load_bundle
from aggregate.predict.predict import predict_store as predict_heads
from cache_schema.common.errors import ConfigError
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.wanted import StoreMaker

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from aggregate.api.store import Store

Bundled = str | Path | Bundle | DetectorBundle | TrainResult | DetectResult
"""A bundle: its folder, itself, or what holds one."""


def predict(
    bundle: Bundled,
    store: "str | Path | Store | StoreReader | StoreMaker",
    *,
    beside: "Mapping[str, str | Path | Store | StoreReader] | None" = None,
    cohort: str | Path | None = None,
    maps: str | Path | None = None,
    allow_unlike_reference: bool = False,
    allow_custom: bool = False,
) -> "pd.DataFrame":
    """Apply a trained bundle to every volume of a store, or to images that are embedded first.

    A participant who was in training is scored only by members that did not see them.

    Args:
        bundle: Its folder, the run folder, or what `sc.train` and `sc.detect` returned.
        store: Of the same embeddings; or `sc.Images(...)`, which makes one.
        beside: Of a bundle that reads from several stores: the others, by the names that it was trained with.
        cohort: Of a bundle whose training was harmonised: the table that says whose site, age and sex (or
            what else it preserved) are which.
        maps: Of detectors: folder for NIfTI anomaly maps; without it nothing is written.
        allow_unlike_reference: Of detectors: score volumes of another contrast or kind of foreground, too.
        allow_custom: Import the custom parts that a bundle in a folder names; in the process that made them
            they are known.

    Returns:
        A row per volume (and detector): of heads `logit_*`, `p_*`, `threshold`, `predicted` and the members
        that scored; of detectors the columns of `scores.csv`.

    Raises:
        StoreMismatch: If the store holds other embeddings than the bundle reads, naming the fields.
        SlicecacheError: If bundle or store cannot be used.

    Example:
        >>> table = sc.predict("runs/demo/bundle", "new.zarr")
        >>> table[["participant_id", "predicted"]]
        >>> table = sc.predict("runs/demo/bundle", sc.Images("data/bids", "new/cache.zarr"))
    """
    loaded = loaded_bundle(bundle, allow_custom)
    reader = made_for(loaded, store) if isinstance(store, StoreMaker) else _reader(store)
    if isinstance(loaded, Bundle):
        if maps is not None:
            raise ConfigError("maps are what detectors draw, and the bundle is of heads")
        others = {name: _reader(other) for name, other in (beside or {}).items()}
        return predict_heads(loaded, reader, others, None if cohort is None else Path(cohort))
    if beside or cohort:
        raise ConfigError("stores beside and a table are for a bundle of heads, and this one is of detectors")
    table, warnings = predict_detectors(
        loaded, reader, maps=None if maps is None else Path(maps), allow_unlike=allow_unlike_reference
    )
    for sentence in warnings:
        logging.getLogger("slicecache").warning(sentence)
    return table


def loaded_bundle(bundle: Bundled, allow_custom: bool) -> "Bundle | DetectorBundle":
    """A bundle in memory."""
    if isinstance(bundle, TrainResult | DetectResult):
        if bundle.bundle is None:
            raise ConfigError("only baselines were fitted, and they are in no bundle; name a detector")
        return bundle.bundle
    if isinstance(bundle, Bundle | DetectorBundle):
        return bundle
    folder = find_bundle(Path(bundle))
    if allow_custom:
        permit_bundle(folder)
    return load_detectors(folder) if is_detector_bundle(folder) else load_bundle(folder)


def made_for(bundle: "Bundle | DetectorBundle", maker: "StoreMaker") -> StoreReader:
    """The store that a bundle reads, made of images."""
    reader = maker.store_for(wanted_by_card(bundle.card))
    if maker.failed:
        logging.getLogger("slicecache").warning("some images have no prediction: %s", maker.told())
    return reader


def _reader(store: "str | Path | Store | StoreReader") -> StoreReader:
    """A store, opened."""
    if isinstance(store, str | Path):
        return open_store(store)
    return store if isinstance(store, StoreReader) else store.reader
