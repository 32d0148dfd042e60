"""Apply a bundle to a store: one row per committed volume.

A participant of the training cohort is scored only by members that did not see him; everybody else by
the mean logits of all members.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from aggregate.bags.bags import Bags, read_bags
from aggregate.bags.beside import NOTHING, Beside, arrays_by_name
from aggregate.bags.token_names import token_names
from aggregate.cohort.select import SelectSpec, choose_runs, make_bags, mismatch
from aggregate.common.softmax import softmax
from aggregate.predict.bundle import Bundle, BundleCard
from aggregate.training.stacked import apply_head
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.header import Header, Numerics, differing_fields, require_equal
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader
from cache_schema.store.reading.records import Picked

logger = logging.getLogger("slicecache.predict")

READ_BATCH = 256
"""Volumes read from the store at once."""


def predict_store(bundle: Bundle, store: StoreReader, beside: Beside = NOTHING) -> pd.DataFrame:
    """Score every committed volume of a store that is of the kind that the bundle was trained on.

    A bundle that reads from several stores needs the others in `beside`, under the names it knows them by.

    With `combine: concat` a row is a session, its volume_id those of all its volumes.

    Returns:
        Columns participant_id, session_id, volume_id, members (names of those that scored, by blanks),
        logit_* (mean over them), p_* (softmax of the mean of the logits over each member's temperature),
        threshold (their mean; binary only) and predicted. A participant whom every member saw has no
        members and NaN.

    Raises:
        StoreMismatch: If the store's fingerprint is not the bundle's, naming the fields.
        SlicecacheError: If the store lacks the tokens that the bundle reads.
    """
    check_store(bundle.card, store.header, store.location, beside)
    rows = [
        row for keys, logits in _scored(bundle, store, beside) for row in _rows(bundle.card, keys, logits)
    ]
    unseen = sorted({row["participant_id"] for row in rows if not row["members"]})
    if unseen:
        logger.warning(
            "%d participant(s) had a part in every member of the bundle and get no prediction, e.g. %s",
            len(unseen),
            ", ".join(unseen[:3]),
        )
    return pd.DataFrame(rows, columns=_columns(bundle.card))


def check_store(card: BundleCard, header: Header, location: str, beside: Beside = NOTHING) -> None:
    """Refuse a store of other embeddings; warn of other arithmetic.

    Raises:
        StoreMismatch: If the fingerprints differ, naming the fields with both values.
        SlicecacheError: If the store has no such tokens.
    """
    require_equal(
        card.fingerprint,
        header.fingerprint,
        f"the bundle (here) was trained on other embeddings than the store {location} (there) holds",
        "Extract a store as the bundle's was made.",
    )
    warn_of_numerics(card.numerics, header, location)
    _check_beside(card, beside)
    shapes = {name: array.item_shape for name, array in arrays_by_name(header, beside).items()}
    if not shapes.keys() >= set(token_names(card.tokens)):
        raise SlicecacheError(
            f"the bundle reads the tokens {card.tokens!r}, but the store {location} has {', '.join(shapes)}"
        )
    found = [shapes[name] for name in token_names(card.tokens)]
    if any(len(shape) != 1 for shape in found) or sum(shape[0] for shape in found) != card.dim:
        told = " and ".join(" x ".join(map(str, shape)) for shape in found)
        raise SlicecacheError(
            f"the bundle reads tokens of {card.dim} numbers, one a slice; {card.tokens!r} of the store "
            f"{location} has {told}"
        )


def _check_beside(card: BundleCard, beside: Beside) -> None:
    """Refuse other stores than the bundle's, or none where it reads from some.

    Raises:
        StoreMismatch: If fingerprints differ, naming the fields with both values.
        SlicecacheError: If one is not given, or one is given that the bundle does not know.
    """
    if odd := sorted(card.beside.keys() ^ beside.keys()):
        known = ", ".join(sorted(card.beside)) or "no other store"
        told = ", ".join(sorted(beside)) or "none"
        raise SlicecacheError(
            f"the bundle reads from {known} beside its main store, and {told} was given: say --beside "
            f"{odd[0]}=LOCATION for each of the bundle's, and no others"
        )
    for name, kept in card.beside.items():
        there = beside[name]
        require_equal(
            kept.fingerprint,
            there.header.fingerprint,
            f"the bundle (here) was trained on other embeddings than the store {name!r} ({there.location}) "
            "(there) holds",
            "Extract a store as the bundle's was made.",
        )
        warn_of_numerics(kept.numerics, there.header, there.location)


def warn_of_numerics(ours: Numerics, header: Header, location: str) -> None:
    """Say when a store, or a part of it, was computed with other arithmetic than a bundle's."""
    lines = [
        line
        for theirs in (header.numerics, *header.other_numerics)
        for line in differing_fields(ours.model_dump(mode="json"), theirs.model_dump(mode="json"))
    ]
    if lines:
        logger.warning(
            "the store %s (there) was computed with other arithmetic than the bundle's (here): %s; "
            "predictions may differ slightly",
            location,
            "; ".join(lines),
        )


def _scored(
    bundle: Bundle, store: StoreReader, beside: Beside
) -> Iterator[tuple[Sequence[VolumeKey], NDArray[np.float64]]]:
    """Bags with the logits of all members (member, bag, class), some at a time."""
    head, dtype = bundle.head(), bundle.states[0]["classifier.weight"].dtype
    bags = bags_of_store(bundle.card, store)
    for start in range(0, len(bags), READ_BATCH):
        some = bags[start : start + READ_BATCH]
        entries = [store.entries[place] for bag in some for place in bag]
        bag = np.repeat(np.arange(len(some)), [len(places) for places in some])
        read = read_bags(store, entries, bundle.card.tokens, bag, dtype, beside)
        keys = [_key([store.entries[place].key for place in places]) for places in some]
        rounded = _rounded(read, bundle.card, store.header)
        yield keys, apply_head(head, bundle.states, rounded).logits.double().numpy()


def bags_of_store(card: BundleCard, store: StoreReader) -> list[tuple[int, ...]]:
    """Places of the volumes that the bundle is for, by bag; says how many it is not for."""
    places = list(range(len(store.entries)))
    if card.select == SelectSpec() and card.combine != "concat":
        return [(place,) for place in places]
    records = store.records()
    places = [place for place in places if not mismatch(card.select, records[place])]
    runs = choose_runs(card.select, Picked(records, places))
    places = [place for place, reason in zip(places, runs, strict=True) if not reason]
    if len(places) < len(records):
        asked = card.select.model_dump(exclude_none=True)
        told = ", ".join(f"{name}: {' or '.join(values)}" for name, values in asked.items())
        logger.warning(
            "%d of %d volumes are not of the kind that the bundle was trained on (%s) and get no prediction",
            len(records) - len(places),
            len(records),
            told,
        )
    if card.combine != "concat":
        return [(place,) for place in places]
    grouped = make_bags(Picked(records, places), card.combine)
    return [tuple(places[index] for index in bag) for bag in grouped]


def _key(keys: Sequence[VolumeKey]) -> VolumeKey:
    """A bag's: its session, and all its volumes."""
    return VolumeKey(keys[0].participant_id, keys[0].session_id, "+".join(key.volume_id for key in keys))


def _rounded(bags: Bags, card: BundleCard, header: Header) -> Bags:
    """Round tokens through the storage dtype that the bundle was trained on, if the store's is finer."""
    if card.numerics.storage_dtype == "float32" or header.numerics.storage_dtype == "float16":
        return bags
    return Bags(bags.x.to(torch.float16).to(bags.x.dtype), bags.keep, bags.height_mm)


def _rows(
    card: BundleCard, keys: Sequence[VolumeKey], logits: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """One row per bag from the logits of all members."""
    participants = [frozenset(member.participants) for member in card.members]
    for column, key in enumerate(keys):
        used = [i for i, seen in enumerate(participants) if key.participant_id not in seen]
        yield {
            "participant_id": key.participant_id,
            "session_id": key.session_id,
            "volume_id": key.volume_id,
            "members": " ".join(card.members[i].name for i in used),
            **_decision(card, used, logits[used, column]),
        }


def _decision(card: BundleCard, used: Sequence[int], logits: NDArray[np.float64]) -> dict[str, Any]:
    """Logits, probabilities, threshold and label of one volume, from the members used (member, class)."""
    if not used:
        names = [name for name in _columns(card)[4:] if name != "predicted"]
        return {**dict.fromkeys(names, np.nan), "predicted": ""}
    temperatures = np.array([card.members[i].temperature for i in used])
    p = softmax((logits / temperatures[:, None]).mean(0))
    decision = {f"logit_{name}": value for name, value in zip(card.classes, logits.mean(0), strict=True)}
    decision |= {f"p_{name}": value for name, value in zip(card.classes, p, strict=True)}
    if card.positive is None:
        return {**decision, "predicted": card.classes[int(p.argmax())]}
    threshold = float(np.mean([card.members[i].threshold for i in used]))
    positive = card.classes.index(card.positive)
    chosen = positive if p[positive] >= threshold else 1 - positive
    return {**decision, "threshold": threshold, "predicted": card.classes[chosen]}


def _columns(card: BundleCard) -> list[str]:
    """Columns of the table, in order."""
    values = [f"{kind}_{name}" for kind in ("logit", "p") for name in card.classes]
    threshold = [] if card.positive is None else ["threshold"]
    return ["participant_id", "session_id", "volume_id", "members", *values, *threshold, "predicted"]
