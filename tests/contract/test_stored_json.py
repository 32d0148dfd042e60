"""One door for stored JSON: what comes through is plain, and what does not is told in a sentence."""

import json

import pytest

from cache_schema.common.stored_json import MAX_DEPTH, StoredJsonError, read_json, read_object
from cache_schema.format.limits import object_limit, unsafe_name


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True, "\u00fc \U0001f600"]}, [], {}, 1, "x", {"a": {"a": 1}}]
)
def test_what_json_writes_is_read(value):
    assert read_json(json.dumps(value).encode()) == value


def test_depth_is_counted_and_not_brackets():
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(StoredJsonError, match="more than 64 deep"):
        read_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert len(read_json(b"[" + b",".join([b"[]"] * 1000) + b"]")) == 1000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[" * 10**6, "more than 64 deep"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' twice"),
        (b"[NaN]", "holds NaN"),
        (b"-Infinity", "holds -Infinity"),
        (b"9" * 5000, "no JSON"),
        ('{"a": 1}'.encode("utf-16"), "no JSON"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'"\xed\xa0\x80"', "no JSON"),
        (b"", "no JSON"),
        (b"1" * 17 * 2**20, "at most are read"),
    ],
)
def test_what_hurts_is_refused(data, says):
    with pytest.raises(StoredJsonError, match=says):
        read_json(data)


def test_an_object_is_asked_for():
    with pytest.raises(StoredJsonError, match="a list, not an object"):
        read_object(b"[]")


def test_names_stay_inside():
    assert not any(map(unsafe_name, ("cls/c.0.0.0", "records/ab/x.json", "a..b/c", "tmp/write~host~1~2")))
    assert all(map(unsafe_name, ("../x", "a/../b", "/etc/x", "a\\b", "a\0b", "a/..")))


def test_limits_go_by_kind():
    assert object_limit("cls/zarr.json") < object_limit("header.json") < object_limit("records/ab/x.json")
    assert object_limit("cls/c.0.0.0") > 2**28
