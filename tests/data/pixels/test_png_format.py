"""The written PNG by the letter of ISO/IEC 15948: read with struct and zlib, not with Pillow."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.pixels.png import encode_png
from medimg_baseline_cls.data.read import decode_image, read_header
from medimg_baseline_cls.phantom.image_folder import make_phantom


def read_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    assert data[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    chunks, place = [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert len(body) == length
        assert checksum == zlib.crc32(kind + body)
        chunks.append((kind, body))
        place += 12 + length
    return chunks


def undo_filters(packed: bytes, height: int, width: int) -> np.ndarray:
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width + 1)
    assert set(lines[:, 0]) <= {0, 1}  # none or sub: section 9.2
    rows = [
        np.cumsum(line[1:], dtype=np.uint8) if line[0] == 1 else line[1:].copy() for line in lines
    ]
    return np.stack(rows)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_chunks_are_in_order_with_true_lengths_and_checksums(
    height: int, width: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    chunks = read_chunks(encode_png(pixels))
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    # Width, height, 8 bits, grey, deflate, adaptive filters, not interlaced.
    assert struct.unpack(">IIBBBBB", chunks[0][1]) == (width, height, 8, 0, 0, 0, 0)
    assert chunks[2][1] == b""
    assert np.array_equal(undo_filters(chunks[1][1], height, width), pixels)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_steps_beyond_the_range_of_a_byte_wrap_around(value: int) -> None:
    pixels = np.tile(np.array([value, 255 - value], np.uint8), (3, 5))
    data = encode_png(pixels)
    assert np.array_equal(decode_image(data, color="grey").pixels, pixels)


def test_our_own_reader_reads_it_as_a_grey_film() -> None:
    pixels = make_phantom(0, 1, is_positive=True, image_size=48).pixels
    data = encode_png(pixels)
    header = read_header(data)
    assert (header.mode, header.width, header.height) == ("L", 48, 48)
    assert not header.is_deep and not header.is_color
    assert np.array_equal(decode_image(data, color="grey").pixels, pixels)


def test_a_film_is_smaller_than_its_pixels_and_a_plain_mask_far_smaller() -> None:
    phantom = make_phantom(0, 1, is_positive=True, image_size=128)
    assert len(encode_png(phantom.pixels)) < 0.9 * phantom.pixels.size
    assert len(encode_png(phantom.mask.astype(np.uint8) * 255)) < 0.1 * phantom.mask.size


def test_encoding_leaves_the_pixels_and_gives_the_same_bytes() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7), dtype=np.uint8)
    pixels.setflags(write=False)
    kept = pixels.copy()
    assert encode_png(pixels) == encode_png(np.asfortranarray(pixels))
    assert np.array_equal(pixels, kept)
