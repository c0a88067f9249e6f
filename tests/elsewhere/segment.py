# python segment.py net.onnx, a file of logits: needs numpy, onnxruntime and pillow
import base64
import io
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
said = json.loads(session.get_modelmeta().custom_metadata_map["rtseg"])


def read(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def resize(values: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """(h, w, K) -> (H, W, K): bilinear, pixel centres at 0.5, nothing beyond the edge."""
    for axis, size in enumerate(sizes):
        last = values.shape[axis] - 1
        position = ((np.arange(size) + 0.5) * (last + 1) / size - 0.5).clip(0, last)
        before = position.astype(int)
        share = np.expand_dims((position - before).astype(np.float32), (1, 2) if axis == 0 else (0, 2))
        values = values.take(before, axis) * (1 - share) + values.take(np.minimum(before + 1, last), axis) * share
    return values


image, expected = read(said["proof"]["image"]), read(said["proof"]["class_map"])
(logits,) = session.run(["logits"], {said["input"]["name"]: image[None]})
classes = resize(logits[0], image.shape[:2]).argmax(-1)
equal = 100 * (classes == expected).mean()
print(f"{equal:.3f} % of the pixels are equal")
sys.exit(int(equal < said["proof"]["least_equal_percent"]))
