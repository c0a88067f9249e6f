"""OpenVINO's own files: .xml with the graph and the description, .bin with the weights."""

import html
import importlib
import re
import tempfile
from pathlib import Path
from typing import Any

from rtseg.deploy.exports.description import KEY
from rtseg.deploy.openvino_core import core
from rtseg.errors import UserError, first_line, require

_TEXT = re.compile(rb'<%b value="([^"]*)" ?/>' % KEY.encode())


def build_openvino(model: bytes, text: str) -> tuple[bytes, bytes]:
    """An ONNX file's content as those of an .xml and a .bin, weights in float32.

    Raises:
        UserError: OpenVINO is not installed, or does not take the graph.
    """
    require("openvino", "openvino")
    try:
        return save_openvino(core().read_model(model, b""), text)
    except RuntimeError as error:
        raise UserError(f"OpenVINO cannot convert the graph: {first_line(error)}") from None


def save_openvino(model: Any, text: str) -> tuple[bytes, bytes]:
    """An `openvino.Model` as the contents of an .xml and a .bin, with the text as its description."""
    for i, operator in enumerate(model.get_ordered_ops()):
        name, kind = operator.get_friendly_name(), operator.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", name):  # a number of this process
            operator.set_friendly_name(f"{kind}_{i}")
    model.set_rt_info(text, [KEY])
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder, "net.xml")
        importlib.import_module("openvino").save_model(model, xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


def openvino_text(xml: bytes) -> str | None:
    """What an .xml file says of itself; None where it has no description, or is no such file."""
    found = _TEXT.findall(xml)
    try:
        return html.unescape(found[0].decode()) if len(found) == 1 else None
    except UnicodeDecodeError:
        return None
