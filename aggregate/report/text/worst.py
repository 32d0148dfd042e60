"""Who is called most wrongly, as a table: worth a look at their images, their labels and their rows."""

import pandas as pd

from aggregate.report.text.tables import TextTable
from aggregate.report.text.words import number

MOST = 10
"""Participants in it."""


def worst_calls(people: pd.DataFrame, said: pd.DataFrame) -> TextTable | None:
    """Participants called something else in more than half of the rounds, the surest errors first.

    Args:
        people: As `people_of` gives it.
        said: As `said_of` gives it.

    Returns:
        None if nobody is.
    """
    wrong = people[people["wrong"] * 2 > people["rounds"]].sort_values(["own", "participant_id"]).head(MOST)
    if wrong.empty:
        return None
    errors = said[said["called"] != said["label"]].groupby("participant_id")["called"]
    rows = tuple(
        (
            str(one.participant_id),
            str(one.label),
            str(sorted(errors.get_group(one.participant_id).mode())[0]),
            number(one.own),
            f"{one.wrong} of {one.rounds}",
        )
        for one in wrong.itertuples(index=False)
    )
    head = ("participant", "label", "called", "mean probability of the label", "wrong in")
    return TextTable(head, rows)


def worst_numbers(people: pd.DataFrame) -> TextTable | None:
    """Participants whose prediction is farthest from the truth.

    Args:
        people: participant_id, truth and prediction, a row each.
    """
    error = (people["prediction"] - people["truth"]).rename("error")
    order = pd.concat([people, error, error.abs().rename("size")], axis=1)
    order = order.sort_values(["size", "participant_id"], ascending=[False, True]).head(MOST)
    if order.empty:
        return None
    rows = tuple(
        (str(one.participant_id), f"{one.truth:g}", number(one.prediction), number(one.error, signed=True))
        for one in order.itertuples(index=False)
    )
    return TextTable(("participant", "truth", "mean prediction", "error"), rows)
