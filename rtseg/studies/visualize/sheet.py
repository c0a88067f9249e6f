"""One attention's maps as a sheet: a title, the image, and the maps as heat over the image."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from rtseg.studies.visualize.maps import AttentionMaps, Point

PANEL = 400  # longer side of a panel, pixels
COLUMNS = 4
MOST = 10  # maps on a sheet; of more, those that vary most over the image

_GAP, _LINE, _FONT = 12, 19, 14
_HEAT = 0.5  # share of the heat in a panel; the rest is the image, in grey, so that colour means weight alone

# Dark to bright with even steps of lightness, after matplotlib's inferno, whose black would hide the image; and from
# one colour over white to another.
_SEQUENTIAL = (
    (40, 11, 84),
    (101, 21, 110),
    (159, 42, 99),
    (212, 72, 66),
    (245, 125, 21),
    (250, 193, 39),
    (252, 255, 164),
)
_DIVERGING = ((5, 48, 120), (67, 147, 210), (255, 255, 255), (225, 96, 70), (120, 0, 25))


def draw(attention: AttentionMaps, pixels: np.ndarray, point: Point) -> Image.Image:
    """The sheet of one attention.

    Args:
        pixels: (H, W, 3) uint8 RGB, the image.
        point: is marked in every panel where the maps belong to this pixel.
    """
    image = _fit(Image.fromarray(pixels))
    grey = ImageOps.autocontrast(image.convert("L"), cutoff=1).convert("RGB")  # a dark image must outlive the heat
    signed = bool(attention.maps.min() < 0)
    chosen = choose(attention.maps)
    panels = [(image, ["the image", f"{pixels.shape[1]} x {pixels.shape[0]} pixels"])]
    if attention.position is not None and len(attention.maps) > 1:
        panels.append(_panel(f"mean of {len(attention.maps)} heads", attention.maps.mean(0), grey, signed))
    panels += [_panel(attention.titles[k], attention.maps[k], grey, signed) for k in chosen]
    if attention.position is not None:
        panels = [(_mark(panel, point, pixels), caption) for panel, caption in panels]
    return _arrange(panels, _headline(attention, len(chosen), point), signed)


def colors(values: np.ndarray, *, signed: bool) -> np.ndarray:
    """(h, w) weights -> (h, w, 3) uint8 RGB, dark to bright from the least to the greatest.

    Signed weights are blue below 0, white at 0 and red above. Both sides run to the largest magnitude.
    """
    low, high = _scale(values, signed)
    shares = (values - low) / (high - low) if high > low else np.full_like(values, 0.5 if signed else 0)
    anchors = np.array(_DIVERGING if signed else _SEQUENTIAL)
    channels = [np.interp(shares, np.linspace(0, 1, len(anchors)), channel) for channel in anchors.T]
    return np.stack(channels, -1).round().astype(np.uint8)


def _scale(values: np.ndarray, signed: bool) -> tuple[float, float]:
    """The weights at both ends of the colours; equal where there is nothing to tell apart."""
    low, high = float(values.min()), float(values.max())
    if signed:
        return -max(-low, high), max(-low, high)
    # Equal weights come out of float32 with differences in the last digits, which would be drawn as a pattern.
    return (low, high) if high - low > 1e-5 * high else (low, low)


def choose(maps: np.ndarray) -> list[int]:
    """The numbers of the (n, h, w) maps that a sheet shows: all in order, or the `MOST` that vary most, most first."""
    if len(maps) <= MOST:
        return list(range(len(maps)))
    return np.argsort(-maps.std((1, 2)), kind="stable")[:MOST].tolist()


def _panel(title: str, values: np.ndarray, grey: Image.Image, signed: bool) -> tuple[Image.Image, list[str]]:
    # Cells stay cells: interpolation would invent weights between them. A panel too small for them shows averages.
    heat = Image.fromarray(colors(values, signed=signed)).resize(grey.size, Image.Resampling.BOX)
    low, high = _scale(values, signed)
    scale = f"{values.min():.3g} to {values.max():.3g}" if high > low else f"{low:.3g} everywhere"
    return Image.blend(grey, heat, _HEAT), [title, scale]


def _fit(image: Image.Image) -> Image.Image:
    """Its longer side `PANEL`, whichever it was."""
    share = PANEL / max(image.size)
    width, height = (max(1, round(share * side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _mark(image: Image.Image, point: Point, pixels: np.ndarray) -> Image.Image:
    """A ring around the pixel, white within black, to be seen on anything."""
    marked = image.copy()
    x = (point.x + 0.5) * image.width / pixels.shape[1]
    y = (point.y + 0.5) * image.height / pixels.shape[0]
    pen = ImageDraw.Draw(marked)
    for radius, width, color in ((9, 5, "black"), (8, 3, "white")):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=width)
    return marked


def _headline(attention: AttentionMaps, shown: int, point: Point) -> list[str]:
    total = len(attention.maps)
    every = f"{shown} of {total} {attention.kind}, those that vary most over the image" if shown < total else ""
    if attention.position is None:
        return [attention.name, every or f"all {total} {attention.kind}"]
    row, column = attention.position
    size = f"{attention.size[0]} x {attention.size[1]}"
    what = f"what pixel {point.x},{point.y} looks at: row {row}, column {column} of {size} positions"
    return [attention.name, what, *([every] if every else [])]


def _arrange(panels: list[tuple[Image.Image, list[str]]], headline: list[str], signed: bool) -> Image.Image:
    font = ImageFont.load_default(_FONT)
    meaning = (
        "blue: negative, white: 0, red: positive; each panel to its largest magnitude"
        if signed
        else "each panel from its least to its greatest weight"
    )
    columns = min(COLUMNS, len(panels))
    texts = [line for _, caption in panels for line in caption]
    step_x = _GAP + max(panels[0][0].width, *(round(font.getlength(text)) for text in texts))
    step_y = _GAP + panels[0][0].height + 2 * _LINE
    top = _GAP + _LINE * (len(headline) + 1) + _GAP
    bar = 160
    widest = max(bar + _GAP + font.getlength(meaning), *(font.getlength(line) for line in headline))
    width = max(_GAP + columns * step_x, 2 * _GAP + round(widest))
    sheet = Image.new("RGB", (width, top + -(-len(panels) // columns) * step_y), "white")
    pen = ImageDraw.Draw(sheet)
    for n, line in enumerate(headline):
        pen.text((_GAP, _GAP + n * _LINE), line, "black", font)
    y = _GAP + len(headline) * _LINE
    ramp = np.linspace(-1 if signed else 0, 1, bar)[None].repeat(_LINE - 5, 0)
    sheet.paste(Image.fromarray(colors(ramp, signed=signed)), (_GAP, y + 2))
    pen.text((_GAP + bar + _GAP, y), meaning, "black", font)
    for n, (image, caption) in enumerate(panels):
        x, y = _GAP + n % columns * step_x, top + n // columns * step_y
        sheet.paste(image, (x, y))
        for k, line in enumerate(caption):
            pen.text((x, y + image.height + 2 + k * _LINE), line, "black" if k == 0 else "#555555", font)
    return sheet
