"""MNN's files: written from ONNX, and the text that they carry.

MNN's own command, `mnnconvert`, is not used: it has pip install another package, and sends names of files and a number
for this machine to its makers (MNN 3.6). The converter below it does neither.
"""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from rtseg.deploy.c_output import silent_c
from rtseg.deploy.mnn_graph import rewrite_for_mnn
from rtseg.errors import UserError, require

# In a process of its own, since it writes its progress to the standard output. It reports success in any case.
_CONVERT = """
import sys, _tools
text = sys.stdin.buffer.read().decode()
files = ["--modelFile", sys.argv[1], "--MNNModel", sys.argv[2]]
_tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", text])
"""
_TEXT = 4  # byte of the vtable at which the place of `bizCode`, the first field, stands


def convert_to_mnn(model: bytes, description: str) -> bytes:
    """An ONNX file's content as an MNN file's, weights and arithmetic in float32.

    Two conversions of one graph differ: MNN writes a random number into each file.

    Args:
        description: what the file says of itself; `mnn_description` reads it.

    Raises:
        UserError: MNN is not installed, or does not take the graph.
    """
    with silent_c():  # its import prints what the processor can do
        require("MNN", "mnn")
    model = _rewritten(model)
    with tempfile.TemporaryDirectory() as folder:
        onnx, mnn = Path(folder, "net.onnx"), Path(folder, "net.mnn")
        onnx.write_bytes(model)
        command = [sys.executable, "-P", "-c", _CONVERT, str(onnx), str(mnn)]  # -P: no module of the current folder
        done = subprocess.run(command, input=description.encode(), capture_output=True, check=False)
        if not mnn.is_file():
            lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
            said = next((line for line in lines if "failed" in line or "ERROR" in line), f"status {done.returncode}")
            raise UserError(f"MNN cannot convert the graph ({said.replace(str(onnx), 'the graph').strip()})")
        return mnn.read_bytes()


def _rewritten(model: bytes) -> bytes:
    """The graph as MNN runs it fastest.

    Raises:
        UserError: the size of an image decides what is computed. MNN 3.6 converts such a graph, and runs no image.
    """
    onnx = require("onnx", "onnx")
    try:
        proto = onnx.load_model_from_string(model)
    except Exception:  # protobuf's own: no graph, as the converter will say
        return model
    if any(node.op_type == "If" for node in proto.graph.node):
        raise UserError(
            "MNN cannot run this network with open sizes, since its attention depends on the size: export it for one "
            "size (--input-size HEIGHT WIDTH), or as .onnx, .xml or .pt2 for any"
        )
    rewrite_for_mnn(proto)
    return proto.SerializeToString()


def mnn_description(model: bytes) -> str | None:
    """The text that `convert_to_mnn` wrote into an MNN file; None where there is none, or it is no such file.

    MNN's own interface does not give it back. The file is a FlatBuffer, and the text is the first field of its root.
    """
    try:
        (root,) = struct.unpack_from("<I", model)
        vtable = root - struct.unpack_from("<i", model, root)[0]
        (place,) = struct.unpack_from("<H", model, vtable + _TEXT)
        text = root + place
        text += struct.unpack_from("<I", model, text)[0]
        (length,) = struct.unpack_from("<I", model, text)
        found = model[text + 4 : text + 4 + length]
        return found.decode() if place and len(found) == length else None
    except (struct.error, UnicodeDecodeError):
        return None
