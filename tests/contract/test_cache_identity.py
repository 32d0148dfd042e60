"""Ids that are two for a computer and one for a person."""

import pytest

from cache_schema.format.identity import folded_id, twins


@pytest.mark.parametrize(
    "other",
    [
        "SUB-01",
        "Sub-01",
        "sub-\uff10\uff11",  # full-width digits
        "\uff53\uff55\uff42-01",  # full-width letters
        "sub\u200b-01",  # zero-width space
        "\ufeffsub-01",  # byte order mark
        "sub-01\u200d",  # zero-width joiner
        "su\u00adb-01",  # soft hyphen
        "sub-01\ufe0f",  # variation selector
        "sub-01\u3164",  # Hangul filler, which NFKC turns into another invisible one
        "sub-01\x00",
        "sub-01\u00a0",  # no-break space
        " sub-01",
        "\u202esub-01",  # written from right to left
    ],
)
def test_what_looks_like_one_id_is_found(other):
    assert twins(["sub-02", "sub-01", other, "sub-01"]) == [tuple(sorted(("sub-01", other)))]


def test_letters_that_can_be_written_in_two_ways_are_one():
    assert twins(["Mu\u0308ller", "m\u00fcller"]) == [("Mu\u0308ller", "m\u00fcller")]
    assert twins(["stra\u00dfe", "STRASSE"]) == [("STRASSE", "stra\u00dfe")]
    # a combining mark behind an invisible joiner
    assert folded_id("u\u200d\u0308") == folded_id("\u00fc")


def test_different_ids_are_no_twins():
    assert twins(["sub-01", "sub-1", "sub-001", "01", "1", "sub 01", "sub_01", "s\u00fcb-01"]) == []
    assert twins(["a", "a", "a"]) == []


def test_every_group_is_named_once():
    assert twins(["a", "A", "b", "B", "\uff22"]) == [("A", "a"), ("B", "b", "\uff22")]
