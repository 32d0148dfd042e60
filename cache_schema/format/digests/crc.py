"""Arithmetic of crc32c: what bytes come to with others before them, without looking at them again.

A CRC is linear over GF(2): for bytes a and b, `crc(a + b) = shift(crc(a), len(b)) ^ crc(b)`, where `shift`
multiplies by x^(8 len(b)) modulo the polynomial. So one pass over a chunk, while it is in the processor's
cache, answers for the chunk, for its kept slices alone and for these under any seed.
"""

from functools import lru_cache
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed: the highest bit is the power 0."""
FEW = 16
"""Below so many, one by one is faster than numpy."""
ONE, EIGHT = 0x80000000, 0x00800000
"""The polynomials 1 and x^8."""


def crc32c(values: NDArray[Any]) -> int:
    """Of the bytes of a contiguous array."""
    return int(google_crc32c.value(values.reshape(-1).view(np.uint8)))


def extended(crc: int, values: NDArray[Any]) -> int:
    """Of bytes that come to `crc`, followed by those of a contiguous array."""
    return int(google_crc32c.extend(crc, values.reshape(-1).view(np.uint8)))


def joined(first: int, second: int, n_bytes: int) -> int:
    """Of the bytes of two parts, from what each comes to; the second has `n_bytes`."""
    return _times(_power(n_bytes), first) ^ second


def shifted(crcs: NDArray[np.int64], n_bytes: int) -> NDArray[np.int64]:
    """What each contributes when `n_bytes` more bytes come behind it."""
    if len(crcs) < FEW:
        return np.array([joined(crc, 0, n_bytes) for crc in crcs.tolist()], dtype=np.int64)
    out = np.zeros_like(crcs)
    for bit, image in enumerate(_images(n_bytes)):
        out ^= (crcs >> bit & 1) * image
    return out


@lru_cache(maxsize=4096)
def _images(n_bytes: int) -> tuple[int, ...]:
    """What each of the 32 bits, the lowest first, becomes when `n_bytes` bytes come behind it."""
    return tuple(_times(_power(n_bytes), 1 << bit) for bit in range(32))


@lru_cache(maxsize=4096)
def _power(n_bytes: int) -> int:
    """x^(8 n) modulo the polynomial, by squaring."""
    result, square = ONE, EIGHT
    while n_bytes:
        if n_bytes & 1:
            result = _times(result, square)
        square, n_bytes = _times(square, square), n_bytes >> 1
    return result


def _times(a: int, b: int) -> int:
    """The product of two polynomials of degree below 32, modulo the polynomial."""
    product = 0
    for power in range(31, -1, -1):
        if a >> power & 1:
            product ^= b
        b = (b >> 1) ^ POLYNOMIAL if b & 1 else b >> 1
    return product
