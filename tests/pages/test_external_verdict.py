"""What the lead of an evaluation says of calibration."""

from aggregate.report.pages.evaluation import calibration_words

OFF = {
    "calibration_slope": {"value": 3.1, "ci_low": -2.9, "ci_high": 9.0},
    "calibration_intercept": {"value": 6.2, "ci_low": 2.0, "ci_high": 10.4},
}


def told(**counts: int) -> str:
    return calibration_words({"metrics": OFF, "n_per_class": counts})


def test_few_of_a_class_judge_no_calibration() -> None:
    assert told(control=9, patient=4) == (
        "Its smallest class has 4 participants: too few to judge calibration by."
    )
    assert told(control=1, patient=40).startswith("Its smallest class has 1 participant: ")
    assert told(control=10, patient=10) == "Its probabilities are too low on the whole (intercept +6.20)."


def test_the_counts_are_not_needed_where_there_is_nothing_to_judge() -> None:
    assert calibration_words({"metrics": {}, "n_per_class": {"a": 1}}) == ""
