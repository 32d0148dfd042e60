"""Digests see the numbers and the key, and nothing of how they are stored."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.common.errors import ConfigError
from cache_schema.format.digests.digest import content_digest, volume_digest
from cache_schema.format.digests.token_statistics import token_statistics
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import token_arrays
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter


def test_volume_digest_is_the_written_rule():
    key = VolumeKey("p\u00e9", "", "T1w")
    arrays = {
        "patch_mean": np.arange(6, dtype=np.float32).reshape(2, 3),
        "cls": np.arange(4, dtype=np.float16).reshape(2, 2),
    }
    text = '["p\u00e9","","T1w"]'.encode()
    text += b'["cls","float16",[2,2]]' + np.arange(4, dtype="<f2").tobytes()
    text += b'["patch_mean","float32",[2,3]]' + np.arange(6, dtype="<f4").tobytes()
    assert volume_digest(key, arrays) == hashlib.sha256(text).hexdigest()
    assert volume_digest(key, {n: a.astype(a.dtype.newbyteorder(">")) for n, a in arrays.items()}) == (
        volume_digest(key, arrays)
    )
    assert volume_digest(key, {n: np.asfortranarray(a) for n, a in arrays.items()}) == (
        volume_digest(key, arrays)
    )


def test_content_digest_is_the_written_rule():
    pairs = [(example_key(2), "b"), (example_key(1), "a")]
    text = b'[[["p001","","T1w"],"a"],[["p002","","T1w"],"b"]]'
    assert content_digest(pairs) == hashlib.sha256(text).hexdigest()
    assert json.loads(text)[0][1] == "a"


@given(st.permutations(range(5)))
def test_content_digest_does_not_depend_on_order(order):
    pairs = [(example_key(i), f"{i:064x}") for i in range(5)]
    assert content_digest(pairs[i] for i in order) == content_digest(pairs)


def test_every_bit_and_the_key_count():
    arrays = {"cls": np.ones((3, 2), np.float16)}
    changed = {"cls": arrays["cls"].copy()}
    changed["cls"].view(np.uint16)[2, 1] ^= 1
    digests = {
        volume_digest(example_key(1), arrays),
        volume_digest(example_key(2), arrays),
        volume_digest(example_key(1, "ses1"), arrays),
        volume_digest(example_key(1), changed),
        volume_digest(example_key(1), {"clt": arrays["cls"]}),
        volume_digest(example_key(1), {"cls": arrays["cls"].reshape(2, 3)}),
        volume_digest(example_key(1), {"cls": arrays["cls"].view(np.int16)}),
    }
    assert len(digests) == 7


def test_stores_of_other_chunks_and_rows_have_equal_digests(tmp_path):
    lengths = [3, 11, 5]
    digests = set()
    for name, slice_chunk, order in (("a", 11, [0, 1, 2]), ("b", 2, [2, 0, 1]), ("c", 40, [1, 2, 0])):
        header = example_header(("cls", "patches"), slice_chunk=slice_chunk)
        rows = [example_row(example_key(i), lengths[i]) for i in order]
        writer = StoreWriter.open(str(tmp_path / name), header, rows)
        for i in reversed(order):
            writer.commit(example_draft(example_key(i), lengths[i]), example_arrays(header, lengths[i], i))
        store = open_store(tmp_path / name)
        digests.add((store.content_digest(), *(entry.digest for entry in store.entries)))
    assert len(digests) == 1


def test_token_statistics_against_the_formula():
    spec = token_arrays(["patches"], dim=5, heads=2, grid=(2, 3), dtype="float32")[0]
    values = np.random.default_rng(0).standard_normal((7, 2, 3, 5)).astype(np.float32) + 0.5
    norms = [float(np.sqrt((token.astype(float) ** 2).sum())) for token in values.reshape(-1, 5)]
    found = token_statistics(spec, values)
    assert found["mean"] == pytest.approx(values.astype(float).mean(), rel=1e-12)
    assert found["sd"] == pytest.approx(values.astype(float).std(), rel=1e-12)
    assert found["norm_min"] == pytest.approx(min(norms), rel=1e-12)
    assert found["norm_max"] == pytest.approx(max(norms), rel=1e-12)


def test_statistics_of_arrays_without_tokens_are_of_their_numbers():
    spec = token_arrays(["patches"], dim=5, heads=2, grid=(2, 3), dtype="float32")[1]
    values = np.linspace(-0.5, 2.0, 18).astype(np.float16).reshape(3, 2, 3)
    found = token_statistics(spec, values)
    assert spec.name == "foreground"
    assert found["norm_max"] == 2.0
    assert found["norm_min"] == pytest.approx(float(np.abs(values).min()), rel=1e-12)


def test_token_arrays_names_dims_and_dtypes():
    specs = token_arrays(
        ["cls_attention", "cls"], dim=7, heads=2, grid=(3, 5), dtype="float32", layers=[11, 8]
    )
    assert {s.name: (s.item_shape, s.dtype) for s in specs} == {
        "cls": ((7,), "float32"),
        "cls_attention": ((2, 3, 5), "float16"),
        "cls_l08": ((7,), "float32"),
        "cls_l11": ((7,), "float32"),
        "foreground": ((3, 5), "float16"),
        "patch_intensity": ((3, 5), "float16"),
    }
    assert all(len(s.dims) == 2 + len(s.item_shape) for s in specs)


@pytest.mark.parametrize("tokens", [[], ["cls", "cls"], ["clss"]])
def test_unknown_tokens_are_refused(tokens):
    with pytest.raises(ConfigError, match="tokens must name"):
        token_arrays(tokens, dim=7, heads=2, grid=(3, 5), dtype="float32")
