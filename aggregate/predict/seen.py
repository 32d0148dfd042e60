"""Who had a part in a bundle: participants by id, and volumes by content whatever they are called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from aggregate.cohort.acquisition import content_key
from aggregate.cohort.cohort import Cohort
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.text.counts import counted
from cache_schema.format.record import VolumeRecord


def content_digests(record: VolumeRecord) -> tuple[str, str]:
    """Of its image file and of its numbers: two volumes that share either are one volume."""
    return _digest(f"file {record.source.sha256}"), _digest(f"content {content_key(record)}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def volumes_of(records: Iterable[VolumeRecord]) -> dict[str, tuple[str, ...]]:
    """What a bundle's card keeps of its volumes: by participant their digests, in no order of theirs."""
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(record.participant_id, set()).update(content_digests(record))
    return {name: tuple(sorted(digests)) for name, digests in sorted(found.items())}


def holders_of(volumes: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Whose a digest is, from what `volumes_of` gives; one scan may be several participants'."""
    found: dict[str, set[str]] = {}
    for name, digests in volumes.items():
        for digest in digests:
            found.setdefault(digest, set()).add(name)
    return {digest: frozenset(names) for digest, names in found.items()}


@dataclass(frozen=True, slots=True)
class Recognised:
    """Participants under other ids whom a bundle knows by the content of a volume."""

    whose: dict[str, frozenset[str]] = field(default_factory=dict)
    """Id here -> who they are in the training, of those that have another id there, too."""
    n_volumes: int = 0
    """That were recognised; what else such a participant has is of the same person."""

    def known_as(self, participant: str) -> frozenset[str]:
        """Everybody of the training that a participant may be: by id, and by content."""
        return self.whose.get(participant, frozenset()) | {participant}

    def sentence(self, what_follows: str, tells_whose: bool = True) -> str:
        """`1 volume is that of training participant sub-01 by its content: ...`.

        Args:
            what_follows: From it.
            tells_whose: The bundle keeps whose a volume is; one from before it did makes anybody's of it.
        """
        if not tells_whose:
            was, its = ("was", "its") if self.n_volumes == 1 else ("were", "their")
            return (
                f"{counted(self.n_volumes, 'volume')} {was} in training by {its} content, under another id; "
                "the bundle is from before it kept whose, so no member is known not to have seen them: train "
                "it again"
            )
        people = sorted(frozenset().union(*self.whose.values()))
        whose = f"training participant{'s' * (len(people) > 1)} {listed(people, 3)}"
        verb, its = ("is that", "its") if self.n_volumes == 1 else ("are those", "their")
        return f"{counted(self.n_volumes, 'volume')} {verb} of {whose} by {its} content: {what_follows}"


def recognise(holders: Mapping[str, frozenset[str]], records: Iterable[VolumeRecord]) -> Recognised:
    """Look for volumes of the training that are here under another participant's id.

    Args:
        holders: As `holders_of` gives them; nothing is recognised by none.
        records: Of the volumes here.
    """
    whose: dict[str, frozenset[str]] = {}
    n_volumes = 0
    for record in records if holders else ():
        by_file, by_numbers = (holders.get(d, frozenset()) for d in content_digests(record))
        own = record.participant_id
        others = by_file.union(by_numbers) - {own} if by_file or by_numbers else frozenset()
        if others:
            n_volumes += 1
            whose[own] = whose.get(own, frozenset()) | others
    return Recognised(whose, n_volumes)


def refuse_seen(
    cohort: Cohort, participants: Iterable[str], contents: Iterable[str], own_ids: bool = False
) -> None:
    """Refuse a cohort of which anybody was in training.

    Args:
        cohort: That is to be outside of it.
        participants: Of the training.
        contents: Digests of its volumes.
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
    return f"{counted(len(unique), 'participant')} ({listed(unique, 3)})"


def _bare(participant: str) -> str:
    """An id as a join compares it."""
    return participant.removeprefix("sub-")
