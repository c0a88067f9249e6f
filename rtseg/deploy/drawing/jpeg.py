"""JPEGs of images that need not be in memory as a whole: encoded in parts, which are joined at restart markers.

The decoded pixels are those of an image encoded at once. (H, W) is its size.
"""

from collections.abc import Callable

import cv2
import numpy as np

_MOST_SIDE = 65_500  # the encoder's
_BLOCK = 16  # rows and columns that are encoded together, where colours have half of the resolution
_MOST_BLOCKS = 2**16 - 1  # between two restart markers
_PART = 2**22  # pixels that are encoded at once
_FRAME, _SCAN, _END = 0xC0, 0xDA, b"\xff\xd9"


def jpeg(height: int, width: int, draw: Callable[[slice], np.ndarray], part: int = _PART) -> bytes | None:
    """The bytes of a file; None where a JPEG cannot be so large.

    Args:
        draw: rows of the image -> (rows, W, 3) uint8 BGR. Called once for all rows, from the top.
        part: pixels that are encoded at once, about.
    """
    if max(height, width) > _MOST_SIDE:
        return None
    across = -(-width // _BLOCK)
    down = max(1, min(part // (width * _BLOCK), _MOST_BLOCKS // across))
    step = down * _BLOCK
    parts = [_encode(draw(slice(top, min(top + step, height)))) for top in range(0, height, step)]
    if len(parts) == 1:
        return parts[0].tobytes()
    head, _ = _split(parts[0])
    frame, scan = _find(head, _FRAME), _find(head, _SCAN)
    restart = b"\xff\xdd\x00\x04" + (across * down).to_bytes(2, "big")
    joined: list[bytes | memoryview] = [
        head[: frame + 5],
        height.to_bytes(2, "big"),
        head[frame + 7 : scan],
        restart,
        head[scan:],
    ]
    for number, encoded in enumerate(parts):
        if number:
            joined.append(bytes((0xFF, 0xD0 + (number - 1) % 8)))
        joined.append(_split(encoded)[1])
    return b"".join([*joined, _END])


def _encode(pixels: np.ndarray) -> np.ndarray:
    encoded, data = cv2.imencode(".jpg", pixels)
    assert encoded  # no side is too long
    return data


def _split(data: np.ndarray) -> tuple[bytes, memoryview]:
    """The segments before the compressed blocks, and these."""
    start = data[:4096].tobytes()
    scan = _find(start, _SCAN)
    begin = scan + 2 + int.from_bytes(start[scan + 2 : scan + 4], "big")
    return start[:begin], data[begin : -len(_END)].data


def _find(head: bytes, marker: int) -> int:
    """Where a segment begins."""
    at = 2
    while head[at + 1] != marker:
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return at
