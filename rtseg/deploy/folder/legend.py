"""The legend of overlays: the colour, the name and the share of each class as one image; the same as a sentence."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtseg.deploy.drawing.overlay import Palette
from rtseg.terminal import counted, visible

_ROWS = 30  # in a column
_LINE, _GAP, _FONT, _SWATCH = 26, 14, 16, 34  # pixels
_LONGEST = 40  # characters of a name
_LISTED = 8  # classes in the sentence
_TWO_COLORS = "left: in overlays; right: in _colour.png"


def draw_legend(
    names: Sequence[str], palette: Palette, pixels: Sequence[int], overlay: Palette | None = None
) -> Image.Image:
    """One line a class, the most frequent first: its colour, its name, and its share of all pixels.

    Args:
        names, palette: of class 0..K-1.
        pixels: how many pixels each class has; a class without any shows a dash.
        overlay: the colours of class 0..K-1 in overlays; where one differs, it is drawn before the other, and a line
            at the bottom says so.
    """
    font = ImageFont.load_default(_FONT)
    order = _most_first(pixels)
    lines = [(shorten(name), _percent(pixels, k) or "-") for k, name in ((k, names[k]) for k in order)]
    differs = overlay is not None and any(tuple(a) != tuple(b) for a, b in zip(overlay, palette, strict=True))
    swatches = [overlay, palette] if overlay is not None and differs else [palette]
    name_width = max(round(font.getlength(name)) for name, _ in lines)
    share_width = round(font.getlength("100.0 %"))
    step = len(swatches) * _SWATCH + name_width + share_width + 4 * _GAP
    columns, rows = -(-len(lines) // _ROWS), min(len(lines), _ROWS)
    width, height = columns * step, rows * _LINE + 2 * _GAP
    if differs:
        width = max(width, round(font.getlength(_TWO_COLORS)) + 2 * _GAP)
    image = Image.new("RGB", (width, height + _LINE * differs), "white")
    pen = ImageDraw.Draw(image)
    for n, (k, (name, share)) in enumerate(zip(order, lines, strict=True)):
        x, y = n // _ROWS * step + _GAP, n % _ROWS * _LINE + _GAP
        for colors in swatches:
            pen.rectangle((x, y + 2, x + _SWATCH, y + _LINE - 4), fill=tuple(colors[k]), outline="black")
            x += _SWATCH
        pen.text((x + _GAP, y + 3), name, "black" if pixels[k] else "#777777", font)
        right = x + 2 * _GAP + name_width + share_width
        pen.text((right - font.getlength(share), y + 3), share, "black", font)
    if differs:
        pen.text((_GAP, height - _GAP + 3), _TWO_COLORS, "black", font)
    return image


def shares_sentence(names: Sequence[str], pixels: Sequence[int]) -> str:
    """The shares of the most frequent classes, and those not found: "road 41.2 %, sky 20.1 %; not found: car"."""
    order = _most_first(pixels)
    there = [k for k in order if pixels[k]]
    absent = [visible(names[k]) for k in order if not pixels[k]]
    parts = [f"{visible(names[k])} {_percent(pixels, k)}" for k in there[:_LISTED]]
    if others := there[_LISTED:]:
        share = 100 * sum(pixels[k] for k in others) / sum(pixels)
        parts.append(f"{counted(len(others), 'other')} {share:.1f} %")
    more = f" and {len(absent) - _LISTED} more" if len(absent) > _LISTED else ""
    return ", ".join(parts) + (f"; not found: {', '.join(absent[:_LISTED])}{more}" if absent else "")


def _most_first(pixels: Sequence[int]) -> list[int]:
    return np.argsort(-np.asarray(pixels, np.int64), kind="stable").tolist()


def _percent(pixels: Sequence[int], k: int) -> str:
    """Empty for a class without pixels."""
    if not pixels[k]:
        return ""
    share = 100 * pixels[k] / sum(pixels)
    return f"{share:.1f} %" if share >= 0.05 else "< 0.1 %"


def shorten(name: str) -> str:
    """A name as it is drawn: at most 40 characters, of those that the font has, with "?" for the others.

    Pillow's own font has ASCII alone and few more: "Bäume" is drawn as "Baume", and an escape is spelled.
    """
    plain = unicodedata.normalize("NFKD", visible(name).replace("ß", "ss"))
    shown = "".join(c if c.isascii() else "?" for c in plain if not unicodedata.combining(c))
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
