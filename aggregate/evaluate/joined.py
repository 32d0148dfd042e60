"""Where another table calls its participants otherwise: how to say so, as the training did if that fits."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from aggregate.cohort.table.cohort_table import read_table
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.evaluate.spec import ExternalSpec
from aggregate.predict.bundle import BundleCard
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.text.yaml_text import in_one_line

JOIN = re.compile("say join: |; join: can ")
"""Advice for a pipeline file, as `no_match` gives it."""
AS_OPTION = 'evaluate is told a join by `--set "join={...}"`'


@contextmanager
def join_advised(card: BundleCard, spec: ExternalSpec) -> Iterator[None]:
    """Say with a refusal how the join is said, where it is for that.

    Raises:
        SlicecacheError: What was raised inside, of its class, with an example.
    """
    try:
        yield
    except SlicecacheError as error:
        column = _advice(card, spec) if isinstance(error, ConfigError) else ""
        advice = column or (AS_OPTION if JOIN.search(str(error)) else "")
        if not advice:
            raise
        raise type(error)(f"{error}; {advice}") from error


def _advice(card: BundleCard, spec: ExternalSpec) -> str:
    """What to say of a table without the usual column of participants; nothing where it has that."""
    if spec.join != JoinSpec() or len(spec.cohort) > 1 or not spec.cohort[0].says_nothing:
        return ""
    columns = list(
        read_table(spec.cohort[0].table, spec.missing, spec.cohort[0].sheet or spec.sheet).text.columns
    )
    if spec.join.participant in columns:
        return ""
    trained = _trained_join(card)
    if trained is None or not trained.fits(columns):
        return 'the training\'s join is not taken over: say `--set "join={participant: COLUMN}"`'
    return f'say `--set "join={in_one_line(trained.in_names())}"`, as the training had it'


def _trained_join(card: BundleCard) -> JoinSpec | None:
    """The training's join, if its card says one."""
    try:
        return JoinSpec.model_validate(card.training["join"])
    except (KeyError, ValidationError):
        return None
