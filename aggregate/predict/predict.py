"""Apply a bundle to a store: one row per committed volume.

A participant of the training cohort is scored only by members that did not see him; everybody else by
the mean logits of all members.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.bags.bags import read_bags
from aggregate.common.softmax import softmax
from aggregate.predict.bundle import Bundle, BundleCard
from aggregate.predict.compare import Batch, Comparison, compare
from aggregate.predict.scoring import frozen_threshold, joined, say, tempered
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.header import Header, Numerics, differing_fields, require_equal
from cache_schema.store.reader import StoreReader, VolumeEntry

logger = logging.getLogger("slicecache.predict")

READ_BATCH = 256
"""Volumes read from the store at once."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a bundle says of a store."""

    table: pd.DataFrame
    """As `predict_store` gives it."""
    comparison: Comparison
    """With the training cohort."""


def predict_store(bundle: Bundle, store: StoreReader) -> pd.DataFrame:
    """Score every committed volume of a store; what makes the predictions doubtful is logged as a warning.

    Returns:
        Columns participant_id, session_id, volume_id, members (names of those that scored, by blanks),
        logit_* (mean over them), p_* (softmax of the mean of the logits over each member's temperature),
        threshold (their mean; binary only) and predicted. A participant whom every member saw has no
        members and NaN. Behind these, where the bundle knows its training cohort: distance (1 is typical),
        typical_p, flag (`atypical` or empty) and unlike (facts of the acquisition that training never had).

    Raises:
        StoreMismatch: If the store's fingerprint is not the bundle's, naming the fields.
        SlicecacheError: If the store lacks the tokens that the bundle reads.
    """
    found = predict_and_compare(bundle, store)
    for sentence in found.comparison.warnings:
        logger.warning(sentence)
    return found.table


def predict_and_compare(bundle: Bundle, store: StoreReader) -> Predicted:
    """Score every committed volume of a store and hold all of them against the training cohort.

    Raises:
        StoreMismatch: As `predict_store`.
        SlicecacheError: As `predict_store`.
    """
    check_store(bundle.card, store.header, store.location)
    entries = store.entries
    people = [entry.key.participant_id for entry in entries]
    parts = []
    for start in range(0, len(entries), READ_BATCH):
        bags = read_bags(store, entries[start : start + READ_BATCH], bundle.card.tokens)
        parts.append(say(bundle, bags, store.header, people[start : start + READ_BATCH]))
    if not parts:
        return Predicted(pd.DataFrame(columns=_columns(bundle.card)), Comparison(pd.DataFrame()))
    logits = np.concatenate([part.logits for part in parts], axis=1)
    rows = list(_rows(bundle.card, entries, logits))
    unseen = sorted({row["participant_id"] for row in rows if not row["members"]})
    if unseen:
        logger.warning(
            "%d participant(s) had a part in every member of the bundle and get no prediction, e.g. %s",
            len(unseen),
            ", ".join(unseen[:3]),
        )
    near = joined([part.familiarity for part in parts if part.familiarity is not None])
    names = [member.name for member in bundle.card.members]
    batch = Batch(people, [(record,) for record in store.records()], near, logits, names)
    comparison = compare(bundle.familiar, batch)
    table = pd.DataFrame(rows, columns=_columns(bundle.card))
    return Predicted(pd.concat([table, comparison.rows], axis=1), comparison)


def check_store(card: BundleCard, header: Header, location: str) -> None:
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
    names = [array.name for array in header.arrays]
    if card.tokens not in names:
        raise SlicecacheError(
            f"the bundle reads the tokens {card.tokens!r}, but the store {location} has {', '.join(names)}"
        )
    shape = header.arrays[names.index(card.tokens)].item_shape
    if shape != (card.dim,):
        raise SlicecacheError(
            f"the bundle reads tokens of {card.dim} numbers, one a slice; {card.tokens!r} of the store "
            f"{location} has {' x '.join(map(str, shape))}"
        )


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


def _rows(
    card: BundleCard, entries: Sequence[VolumeEntry], logits: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """One row per volume from the logits of all members."""
    participants = [frozenset(member.participants) for member in card.members]
    for column, entry in enumerate(entries):
        key = entry.key
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
    p = softmax(tempered(card, used, logits))
    decision = {f"logit_{name}": value for name, value in zip(card.classes, logits.mean(0), strict=True)}
    decision |= {f"p_{name}": value for name, value in zip(card.classes, p, strict=True)}
    if card.positive is None:
        return {**decision, "predicted": card.classes[int(p.argmax())]}
    threshold = frozen_threshold(card, used)
    positive = card.classes.index(card.positive)
    chosen = positive if p[positive] >= threshold else 1 - positive
    return {**decision, "threshold": threshold, "predicted": card.classes[chosen]}


def _columns(card: BundleCard) -> list[str]:
    """Columns of the table, in order."""
    values = [f"{kind}_{name}" for kind in ("logit", "p") for name in card.classes]
    threshold = [] if card.positive is None else ["threshold"]
    return ["participant_id", "session_id", "volume_id", "members", *values, *threshold, "predicted"]
