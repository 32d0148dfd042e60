"""Who had a part in a bundle: participants by id, and volumes by content whatever they are called."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from aggregate.cohort.acquisition import content_key
from aggregate.cohort.cohort import Cohort
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.record import VolumeRecord


def content_digests(record: VolumeRecord) -> tuple[str, str]:
    """Of its image file and of its numbers: two volumes that share either are one volume."""
    return _digest(f"file {record.source.sha256}"), _digest(f"content {content_key(record)}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def contents_of(records: Iterable[VolumeRecord]) -> tuple[str, ...]:
    """What a bundle's card keeps of its training's volumes, in an order that tells nothing."""
    return tuple(sorted({digest for record in records for digest in content_digests(record)}))


def refuse_seen(
    cohort: Cohort, participants: Iterable[str], contents: Sequence[str], own_ids: bool = False
) -> None:
    """Refuse a cohort of which anybody was in training.

    Args:
        cohort: That is to be outside of it.
        participants: Of the training.
        contents: Of its volumes, as `contents_of` gives them.
        own_ids: An id that both have is two people.

    Raises:
        SlicecacheError: Naming the participants.
    """
    known = frozenset(contents)
    copies = [r.participant_id for r in cohort.records if not known.isdisjoint(content_digests(r))]
    if copies:
        raise SlicecacheError(
            f"the external cohort holds volumes that were in training: {_named(copies)} "
            "(equal file or equal content); leave them out by where"
        )
    trained = {_bare(name) for name in participants}
    shared = [name for name in cohort.participants.tolist() if _bare(name) in trained]
    if shared and not own_ids:
        raise SlicecacheError(
            f"participants of the external cohort were in training: {_named(shared)}; leave them out by "
            "where, or, if both cohorts only count alike and these are other people, say own_ids: true"
        )


def _named(people: Sequence[str]) -> str:
    """`3 participants (sub-01, sub-02, sub-07)`."""
    unique = list(dict.fromkeys(people))
    return f"{len(unique)} participant{'s' * (len(unique) > 1)} ({listed(unique, 3)})"


def _bare(participant: str) -> str:
    """An id as a join compares it."""
    return participant.removeprefix("sub-")
