"""The journal gives back what was written, nothing else, and nothing damaged."""

from pathlib import Path

import numpy as np
import pytest

from aggregate.ablate.runs.journal import Journal

KEY = "a" * 64
ARRAYS = {"logits.0": np.arange(6.0).reshape(3, 2) / 7, "logits.1": np.zeros((0, 2))}
BODY = [[0.1, 1 / 3], ["é"]]


def test_it_gives_back_what_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.read(KEY) is None
    journal.write(KEY, ARRAYS, BODY)
    found = Journal(tmp_path / "journal").read(KEY)
    assert found is not None
    assert found[1] == BODY
    assert found[0].keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[0][name], values)
    assert journal.read("b" * 64) is None
    assert [path.suffix for path in journal.folder.iterdir()] == [".safetensors"]


def test_every_flipped_byte_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path)
    journal.write(KEY, ARRAYS, BODY)
    path = next(tmp_path.iterdir())
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :])
        found = journal.read(KEY)
        # A flip in the padding of safetensors' header changes no number.
        assert found is None or all(np.array_equal(found[0][name], ARRAYS[name]) for name in ARRAYS), place
        assert found is None or found[1] == BODY
    for cut in (0, 5, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        assert journal.read(KEY) is None
    assert "trained again" in caplog.text
