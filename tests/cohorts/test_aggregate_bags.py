"""Bags against the volumes read one by one."""

import numpy as np
import pytest
import torch

from aggregate.bags.bags import bags_bytes, lazy_bags, read_bags
from aggregate.config.section import parse_section
from cache_schema.common.errors import ConfigError, StoreError


@pytest.fixture
def store(make_store, scan):
    return make_store([scan(str(i), n_slices=n) for i, n in enumerate((5, 2, 11, 1, 7))])


@pytest.mark.parametrize("tokens", ["cls", "patch_mean"])
def test_a_bag_is_the_volume_with_zeros_behind(store, tokens):
    entries = [store.entries[i] for i in (3, 2, 0)]
    bags = read_bags(store, entries, tokens)
    assert bags.x.shape == (3, 11, 7)
    assert bags.x.dtype == torch.float32
    for row, entry in enumerate(entries):
        n = entry.n_slices
        expected = store.read_volume(tokens, entry.key).astype(np.float32)
        assert np.array_equal(bags.x[row, :n].numpy(), expected)
        assert not bags.x[row, n:].any()
        assert bags.keep[row].tolist() == [True] * n + [False] * (11 - n)
        assert bags.height_mm[row, :n].tolist() == pytest.approx(store.record(entry.key).slices.height_mm)
        assert not bags.height_mm[row, n:].any()


def test_concatenated_volumes_lie_one_behind_the_other(store):
    entries = list(store.entries)
    bags = read_bags(store, entries, "cls", bag=np.array([0, 0, 1, 2, 2]))
    assert bags.keep.sum(dim=1).tolist() == [7, 11, 8]
    single = [store.read_volume("cls", entry.key).astype(np.float32) for entry in entries]
    assert np.array_equal(bags.x[0, :7].numpy(), np.concatenate(single[:2]))
    assert np.array_equal(bags.x[2, :8].numpy(), np.concatenate(single[3:]))
    heights = [store.record(entry.key).slices.height_mm for entry in entries]
    assert bags.height_mm[2, :8].tolist() == pytest.approx([*heights[3], *heights[4]])
    assert not bags.x[0, 7:].any()


def test_taking_some_drops_slices_that_none_has(store):
    bags = read_bags(store, store.entries, "cls")
    some = bags.take([4, 1])
    assert some.x.shape == (2, 7, 7)
    assert torch.equal(some.x[1], bags.x[1, :7])
    assert some.keep.sum(dim=1).tolist() == [7, 2]
    assert len(some) == 2


def test_the_dtype_asked_for(store):
    bags = read_bags(store, store.entries, "cls", dtype=torch.float64)
    assert bags.x.dtype == bags.height_mm.dtype == torch.float64


def test_memory_is_known_before(store):
    assert bags_bytes(store.entries, store.header, "cls") == 5 * 11 * 7 * (2 + 4)


def test_unknown_arrays_are_refused(store):
    with pytest.raises(ConfigError, match="no array 'cls_l08'; did you mean 'cls'"):
        read_bags(store, store.entries, "cls_l08")


def test_nan_in_a_kept_slice_is_a_broken_store(store, monkeypatch):
    whole = store.read("cls", store.entries)
    whole[2, 4, 3] = np.nan
    monkeypatch.setattr(type(store), "read", lambda self, name, entries=None: whole.copy())
    with pytest.raises(StoreError, match="cls of 2/T1w holds NaN"):
        read_bags(store, store.entries, "cls")


def test_numbers_of_several_arrays_stand_side_by_side(store):
    bag = np.array([0, 0, 1, 2, 2])
    both = read_bags(store, store.entries, "patch_mean+cls", bag=bag)
    parts = [read_bags(store, store.entries, name, bag=bag) for name in ("patch_mean", "cls")]
    assert torch.equal(both.x, torch.cat([part.x for part in parts], dim=2))
    assert torch.equal(both.height_mm, parts[0].height_mm)
    lazy = lazy_bags(store, store.entries, "patch_mean+cls", bag=bag, budget=100)
    assert lazy.shape == both.shape
    assert torch.equal(lazy.x[0:3], both.x)
    single = bags_bytes(store.entries, store.header, "cls", bag)
    assert bags_bytes(store.entries, store.header, "patch_mean+cls", bag) == 2 * single
    with pytest.raises(ConfigError, match="no array 'patches'; did you mean 'patch_mean'"):
        read_bags(store, store.entries, "cls+patches")


def test_tokens_are_written_as_a_list_or_as_one_name():
    section = {"cohort": "a.csv", "target": "dx"}
    several = parse_section({**section, "tokens": ["cls", "patch_mean"]})
    assert several == parse_section({**section, "tokens": "cls+patch_mean"})
    assert several.setup().tokens == "cls+patch_mean"
    axis = parse_section(
        {**section, "ablate": {"configurations": {"a": {}}, "tokens": ["cls", ["cls", "patch_mean"]]}}
    )
    assert axis.ablate.tokens == ("cls", "cls+patch_mean")
    for wrong in (["cls", "cls"], "cls+", [], 3):
        with pytest.raises(ConfigError, match=r"aggregate\.tokens"):
            parse_section({**section, "tokens": wrong})
