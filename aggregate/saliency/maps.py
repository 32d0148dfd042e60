"""The Medical Slice Transformer's saliency: slice attention times the backbone's in-plane attention.

In a slice the CLS token of the backbone's last block attends to patches; over slices the head's attention
says which count. Their product, the mean over the backbone's heads, sums to 1 over a volume's patches. As
released (arXiv 2411.15802) patch (0, 0) is left out, where their backbones put what belongs to no place.
It is brought to native voxels as an anomaly map is (`anomaly/maps/placement.py`): linear within a slice.

It says where a head reads, not what it is right about: hold it against the image-blind `centre_gaussian`.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.anomaly.maps.placement import Between, native_map, placement
from aggregate.bags.bags import read_bags
from aggregate.bags.beside import NOTHING, Beside
from aggregate.common.arrays import Floats
from aggregate.predict.bundle import Bundle
from aggregate.predict.check import check_store, refuse_harmonised
from aggregate.training.stacked import apply_head
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader

ATTENTION = "cls_attention"


def in_plane(attention: NDArray[np.floating]) -> Floats:
    """Each slice's and head's attention to patches, without patch (0, 0), as shares (slice, head, row, col).

    Args:
        attention: The CLS token's row of the softmax, over patches alone (slice, head, row, col).
    """
    own = np.array(attention, dtype=np.float64)
    own[..., 0, 0] = 0
    return own / own.sum((-2, -1), keepdims=True)


def of_slices(attention: NDArray[np.floating]) -> Floats:
    """A CLS token's rows of attention as shares of the slices (slice,), the mean over heads.

    Args:
        attention: Of each head, the CLS token's own column cut (head, slice).
    """
    own = np.asarray(attention, dtype=np.float64)
    return np.asarray((own / own.sum(-1, keepdims=True)).mean(0))


def product(plane: Floats, slices: Floats) -> Floats:
    """Saliency of every patch (slice, row, col), which sums to 1.

    Args:
        plane: As `in_plane` gives it.
        slices: Shares of the slices (slice,).
    """
    return np.asarray(plane.mean(1) * slices[:, None, None])


def saliency_map(
    bundle: Bundle, store: StoreReader, key: VolumeKey, between: Between = "zero", beside: Beside = NOTHING
) -> NDArray[np.float32]:
    """A volume's saliency in its own voxels (i, j, k), 0 off the kept slices and the canvas.

    Slice attention is the mean over the bundle's members that did not see the participant.
    `aggregate.anomaly.maps.nifti.write_map` writes it with the volume's own geometry.

    Args:
        bundle: Of a head with attention over slices.
        store: Holds the volume, and the array `cls_attention`.
        key: Of the volume.
        between: What native slices between two kept ones get.
        beside: Other stores that the bundle reads from.

    Raises:
        StoreMismatch: If the store's fingerprint is not the bundle's.
        SlicecacheError: If there is no in-plane attention, none over slices, or nobody who may judge.
    """
    tokens = token_saliency(bundle, store, key, beside)
    place = placement(store.record(key), (tokens.shape[1], tokens.shape[2]))
    return native_map(tokens.astype(np.float32), place, between)


def token_saliency(bundle: Bundle, store: StoreReader, key: VolumeKey, beside: Beside = NOTHING) -> Floats:
    """As `saliency_map`, of the patches of the kept slices (slice, row, col).

    Raises:
        StoreMismatch: As `saliency_map`.
        SlicecacheError: As `saliency_map`.
    """
    check_store(bundle.card, store.header, store.location, beside)
    refuse_harmonised(bundle.card, "saliency")
    if ATTENTION not in {array.name for array in store.header.arrays}:
        raise SlicecacheError(
            f"saliency needs the backbone's attention, and the store {store.location} holds none; extract it "
            f"with tokens: [..., {ATTENTION}]"
        )
    if bundle.card.combine == "concat":
        raise SlicecacheError(
            "saliency is of one volume, but the bundle's bags hold all volumes of a session (combine: concat)"
        )
    plane = in_plane(store.read_volume(ATTENTION, key))
    return product(plane, _slice_attention(bundle, store, key, beside))


def _slice_attention(bundle: Bundle, store: StoreReader, key: VolumeKey, beside: Beside) -> Floats:
    """Of the members that did not see the participant, the mean (slice,)."""
    unseen = [
        state
        for member, state in zip(bundle.card.members, bundle.states, strict=True)
        if key.participant_id not in member.participants
    ]
    if not unseen:
        raise SlicecacheError(
            f"{key.participant_id!r} had a part in every member of the bundle: none is left to show where it "
            "looks"
        )
    bags = read_bags(
        store, [store.entry(key)], bundle.card.tokens, np.zeros(1, dtype=np.int64), beside=beside
    )
    with torch.no_grad():
        attention = apply_head(bundle.head(), unseen, bags).attention[:, 0].double().numpy()
    if not np.isfinite(attention).all():
        raise SlicecacheError(f"the head {bundle.card.head.name!r} gives no attention over slices")
    return of_slices(attention[:, bags.keep[0].numpy()])
