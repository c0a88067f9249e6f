"""Hostile weights: checkpoints with odd contents, pickles that ask for code or for ever, graphs of another's."""

import hashlib
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.torture import materials
from tools.torture.case import Case, command_case, must_refuse, no_fault
from tools.torture.texts import pair


class Code:
    """What pickle runs when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple:
        return self._call


def checkpoint_cases(run: Path, folder: Path, canary: Path) -> Iterator[Case]:
    """Cases of `.ckpt` files: by `rtseg predict`, and those of a training's own state by `rtseg fit --ckpt_path`."""
    whole = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    for k, (name, (change, resumes)) in enumerate(_changes(canary).items()):
        # Without the moving average, which would be read instead; through a copy that shares no dictionary.
        checkpoint = {key: dict(value) if key == "state_dict" else value for key, value in whole.items()}
        checkpoint["model_card"] = dict(whole["model_card"])
        if not resumes:
            checkpoint.pop("ema_state_dict", None)
        change(checkpoint)
        file = folder / f"odd{k}.ckpt"
        torch.save(checkpoint, file)
        yield _predict(f".ckpt: {name}", file, folder / f"shown{k}", must_refuse if not resumes else no_fault)
        if resumes:
            torch.save(checkpoint, file)  # the folder is emptied after each case
            flags = [*materials.fit_flags(run.parent / "data", folder / f"resumed{k}"), "--ckpt_path", str(file)]
            yield command_case(f"fit --ckpt_path: {name}", *flags, fault=must_refuse)
    for k, (name, content) in enumerate(_foreign(canary).items()):
        file = folder / f"foreign{k}.ckpt"
        file.write_bytes(content)
        yield _predict(f".ckpt: {name}", file, folder / f"shown foreign{k}", must_refuse)
    pipe = folder / "pipe.ckpt"
    os.mkfifo(pipe)
    yield _predict(".ckpt: a pipe", pipe, folder / "shown of a pipe", must_refuse)
    yield _predict(".ckpt: /dev/zero", Path("/dev/zero"), folder / "shown of a device", must_refuse)


def paddle_cases(folder: Path, canary: Path) -> Iterator[Case]:
    """Cases of `.pdparams`, which are pickles."""
    for k, (name, content) in enumerate(_pickles(canary).items()):
        file = folder / f"p{k}.pdparams"
        file.write_bytes(content)
        yield Case(f".pdparams: {name}", read_paddle, (file,), must_refuse)
    for k, name in enumerate(("code", "keys of shared tuples")):
        file = folder / f"c{k}.pdparams"
        file.write_bytes(_pickles(canary)[name])
        yield command_case(f"convert .pdparams: {name}", "convert", file, "-o", folder / f"c{k}", fault=must_refuse)


def graph_cases(net: Path, folder: Path) -> Iterator[Case]:
    """Cases of ONNX files whose digest is right, by `rtseg benchmark`."""
    import onnx

    for k, (name, change) in enumerate(_graph_changes().items()):
        proto = onnx.load(net)
        entry = next(entry for entry in proto.metadata_props if entry.key == "rtseg")
        said = json.loads(entry.value)
        change(proto, said)
        if "graph" in said:
            said["graph"] = hashlib.sha256(proto.graph.SerializeToString(deterministic=True)).hexdigest()
        entry.value = json.dumps(said)
        file = folder / f"g{k}.onnx"
        file.write_bytes(proto.SerializeToString())
        size = ["--input-size", *materials.SIZE, "--backend", "onnxruntime", "--seconds", "0.05"]
        yield command_case(f"ONNX: {name}", "benchmark", file, *size, "-o", folder / f"g{k}.json", fault=must_refuse)


def read_paddle(file: Path) -> str:
    """Names of a `.pdparams` file."""
    from rtseg.models.pdparams import read_pdparams

    return ", ".join(read_pdparams(file))[:100]


def _predict(name: str, file: Path, shown: Path, fault: Any) -> Case:
    image = pair(shown) / "images" / "a.png"
    return command_case(name, "predict", file, image, "-o", shown / "out", fault=fault)


def _changes(canary: Path) -> dict[str, tuple[Callable[[dict], Any], bool]]:
    """What is odd -> how a checkpoint becomes so, and whether it also matters to a training that resumes from it."""

    def weights(function: Callable[[torch.Tensor], Any], kind: str = "weight") -> Callable[[dict], Any]:
        def change(checkpoint: dict) -> None:
            state = checkpoint["state_dict"]
            key = next(key for key in state if key.startswith("segmenter.") and key.endswith(kind))
            state[key] = function(state[key])

        return change

    def card(**values: Any) -> Callable[[dict], Any]:
        return lambda checkpoint: checkpoint["model_card"].update(values)

    def top(**values: Any) -> Callable[[dict], Any]:
        return lambda checkpoint: checkpoint.update(values)

    bare: dict[str, Any] = {"class_names": [], "palette": [], "ids": []}
    nested: list = []
    for _ in range(300):
        nested = [nested]
    return {
        "a list for a tensor": (weights(lambda t: t.tolist()), False),
        "None for a tensor": (weights(lambda t: None), False),
        "a text for a tensor": (weights(lambda t: "x"), False),
        "int8 weights": (weights(lambda t: t.to(torch.int8)), False),
        "bool weights": (weights(lambda t: t > 0), False),
        "complex weights": (weights(lambda t: t.to(torch.complex64)), False),
        "NaN weights": (weights(lambda t: t * float("nan")), False),
        "infinite weights": (weights(lambda t: t / 0.0), False),
        "negative variances": (weights(lambda t: -1 - t.abs(), "running_var"), False),
        "sparse weights": (weights(lambda t: t.to_sparse()), False),
        "weights of 10^10 that share one number": (weights(lambda t: torch.ones(1).expand(10**5, 10**5)), False),
        "weights of no size": (weights(lambda t: t[:0]), False),
        "a list as state_dict": (top(state_dict=[1, 2]), False),
        "no weights": (top(state_dict={}), False),
        "a number as a key": (lambda checkpoint: checkpoint["state_dict"].update({5: torch.ones(1)}), False),
        "a list as a card": (top(model_card=[1]), False),
        "nested lists as a card": (top(model_card=nested), False),
        "10^9 classes": (card(num_classes=10**9), False),
        "only 10^9 classes": (card(num_classes=10**9, **bare), False),
        "an id of -1": (card(ids=[*range(10), -1]), False),
        "an id of 70000": (card(ids=[*range(10), 70000]), False),
        "a std of 1e-320": (card(std=[1e-320, 1.0, 1.0]), False),
        "a list as ema_state_dict": (top(ema_state_dict=[1]), False),
        "a text as step": (top(global_step="x\x1b[31m"), True),
        "a step of -1": (top(global_step=-1), True),
        "a step of 1e300": (top(global_step=1e300), True),
        "a list as loops": (top(loops=[1]), True),
        "no loops": (lambda checkpoint: checkpoint.pop("loops"), True),
        "a text as optimizer": (top(optimizer_states="x"), True),
        "no optimizer": (top(optimizer_states=[]), True),
        "callbacks of another kind": (top(callbacks=7), True),
    }


def _foreign(canary: Path) -> dict[str, bytes]:
    """Files under the name of a checkpoint that were never one."""
    run = Code(os.system, f"touch {canary}")
    zipped = canary.parent / "archive.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("archive/version", "3")
        with archive.open("archive/data.pkl", "w", force_zip64=True) as part:
            for _ in range(1500):
                part.write(bytes(1 << 20))
    bomb = zipped.read_bytes()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": run}, 2))
        archive.writestr("archive/version", "3")
    code = zipped.read_bytes()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../../../tmp/out", "x")
    outside = zipped.read_bytes()
    zipped.unlink()
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return {
        "1.5 GB in 1.5 MB": bomb, "code": code, "code in the old format": magic + pickle.dumps(run, 2),
        "a bare pickle of code": pickle.dumps(run, 4), "names that lead outside": outside,
        "nothing": b"", "noise": np.random.default_rng(6).bytes(5000), "an image": b"\x89PNG\r\n\x1a\n" + bytes(200),
    }  # fmt: skip


def _pickles(canary: Path) -> dict[str, bytes]:
    run = f"touch {canary}"
    shared: Any = ()
    for _ in range(40):
        shared = (shared, shared)
    lists: Any = []
    for _ in range(40):
        lists = [lists, lists]
    array = np.ones(3, np.float32)
    forged = pickle.dumps({"a": np.array([None, 1], object)}, 4)
    return {
        "code": pickle.dumps({"a": Code(os.system, run)}, 4),
        "code by eval": pickle.dumps({"a": Code(eval, f"__import__('os').system({run!r})")}, 2),
        "code by exec": pickle.dumps({"a": Code(exec, f"open({str(canary)!r}, 'w')")}, 0),
        "a file read by numpy": pickle.dumps({"a": Code(np.fromfile, "/etc/passwd", "u1")}, 4),
        "keys of shared tuples": b"\x80\x02}" + _shared_tuples(60) + b"K\x01s.",
        "values of shared tuples": pickle.dumps({"a": shared}, 2),
        "values of shared lists": pickle.dumps({"a": lists}, 2),
        "100,000 tuples in each other": b"\x80\x02)" + b"\x85" * 100_000 + b".",
        "100,000 lists in each other": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "a text that claims 2^40 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
        "bytes that claim 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
        "a frame that claims 2^40 bytes": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"}.",
        "a number of 2 GB": b"\x80\x02\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"\x01.",
        "a number of 200,000 digits": b"I" + b"9" * 200_000 + b"\n.",
        "memo 2^31": b"\x80\x02}r\xff\xff\xff\x7f.",
        "a stack that is empty": b"\x80\x02" + b"0" * 50, "no end": b"\x80\x02}",
        "arrays of objects": forged,
        "a shape of 10^9": pickle.dumps({"a": array}, 4).replace(b"K\x03\x85", b"J\0\xca\x9a\x3b\x85", 1),
        "NaN": pickle.dumps({"a": array * np.nan}, 4), "integers": pickle.dumps({"a": np.arange(3)}, 4),
        "an escape code in a name": pickle.dumps({"\x1b[31m": 1}, 4), "nothing": b"", "a list": pickle.dumps([1], 4),
    }  # fmt: skip


def _shared_tuples(depth: int) -> bytes:
    """A tuple that holds another twice, and so on: few bytes, whose hash takes 2 ** depth steps."""
    return b")" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(depth))


def _graph_changes() -> dict[str, Callable[[Any, dict], Any]]:
    import onnx
    from onnx import helper, numpy_helper

    def external(proto: Any, said: dict) -> None:
        tensor = proto.graph.initializer[0]
        onnx.external_data_helper.set_external_data(tensor, "../../../../../etc/passwd")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL

    def shape(proto: Any, said: dict) -> None:
        for k, size in enumerate((1, 7, 9), 0):
            proto.graph.input[0].type.tensor_type.shape.dim[k].dim_value = size

    def cut(proto: Any, said: dict) -> None:
        tensor = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        tensor.raw_data = tensor.raw_data[:-4]

    def huge(proto: Any, said: dict) -> None:
        size = numpy_helper.from_array(np.array([1 << 36]), "huge_shape")
        proto.graph.initializer.append(size)
        proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["huge_shape"], ["huge"]))
        proto.graph.output.append(helper.make_tensor_value_info("huge", onnx.TensorProto.FLOAT, [1 << 36]))

    def not_finite(proto: Any, said: dict) -> None:
        tensor = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        tensor.raw_data = np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes()

    return {
        "another file's data": external, "another shape than it says": shape, "weights that are cut": cut,
        "an output of 2^36 numbers": huge, "NaN weights": not_finite,
        "says 10^9 x 10^9": lambda proto, said: said.update(shape=[1, 10**9, 10**9]),
        "says no size": lambda proto, said: said.update(shape=[0, 0, 0]),
        "says a text as size": lambda proto, said: said.update(shape="abc"),
        "says another output": lambda proto, said: said.update(output="class_map"),
        "says 7 classes": lambda proto, said: said["card"].update(num_classes=7, class_names=[], palette=[], ids=[]),
        "a card with an escape code": lambda proto, said: said["card"].update({"model": "\x1b[31m"}),
        "no card": lambda proto, said: said.clear(),
    }  # fmt: skip
