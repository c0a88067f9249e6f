"""What the network says of an image -> the bytes of an answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtseg.deploy.drawing.margin_png import thousandths
from rtseg.deploy.drawing.png import compress_rows, grey_png
from rtseg.deploy.prediction import Area, Prediction
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.serve.limits import Refused

RESULTS = ("png", "json", "raw")
_QUERY = {"result": RESULTS, "polygons": ("true", "false")}


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        result: one of `RESULTS`.
        polygons: with JSON, the outlines, too.
    """

    result: str = "png"
    polygons: bool = False

    @classmethod
    def of(cls, query: list[tuple[str, str]]) -> "Asked":
        """Raises: Refused where a parameter is unknown, given twice, or has another value than those it takes."""
        values: dict[str, str] = {}
        for name, value in query:
            if name not in _QUERY:
                raise Refused(400, f"the address has a parameter that is unknown: give {' or '.join(_QUERY)}")
            if value not in _QUERY[name] or name in values:
                raise Refused(400, f"'{name}' in the address is one of {', '.join(_QUERY[name])}, given once")
            values[name] = value
        asked = cls(values.get("result", "png"), values.get("polygons") == "true")
        if asked.polygons and asked.result != "json":
            raise Refused(400, "polygons=true goes with result=json: outlines are JSON")
        return asked


@dataclass(frozen=True)
class Answer:
    """The content of an answer.

    Attributes:
        media_type: of `content`.
        size: (height, width) of the image.
        margin: whether margins follow the class numbers.
        milliseconds: by stage; in JSON without that of making it.
    """

    content: bytes
    media_type: str
    size: tuple[int, int]
    margin: bool
    milliseconds: Mapping[str, float]

    def headers(self) -> dict[str, str]:
        return {
            "X-Size": "{} {}".format(*self.size),
            "X-Margin": str(int(self.margin)),
            "X-Milliseconds": json.dumps(self.milliseconds),
        }


def predict(predictor: Predictor, pixels: np.ndarray, asked: Asked) -> Prediction:
    """The prediction of (H, W, 3) uint8 RGB; with raw results it holds margins where the engine has them."""
    if asked.result == "raw" and predictor.runner.has_source_margins:
        return predictor.prediction_of(pixels)
    return Prediction(predictor.classes_of(pixels), predictor.class_names, predictor.palette)


def encode(predictor: Predictor, found: Prediction, asked: Asked, milliseconds: Mapping[str, float]) -> Answer:
    """The answer with what is asked for of a prediction of this predictor."""
    height, width = found.class_map.shape
    if asked.result == "png":
        numbers = predictor.to_ids(found.class_map)
        return Answer(grey_png(numbers, compress_rows(numbers)), "image/png", (height, width), False, milliseconds)
    if asked.result == "json":
        ids = predictor.card.ids or range(predictor.card.num_classes)
        document = {
            "height": height,
            "width": width,
            "classes": [_class(found, area, ids[area.number], asked) for area in found.areas],
            "milliseconds": milliseconds,
        }
        return Answer(json.dumps(document).encode(), "application/json", (height, width), False, milliseconds)
    numbers = found.class_map.astype("u1" if predictor.card.num_classes <= 256 else "<u2")
    margin = _margin(found)
    content = numbers.tobytes() + margin
    return Answer(content, "application/octet-stream", (height, width), bool(margin), milliseconds)


def _class(found: Prediction, area: Area, number: int, asked: Asked) -> dict[str, Any]:
    """A class that is in the image, with COCO's outlines along the edges of its pixels where they are asked for."""
    entry = {"id": int(number), "name": area.name, "pixels": area.pixels, "share": area.share}
    return entry | ({"polygons": found.polygons(area.number, edges=True)} if asked.polygons else {})


def _margin(found: Prediction) -> bytes:
    """The margins in thousandths; empty where the engine has none for an image of this size."""
    try:
        return thousandths(found.margin).astype("<u2").tobytes()
    except UserError:
        return b""
