"""How an image file stores its pixels: what is lost or added when it becomes RGB of 8 bits."""

import struct
import warnings
from contextlib import suppress
from io import BytesIO

from PIL import Image

from rtseg.data.header import is_tiff
from rtseg.data.tiff import TiffError, read_header

PLAIN = "RGB, 8 bits"
_PNG_COLORS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_MODES = {
    "1": "grey, 1 bit",
    "L": "grey, 8 bits",
    "P": "palette, 8 bits",
    "LA": "grey with alpha, 8 bits",
    "RGB": PLAIN,
    "RGBA": "RGB with alpha, 8 bits",
    "CMYK": "CMYK, 8 bits",
    "YCbCr": PLAIN,
    "I": "grey, 32 bits",
    "F": "grey, floats",
}
_BITS, _PHOTOMETRIC = 258, 262
_TIFF_COLORS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette"}


def pixel_format(data: bytes) -> str:
    """'RGB, 8 bits', 'grey, 16 bits', 'CMYK, 8 bits' and so on; 'unknown' where the header does not tell.

    Args:
        data: the whole file.
    """
    if data.startswith(b"\x89PNG") and len(data) > 25:
        return _named(_PNG_COLORS.get(data[25], "unknown"), data[24])  # Pillow hides the depth of 16-bit RGB
    if is_tiff(data):
        with suppress(TiffError, struct.error, KeyError, IndexError):  # colours that Pillow knows, or damage
            header = read_header(data)
            colors = _TIFF_COLORS[header.tags.get(_PHOTOMETRIC, (1,))[0]]
            alpha = " with alpha" * (header.channels == {"grey": 2, "RGB": 4}.get(colors))
            return _named(colors + alpha, header.tags.get(_BITS, (1,))[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as file:
                return _MODES.get(file.mode, file.mode)
    except Exception:  # Pillow's readers meet damage with exceptions of any kind
        return "unknown"


def _named(colors: str, bits: int) -> str:
    return f"{colors}, {bits} bit{'s' * (bits != 1)}"
