"""The digest of weights, and numbers that come from PCG64 and nothing else."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cache_schema.common.errors import ConfigError
from extract.backbones.weights import (
    draw_uniform,
    read_weights,
    select_parameters,
    tensor_bytes,
    weights_digest,
)


def test_digest_is_the_written_out_hash():
    weights = {
        "b": torch.arange(6, dtype=torch.float32).view(2, 3),
        "a": torch.tensor([1.5], dtype=torch.bfloat16),
    }
    sha = hashlib.sha256()
    sha.update(b'["a","bfloat16",[1]]')
    sha.update((0x3FC0).to_bytes(2, "little"))
    sha.update(b'["b","float32",[2,3]]')
    sha.update(np.arange(6, dtype="<f4").tobytes())
    assert weights_digest(weights) == sha.hexdigest()
    assert weights_digest(dict(reversed(weights.items()))) == sha.hexdigest()


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "bit"])
def test_digest_sees_every_change(change):
    base = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    if change == "name":
        other = {"a": base["a"], "c": base["b"]}
    elif change == "dtype":
        other = {"a": base["a"], "b": base["b"].double()}
    elif change == "shape":
        other = {"a": base["a"].view(3, 2), "b": base["b"]}
    else:
        bits = base["b"].view(torch.int32).clone()
        bits[2] ^= 1
        other = {"a": base["a"], "b": bits.view(torch.float32)}
    assert weights_digest(base) != weights_digest(other)


def test_bytes_of_a_view_are_its_own():
    table = torch.arange(12, dtype=torch.float32).view(3, 4)
    assert bytes(tensor_bytes(table.T.contiguous())) == np.arange(12, dtype="<f4").reshape(3, 4).T.tobytes()
    assert weights_digest({"a": table.T}) == weights_digest({"a": table.T.contiguous()})


def test_uniform_numbers_follow_from_the_raw_stream():
    raw = np.random.PCG64(5).random_raw(6)
    expected = [(2 * ((int(value) >> 11) / 2**53) - 1) * 3**0.5 * 0.5 for value in raw]
    found = draw_uniform(np.random.PCG64(5), (2, 3), 0.5)
    assert found.shape == (2, 3)
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_uniform_numbers_have_the_deviation():
    found = draw_uniform(np.random.PCG64(0), (100_003,), 0.25)
    assert float(found.std()) == pytest.approx(0.25, rel=0.01)
    assert abs(float(found.mean())) < 0.003


def test_several_files_are_one_checkpoint(tmp_path):
    parts = {"a": torch.ones(2), "b": torch.zeros(3)}
    save_file({"a": parts["a"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": parts["b"]}, tmp_path / "model-00002-of-00002.safetensors")
    assert weights_digest(read_weights(tmp_path)) == weights_digest(parts)


def test_a_damaged_file_gets_a_sentence(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(json.dumps({"a": 1}).encode())
    with pytest.raises(ConfigError, match="cannot read the weights"):
        read_weights(tmp_path)


def test_a_wrong_shape_is_named():
    with pytest.raises(ConfigError, match=r"norm\.bias has shape \(2,\), expected \(3,\)"):
        select_parameters({"norm.bias": torch.ones(2)}, {"norm.bias": (3,)}, "here")
