"""The confusion matrix as a picture: a row a class of the truth, a column a class of the prediction."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtseg.deploy.folder.legend import shorten
from rtseg.scores.scores import Scores

_SIDE, _LEAST, _MOST = 900, 5, 44  # of the matrix and of a cell, pixels
_GAP, _FONT = 8, 13
_READABLE = 14  # pixels of a cell from which on names stand at the rows and columns
_WITH_NUMBERS = 30  # and numbers in the cells
_DARK = np.array([8, 48, 107])
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def confusion_picture(scores: Scores) -> Image.Image:
    """Each cell is the share of its row: of the pixels of a class, how many are taken for which. Darker is more.

    A class without pixels has a grey row.
    """
    counts = scores.confusion.numpy().astype(np.float64)
    number = len(counts)
    truth = counts.sum(1, keepdims=True)
    shares = np.divide(counts, truth, out=np.zeros_like(counts), where=truth > 0)
    cell = int(np.clip(_SIDE // number, _LEAST, _MOST))
    colors = 255 + np.sqrt(shares)[..., None] * (_DARK - 255)  # small shares are to be seen
    colors[truth[:, 0] == 0] = 225
    pixels = colors.round().astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    font = ImageFont.load_default(_FONT)
    names = [shorten(name) for name in scores.names] if cell >= _READABLE else []
    margin = max([round(font.getlength(name)) for name in names], default=0) + 2 * _GAP
    line = 2 * _FONT
    side = number * cell
    image = Image.new("RGB", (margin + side + line, margin + side + line), "white")
    image.paste(Image.fromarray(pixels), (margin, margin))
    pen = ImageDraw.Draw(image)
    pen.rectangle((margin - 1, margin - 1, margin + side, margin + side), outline="black")
    for k, name in enumerate(names):
        middle = margin + k * cell + cell // 2
        pen.text((margin - _GAP, middle), name, "black", font, anchor="rm")
        _upright(image, name, (middle, margin - _GAP), font)
    if cell >= _WITH_NUMBERS:
        for row, column in np.argwhere(shares >= 0.005):
            place = margin + column * cell + cell // 2, margin + row * cell + cell // 2
            color = "white" if shares[row, column] > 0.3 else "black"
            pen.text(place, f"{100 * shares[row, column]:.0f}", color, font, anchor="mm")
    pen.text((margin, margin + side + _GAP), "rows: truth; columns: prediction; % of the row", "black", font)
    return image


def png(scores: Scores) -> bytes:
    """The picture as a file."""
    encoded = io.BytesIO()
    confusion_picture(scores).save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def _upright(image: Image.Image, text: str, bottom: tuple[int, int], font: Font) -> None:
    """Writes a text from below to above, which ends in `bottom`'s column."""
    length = round(font.getlength(text)) + 2
    drawn = Image.new("L", (length, _FONT + 4))
    ImageDraw.Draw(drawn).text((0, 0), text, 255, font)
    turned = drawn.rotate(90, expand=True)
    image.paste("black", (bottom[0] - turned.width // 2, bottom[1] - turned.height), turned)
