"""Raw images with their times, as Matroska: ffmpeg takes no times with raw images alone.

Only what ffmpeg needs of the format (RFC 9559): one track, a cluster an image, times in microseconds.
"""

_MICROSECOND = 1000  # nanoseconds
_COLOURS = {"bgr24": b"BGR\x18", "gray": b"Y800", "gray16le": b"Y1\0\x10"}  # ffmpeg's name -> FourCC


def beginning(size: tuple[int, int], rate: float, pixels: str) -> bytes:
    """What comes before the images.

    Args:
        size: (height, width).
        rate: images per second, about, from which the encoder plans; the last image is shown that long.
        pixels: ffmpeg's name of their format: bgr24, gray or gray16le.
    """
    video = _number(0xB0, size[1]) + _number(0xBA, size[0]) + _element(0x2EB524, _COLOURS[pixels])
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _number(0x9C, 0)
    track += _number(0x23E383, round(1e9 / rate)) + _element(0x86, b"V_UNCOMPRESSED") + _element(0xE0, video)
    kind = _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2)
    segment = bytes.fromhex("18538067 01FFFFFFFFFFFFFF")  # of unknown length
    info = _number(0x2AD7B1, _MICROSECOND) + _element(0x4D80, b"rtseg") + _element(0x5741, b"rtseg")
    tracks = _element(0xAE, track)
    return _element(0x1A45DFA3, kind) + segment + _element(0x1549A966, info) + _element(0x1654AE6B, tracks)


def before_image(at: float, many: int) -> bytes:
    """What comes before an image.

    Args:
        at: its time in seconds.
        many: its bytes.
    """
    block = _head(0xA3, 4 + many) + b"\x81\0\0\x80"  # track 1, at the cluster's time, can be decoded alone
    time = _number(0xE7, round(at * 1e6))
    return _head(0x1F43B675, len(time) + len(block) + many) + time + block


def _head(key: int, many: int) -> bytes:
    """An element's identifier and how many bytes it has."""
    return key.to_bytes((key.bit_length() + 7) // 8, "big") + (many | 1 << 56).to_bytes(8, "big")


def _element(key: int, content: bytes) -> bytes:
    return _head(key, len(content)) + content


def _number(key: int, value: int) -> bytes:
    return _element(key, value.to_bytes(8, "big"))
