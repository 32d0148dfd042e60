"""Whether bytes are a small PNG and nothing else: previews go into reports, from whoever made the store.

The chunks are walked, held to their checksums, and the pixels inflated no further than the picture needs.
"""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE = 8192
"""Pixels; a mosaic of ours has at most 672."""
CHANNELS = {0: 1, 2: 3}
"""Samples per pixel of the colour types that are taken: grey and RGB, 8 bits each, not interlaced."""
HEADER = struct.Struct(">IIBBBBB")


class NotPngError(ValueError):
    """Bytes that are no such picture; the sentence says why."""


def require_png(data: bytes) -> None:
    """Refuse what is no plain PNG of grey or RGB from the first byte to the last.

    Raises:
        NotPngError: Saying what it is instead.
    """
    if not data.startswith(SIGNATURE):
        raise NotPngError(f"its {len(data)} bytes do not begin as a PNG does")
    chunks = list(_chunks(data))
    kinds = [kind for kind, _ in chunks]
    pixels = [body for kind, body in chunks if kind == b"IDAT"]
    if (
        kinds != [b"IHDR", *[b"IDAT"] * len(pixels), b"IEND"]
        or not pixels
        or len(chunks[0][1]) != HEADER.size
    ):
        raise NotPngError("it has other parts than a header, pixels and an end")
    width, height, depth, colour, method, filters, interlaced = HEADER.unpack(chunks[0][1])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise NotPngError(f"it says {width} x {height} pixels, {MAX_SIDE} a side at most are taken")
    if depth != 8 or colour not in CHANNELS or method or filters or interlaced:
        raise NotPngError("it is not grey or RGB of 8 bits")
    _require_pixels(b"".join(pixels), height, 1 + width * CHANNELS[colour])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each chunk, to the last byte."""
    place = len(SIGNATURE)
    while place < len(data):
        if place + 12 > len(data):
            raise NotPngError("it is cut, or has something behind its end")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise NotPngError("it is cut")
        body = data[place + 8 : end - 4]
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            raise NotPngError("a checksum differs")
        yield kind, body
        place = end


def _require_pixels(packed: bytes, height: int, row_bytes: int) -> None:
    """Inflate the pixels, and no more: so many rows, each after the number of its filter."""
    inflate = zlib.decompressobj()
    try:
        rows = inflate.decompress(packed, height * row_bytes + 1)
    except zlib.error:
        raise NotPngError("its pixels cannot be unpacked") from None
    if len(rows) != height * row_bytes or not inflate.eof or inflate.unused_data:
        raise NotPngError("it has more or fewer pixels than it says")
    if max(rows[::row_bytes]) > 4:
        raise NotPngError("its pixels are filtered in no known way")
