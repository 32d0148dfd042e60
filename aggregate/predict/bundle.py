"""A bundle: trained heads that can be applied elsewhere, as JSON and safetensors, never a pickle.

`bundle.json` says what the members are, which tokens they read and who they saw in training;
`members.safetensors` holds their weights as `<member>/<parameter>`. No Python name of ours is stored, and
a custom head's target is text, which nothing imports unless the caller permits it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from aggregate.bags.token_names import StoreName
from aggregate.bags.views import TestViewsSpec
from aggregate.cohort.select import SelectSpec
from aggregate.heads.base import Head
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.registry import HeadSpec
from aggregate.predict.bundle_files import (
    CardBase,
    read_card,
    read_tensors,
    tensors_below,
    write_bundle_files,
)
from aggregate.predict.column_models import Designs, Solutions, column_tensors, read_columns
from aggregate.predict.familiar import Familiar, FamiliarCard, read_familiar
from aggregate.predict.harmonised import Harmonised, HarmonisedCard, read_harmonised
from aggregate.predict.mean_pooling import MEAN_POOLING, mean_pooling_tensors, read_mean_pooling
from aggregate.predict.seen import Recognised, holders_of, recognise
from aggregate.predict.states import check_states
from aggregate.targets.base import LearntTask
from aggregate.targets.registry import SPECS, USUAL, task_named
from aggregate.training.runs import TrainedRun
from aggregate.training.solving.logistic import Solution
from cache_schema.common.custom import give, permit
from cache_schema.common.strict import Strict, later
from cache_schema.common.text.counts import counted
from cache_schema.format.header import Fingerprint, Numerics
from cache_schema.format.limits import Digest, Extent
from cache_schema.format.record import VolumeRecord

FAMILIAR = "familiar"
"""Below it lies what a bundle keeps of its training cohort."""


class Member(Strict):
    """One trained head, what it saw, and how its logits become a decision."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$")
    """Unique in the bundle, e.g. `r0-f3-s0`."""
    configuration: str
    repeat: int
    fold: int
    seed: int
    participants: tuple[str, ...]
    """Everybody whose data had a part in it: training, stopping, threshold and temperature."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """On the positive class's probability."""
    temperature: float = Field(default=1.0, ge=1e-3, le=1e3)
    """Divides the logits before the softmax."""
    best_epoch: int
    epochs: int


class BesideCard(Strict):
    """Another store that tokens are read from."""

    fingerprint: Fingerprint
    numerics: Numerics


class BundleCard(CardBase):
    """All that a bundle says in words and numbers."""

    format: Literal["slicecache-bundle"] = "slicecache-bundle"
    tokens: str
    """The array of the store that the head reads."""
    dim: Extent
    classes: tuple[str, ...] = Field(max_length=1000)
    """Labels in the order of the logits; none where the target has no classes."""
    positive: str | None = None
    """The label that a binary threshold is about."""
    beside: dict[StoreName, BesideCard] = later({})
    """Other stores of the same volumes: those that `tokens` names arrays of, and those of `views`."""
    views: TestViewsSpec = later(TestViewsSpec())
    """What the members read beside the slices as they are; nothing in bundles of before."""
    select: SelectSpec = later(SelectSpec())
    """Which volumes of a session it was trained on."""
    combine: Literal["concat", "mean"] | None = later(None)
    """What several volumes of a session were to each other: with `concat` a bag holds all of them."""
    task: str = later(USUAL)
    """What kind of target it was trained for."""
    outputs: Annotated[int, Field(ge=1, le=1000)] | None = later(None)
    """Of the head, where they are not one per class."""
    head: HeadSpec
    members: tuple[Member, ...] = Field(min_length=1)
    mean_pooling: int = later(0, ge=0, le=100_000)
    """Solutions of mean pooling + logistic regression beside the members; none in bundles of before."""
    columns: Designs = later({})
    """Models of confounds and acquisition, by baseline and fold; none in bundles of before."""
    contents: tuple[Digest, ...] = later(())
    """In bundles from before `volumes`: the same digests, and not whose they are."""
    familiar: FamiliarCard | None = later(None)
    """What the training cohort looked like (see `predict.familiar`); none in bundles of before."""
    harmonised: HarmonisedCard | None = later(None)
    """How each fold's tokens were harmonised (see `predict.harmonised`), where they were."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"member names are not unique: {', '.join(sorted(names))}")
        if self.task not in SPECS:
            raise ValueError(f"task is {self.task!r}, which is none of {', '.join(SPECS)}")
        if SPECS[self.task].has_classes != (len(self.classes) > 1):
            raise ValueError(f"{self.task} does not go with {len(self.classes)} classes")
        if self.harmonised is not None and len(self.harmonised.designs) != len(self.folds):
            raise ValueError(f"{len(self.harmonised.designs)} harmonised folds are not {len(self.folds)}")
        if self.harmonised is not None and self.mean_pooling not in (0, len(self.folds)):
            raise ValueError(f"{self.mean_pooling} solutions are not one for each of {len(self.folds)} folds")
        if len(set(self.classes)) != len(self.classes) or "" in self.classes:
            raise ValueError(f"classes must be different labels, not {self.classes}")
        if self.positive is not None and (self.positive not in self.classes or len(self.classes) != 2):
            raise ValueError(f"positive is {self.positive!r}, which is none of two classes {self.classes}")
        return self

    @property
    def folds(self) -> dict[tuple[int, int], list[int]]:
        """Places of the members of each fold, by repeat and fold."""
        found: dict[tuple[int, int], list[int]] = {}
        for place, member in enumerate(self.members):
            found.setdefault((member.repeat, member.fold), []).append(place)
        return found

    @property
    def everybody(self) -> frozenset[str]:
        """Who had a part in any member."""
        return frozenset(name for member in self.members for name in member.participants)

    @property
    def holders(self) -> dict[str, frozenset[str]]:
        """As of every card; a bundle that keeps only the digests cannot tell whose one is: anybody's."""
        return dict.fromkeys(self.contents, self.everybody) | holders_of(self.volumes)

    def recognised(self, records: Iterable[VolumeRecord]) -> Recognised:
        """Who is here under another id; one that cannot tell whose a volume is believes ids that it knows."""
        if self.volumes or not self.contents:
            return recognise(self.holders, records)
        everybody = self.everybody
        return recognise(self.holders, (each for each in records if each.participant_id not in everybody))

    @property
    def n_outputs(self) -> int:
        """Of the head."""
        return self.outputs or len(self.classes)

    @property
    def kind(self) -> LearntTask:
        """The kind of target, as it tells what is predicted."""
        return task_named(self.task, self.classes)


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """The card and each member's weights, in the card's order."""

    card: BundleCard
    states: tuple[dict[str, Tensor], ...]
    familiar: Familiar | None = None
    """The training cohort, where the card has one."""
    mean_pooling: tuple[Solution, ...] = ()
    """Mean pooling + logistic regression of every fold."""
    columns: Solutions = field(default_factory=dict)
    """Models of confounds and acquisition of every fold, by baseline."""
    harmonised: Harmonised | None = None
    """What every fold learnt of the sites, where tokens were harmonised."""

    def __repr__(self) -> str:
        learnt = " or ".join(self.card.classes) or self.card.task
        return f"<Bundle of {counted(len(self.states), 'head')}, {self.card.head.name}, for {learnt}>"

    def head(self) -> Head:
        """The head that the weights belong to."""
        return self.card.head.build(self.card.dim, self.card.n_outputs)


def member_of(
    run: TrainedRun, participants: Sequence[str], threshold: float = 0.5, temperature: float = 1.0
) -> Member:
    """Describe one trained run; `participants` are those of its training and validation bags."""
    spec = run.spec
    return Member(
        name=f"r{spec.repeat}-f{spec.fold}-s{spec.seed}",
        configuration=spec.configuration,
        repeat=spec.repeat,
        fold=spec.fold,
        seed=spec.seed,
        participants=tuple(sorted(set(participants))),
        threshold=threshold,
        temperature=temperature,
        best_epoch=run.best_epoch,
        epochs=run.epochs,
    )


def save_bundle(folder: str | Path, bundle: Bundle) -> None:
    """Write both files; the card comes last, so that a folder without one is no bundle.

    Raises:
        SlicecacheError: If a member's weights do not fit the head.
    """
    folder = Path(folder)
    check_states(bundle.head().shapes, bundle.card.members, bundle.states, str(folder))
    tensors = {
        f"{member.name}/{name}": value
        for member, state in zip(bundle.card.members, bundle.states, strict=True)
        for name, value in state.items()
    }
    beside = mean_pooling_tensors(bundle.mean_pooling)
    tensors |= {f"{MEAN_POOLING}/{name}": value for name, value in beside.items()}
    tensors |= column_tensors(bundle.columns)
    if bundle.harmonised is not None:
        tensors |= bundle.harmonised.tensors()
    if bundle.familiar is not None:
        tensors |= {f"{FAMILIAR}/{name}": value for name, value in bundle.familiar.tensors().items()}
    write_bundle_files(folder, bundle.card, tensors)


def load_bundle(folder: str | Path, custom: Any = None, allow_custom: bool = False) -> Bundle:
    """Read a bundle and check that it is whole.

    Args:
        folder: Holds both files.
        custom: The class (or function) of a custom head, which is then used for what the card names.
        allow_custom: Import what the card names.

    Raises:
        SlicecacheError: If a file is missing, unreadable or not the one that the card was written for, or
            if its head is custom and neither given nor allowed.
    """
    folder = Path(folder)
    card = _with_custom(read_card(folder, BundleCard), custom, allow_custom)
    tensors = read_tensors(folder, card)
    bundle = Bundle(card, tuple(tensors_below(tensors, member.name) for member in card.members))
    check_states(bundle.head().shapes, card.members, bundle.states, str(folder))
    kept = tensors_below(tensors, MEAN_POOLING)
    n_outputs = card.kind.goal().n_outputs
    solutions = read_mean_pooling(kept, card.mean_pooling, card.dim, n_outputs, str(folder))
    columns = read_columns(tensors, card.columns, n_outputs, str(folder))
    bundle = replace(bundle, mean_pooling=solutions, columns=columns)
    if card.harmonised is not None:
        kept_sites = read_harmonised(card.harmonised, tensors, card.dim, str(folder))
        bundle = replace(bundle, harmonised=kept_sites)
    if card.familiar is None:
        return bundle
    names = frozenset(member.name for member in card.members)
    kept = tensors_below(tensors, FAMILIAR)
    return replace(bundle, familiar=read_familiar(card.familiar, kept, names, card.dim, str(folder)))


def _with_custom(card: BundleCard, custom: Any, allow_custom: bool) -> BundleCard:
    """The card with its custom head given or permitted, if it has one."""
    if not isinstance(card.head, CustomHeadSpec):
        return card
    if custom is not None:
        head = card.head.model_copy(update={"target": give(custom)})
        return card.model_copy(update={"head": head})
    if allow_custom:
        permit(card.head.target)
    return card
