"""From values to classes."""

import pytest

from aggregate.cohort.table.cohort_table import read_table
from aggregate.targets.classification import ClassificationSpec
from cache_schema.common.errors import ConfigError, SlicecacheError


def target(folder, cells, missing=(), **spec):
    path = folder / "t.tsv"
    path.write_text("id\tdx\n" + "".join(f"{i}\t{cell}\n" for i, cell in enumerate(cells)))
    return ClassificationSpec.model_validate({"column": "dx", **spec}).read(
        read_table(path, missing), missing
    )


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["control", "patient"], ("control", "patient")),
        (["depr", "control"], ("control", "depr")),
        (["AD", "CN"], ("CN", "AD")),
        (["Alzheimer", "HC"], ("HC", "Alzheimer")),
        (["1", "0"], ("0", "1")),
        (["2.0", "10"], ("2", "10")),
        (["M", "F"], ("F", "M")),
        (["no", "yes"], ("no", "yes")),
        (["-1", "1"], ("-1", "1")),
    ],
)
def test_the_positive_class_by_default(tmp_path, cells, classes):
    found = target(tmp_path, cells)
    assert found.classes == classes
    assert found.labels == tuple(classes.index(c if c != "2.0" else "2") for c in cells)
    assert f"positive class: {classes[1]!r}" in found.notes[0]


def test_positive_can_be_chosen(tmp_path):
    found = target(tmp_path, ["F", "M", "F"], positive="F")
    assert found.classes == ("M", "F")
    assert found.labels == (1, 0, 1)
    assert found.notes == ()
    assert target(tmp_path, ["0", "1"], positive=0).classes == ("1", "0")


def test_classes_gather_values_and_leave_the_rest(tmp_path):
    cells = ["CN", "Dementia", "MCI", "AD", "", "-4", "n/a"]
    found = target(tmp_path, cells, ["-4"], classes={"CN": "CN", "AD": ["Dementia", "AD"]}, positive="AD")
    assert found.classes == ("CN", "AD")
    assert found.labels == (0, 1, None, 1, None, None, None)
    gone = ("target missing", "target missing (-4)", "target missing (n/a)")
    assert found.reasons == ("", "", "target MCI is in no class", "", *gone)


def test_written_out_classes_have_their_last_positive(tmp_path):
    found = target(tmp_path, ["CN", "AD"], classes={"patients": ["AD"], "healthy": ["CN"]})
    assert found.classes == ("patients", "healthy")
    assert "stands last" in found.notes[0]


def test_more_than_two_classes_keep_their_order(tmp_path):
    assert target(tmp_path, ["10", "9", "2"]).classes == ("2", "9", "10")
    order = {"NL": ["NL"], "MCI": ["MCI"], "AD": ["AD"]}
    assert target(tmp_path, ["MCI", "AD", "NL"], classes=order).classes == ("NL", "MCI", "AD")


@pytest.mark.parametrize(
    ("cells", "spec", "error", "message"),
    [
        (["a", "a"], {}, SlicecacheError, "constant"),
        (["", "n/a"], {}, SlicecacheError, "holds no value at all"),
        ([str(i / 2) for i in range(23)], {}, SlicecacheError, "23 different numbers .* regression"),
        (["a", "b"], {"positive": "B"}, ConfigError, "did you mean 'b'"),
        (["a", "b", "c"], {"positive": "a"}, ConfigError, "for two classes, and there are 3"),
        (["a", "b"], {"classes": {"x": ["a"]}}, ConfigError, "at least two"),
        (["a", "b"], {"classes": {"x": ["a"], "y": ["z"]}}, ConfigError, r"none of the values of 'y' \(z\)"),
        (["a", "b"], {"column": "DX"}, ConfigError, "did you mean 'dx'"),
    ],
)
def test_refusals(tmp_path, cells, spec, error, message):
    with pytest.raises(error, match=message):
        target(tmp_path, cells, **spec)
