"""Apply a bundle to a store: one row per committed volume.

A participant of the training cohort, known by id or by the content of a volume, is scored only by members
that did not see him; everybody else by the mean logits of all members.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.bags.bags import read_bags
from aggregate.bags.beside import NOTHING, Beside
from aggregate.bags.views import with_views
from aggregate.cohort.select import SelectSpec, choose_runs, make_bags, mismatch
from aggregate.common.softmax import softmax
from aggregate.predict.bundle import Bundle, BundleCard
from aggregate.predict.check import check_store
from aggregate.predict.compare import Batch, Comparison, compare
from aggregate.predict.people import people_of_bags
from aggregate.predict.scoring import Said, frozen_threshold, joined, say, tempered
from aggregate.predict.seen import Recognised
from aggregate.targets.registry import USUAL
from cache_schema.common.text.counts import counted
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader
from cache_schema.store.reading.records import Picked

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


def predict_store(
    bundle: Bundle, store: StoreReader, beside: Beside = NOTHING, table: Path | None = None
) -> pd.DataFrame:
    """Score every committed volume of a store that is of the kind that the bundle was trained on.

    A bundle that reads from several stores needs the others in `beside`, under the names it knows them by.
    One whose training was harmonised needs a table that says whose site, age and sex are which.
    With `combine: concat` a row is a session, its volume_id those of all its volumes. What makes the
    predictions doubtful is logged as a warning.

    Returns:
        Columns participant_id, session_id, volume_id, members (names of those that scored, by blanks),
        logit_* (mean over them), p_* (softmax of the mean of the logits over each member's temperature),
        threshold (their mean; binary only) and predicted; of ordered classes expected_rank in place of the
        threshold; of a number prediction alone. A participant whom every member saw has no
        members and NaN. Behind these, where the bundle knows its training cohort: distance (1 is typical),
        typical_p, flag (`atypical` or empty) and unlike (facts of the acquisition that training never had).

    Raises:
        StoreMismatch: If the store's fingerprint is not the bundle's, naming the fields.
        SlicecacheError: If the store lacks the tokens that the bundle reads, or a bundle that harmonises
            cannot: without a table, or for a site that training did not see.
    """
    found = predict_and_compare(bundle, store, beside, table)
    for sentence in found.comparison.warnings:
        logger.warning(sentence)
    return found.table


def predict_and_compare(
    bundle: Bundle, store: StoreReader, beside: Beside = NOTHING, table: Path | None = None
) -> Predicted:
    """Score a store as `predict_store` does, and hold all of it against the training cohort.

    Raises:
        StoreMismatch: As `predict_store`.
        SlicecacheError: As `predict_store`.
    """
    card = bundle.card
    check_store(card, store.header, store.location, beside)
    bags = bags_of_store(card, store)
    keys = [_key([store.entries[place].key for place in places]) for places in bags]
    if not bags:
        return Predicted(pd.DataFrame(columns=_columns(card)), Comparison(pd.DataFrame()))
    people = people_of_bags(bundle, store, bags, table)
    records = store.records()
    known = card.recognised(records[place] for places in bags for place in places)
    names = [_held_as(card, known, key.participant_id) for key in keys]
    said = _said(bundle, store, bags, names, beside, people)
    rows = list(_rows(card, keys, said.logits, known))
    _tell_of_the_seen(card, known, rows)
    batch = Batch(
        participants=names,
        records=([records[place] for place in places] for places in bags),
        familiarity=said.familiarity,
        logits=said.logits,
        members=[member.name for member in card.members],
    )
    comparison = compare(bundle.familiar, batch)
    predicted = pd.DataFrame(rows, columns=_columns(card))
    return Predicted(pd.concat([predicted, comparison.rows], axis=1), comparison)


def _said(
    bundle: Bundle,
    store: StoreReader,
    bags: Sequence[tuple[int, ...]],
    names: Sequence[str],
    beside: Beside,
    people: pd.DataFrame | None,
) -> Said:
    """What the members say of bags, some of them in memory at a time."""
    parts = []
    for start in range(0, len(bags), READ_BATCH):
        some = bags[start : start + READ_BATCH]
        entries = [store.entries[place] for bag in some for place in bag]
        bag = np.repeat(np.arange(len(some)), [len(places) for places in some])
        reading = partial(read_bags, tokens=bundle.card.tokens, bag=bag)
        read = reading(store, entries, beside=beside)
        read = with_views(read, bundle.card.views, store, beside, bundle.card.tokens, entries, reading)
        own = None if people is None else people.iloc[start : start + READ_BATCH]
        parts.append(say(bundle, read, store.header, names[start : start + READ_BATCH], people=own))
    return Said(
        np.concatenate([part.logits for part in parts], axis=1),
        joined([part.familiarity for part in parts if part.familiarity is not None]),
    )


def _held_as(card: BundleCard, known: Recognised, participant: str) -> str:
    """Whom of the training somebody is compared with as: themselves, if the bundle says who that is."""
    return min(known.whose.get(participant, [participant])) if card.volumes else participant


def _tell_of_the_seen(card: BundleCard, known: Recognised, rows: Sequence[dict[str, Any]]) -> None:
    """Say who was recognised by content, and who gets no prediction since every member saw them."""
    if known.n_volumes:
        logger.warning(
            "%s", known.sentence("scored by the members that did not see them", bool(card.volumes))
        )
    unseen = sorted({row["participant_id"] for row in rows if not row["members"]})
    if unseen:
        logger.warning(
            "%s had a part in every member of the bundle and %s no prediction, e.g. %s",
            counted(len(unseen), "participant"),
            "gets" if len(unseen) == 1 else "get",
            ", ".join(unseen[:3]),
        )


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


def _rows(
    card: BundleCard, keys: Sequence[VolumeKey], logits: NDArray[np.float64], known: Recognised
) -> Iterator[dict[str, Any]]:
    """One row per bag from the logits of all members."""
    participants = [frozenset(member.participants) for member in card.members]
    for column, key in enumerate(keys):
        themselves = known.known_as(key.participant_id)
        used = [i for i, seen in enumerate(participants) if seen.isdisjoint(themselves)]
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
    if card.task != USUAL:
        return _told(card, logits.mean(0, keepdims=True))
    p = softmax(tempered(card, used, logits))
    decision = {f"logit_{name}": value for name, value in zip(card.classes, logits.mean(0), strict=True)}
    decision |= {f"p_{name}": value for name, value in zip(card.classes, p, strict=True)}
    if card.positive is None:
        return {**decision, "predicted": card.classes[int(p.argmax())]}
    threshold = frozen_threshold(card, used)
    positive = card.classes.index(card.positive)
    chosen = positive if p[positive] >= threshold else 1 - positive
    return {**decision, "threshold": threshold, "predicted": card.classes[chosen]}


def _told(card: BundleCard, said: NDArray[np.float64]) -> dict[str, Any]:
    """What is predicted of one volume (1, column), of another target than classes without an order."""
    columns = card.kind.columns(said, 0.5, 1.0)
    found = {name: np.ravel(value)[0] for name, value in columns.items()}
    return {**found, "predicted": card.classes[int(said[0].argmax())]} if card.classes else found


def _columns(card: BundleCard) -> list[str]:
    """Columns of the table, in order."""
    if card.task != USUAL:
        values = list(_told(card, np.zeros((1, max(1, len(card.classes))))))
        return ["participant_id", "session_id", "volume_id", "members", *values]
    values = [f"{kind}_{name}" for kind in ("logit", "p") for name in card.classes]
    threshold = [] if card.positive is None else ["threshold"]
    return ["participant_id", "session_id", "volume_id", "members", *values, *threshold, "predicted"]
