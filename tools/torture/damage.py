"""Flipped bits and holes in every kind of weight file.

Good is a refusal in a sentence, or the very bits that were written: some bytes of a file mean nothing. PaddleSeg's
`.pdparams` carries no checksum: there, finite arrays of other names or values count as good, and `said` tells them
apart. A card that has changed may load where that is said: people edit class names.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.torture import materials
from tools.torture.outcome import Outcome
from tools.torture.process import run_rtseg
from tools.torture.worker import Answer, Worker, command

_HOLE = 512  # bytes, a disk's sector


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """70 damaged files of each kind (10 if quick); then trainings resumed and commands run on such files."""
    run = materials.train(folder)
    weights = materials.save_folder(run / "best.ckpt", folder / "weights")
    kinds: list[tuple[list[Path], Callable[[Path], str]]] = [
        ([run / "last.ckpt"], digest_checkpoint),
        ([weights / "model.safetensors", weights / "config.json"], digest_folder),
        ([materials.export(run / "best.ckpt", folder / "net.onnx")], digest_onnx),
        ([materials.write_pdparams(folder / "model.pdparams")], digest_pdparams),
    ]
    draw = np.random.default_rng(13)
    with Worker(setup=imports) as worker:
        for files, digest in kinds:
            whole = worker.run(digest, files[0])
            if whole.kind != "returned":
                raise RuntimeError(f"the undamaged {files[0].name}: {whole.said}")
            for k in range(10 if quick else 70):
                file = files[k % 5 == 4 and len(files) > 1]  # a card is small, and hit seldom
                content, where = damaged(file.read_bytes(), draw, hole=k % 2 == 1)
                with instead(file, content):
                    yield _judged(worker.run(digest, files[0]), f"{file.name}, {where}", whole.said)
        yield from _resumed(worker, run, draw, 2 if quick else 8)
    size = ["--input-size", *map(str, materials.SIZE)]
    for files, arguments in (
        ([run / "best.ckpt"], ["predict", str(run / "best.ckpt"), str(folder / "data" / "val"), "-o"]),
        (kinds[1][0], ["predict", str(weights), str(folder / "data" / "val"), "-o"]),
        (kinds[2][0], ["benchmark", str(folder / "net.onnx"), "--seconds", "0.1", *size, "-o"]),
        (kinds[2][0], ["predict", str(folder / "net.onnx"), str(folder / "data" / "val"), "-o"]),
    ):  # fmt: skip
        for k in range(1 if quick else 3):
            content, where = damaged(files[0].read_bytes(), draw, hole=True)
            with instead(files[0], content):
                end = run_rtseg([*arguments, str(folder / f"out{k}.json")])
            fault = None if end.status == 2 else f"exit status {end.status}: {end.said}"
            yield end.outcome(f"rtseg {arguments[0]} {files[0].name}, {where}", fault)
            shutil.rmtree(folder / f"out{k}.json", ignore_errors=True)


def damaged(content: bytes, draw: np.random.Generator, *, hole: bool) -> tuple[bytes, str]:
    """The bytes with one bit flipped, or some of them zero, and where."""
    changed = bytearray(content)
    while changed == content:
        at = int(draw.integers(len(content)))
        if hole:
            changed[at : at + _HOLE] = bytes(len(changed[at : at + _HOLE]))
        else:
            changed[at] ^= 1 << int(draw.integers(8))
    return bytes(changed), f"{'hole' if hole else 'flip'} at {at} of {len(content)}"


@contextmanager
def instead(file: Path, content: bytes) -> Iterator[None]:
    """Another content of a file, for a while."""
    whole = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(whole)


def imports() -> None:
    """What takes the worker seconds once."""
    import onnx  # noqa: F401

    import rtseg.deploy.exports.read
    import rtseg.training.cli  # noqa: F401


def digest_checkpoint(file: Path) -> str:
    """Digest of everything in a `.ckpt`, as rtseg reads it."""
    from rtseg.models.weights import read_checkpoint

    return f"{_digest(read_checkpoint(file))} {_network(file)}"


def digest_folder(file: Path) -> str:
    """Digest of a folder of safetensors, given by one of its files."""
    return _network(file.parent)


def digest_onnx(file: Path) -> str:
    """Digest of what the file computes, and of its card."""
    import onnx

    from rtseg.deploy.exports.read import read_graph

    graph = read_graph(file)
    proto = onnx.load_model_from_string(graph.model)
    del proto.metadata_props[:]
    for name in ("producer_name", "producer_version", "doc_string", "domain", "model_version"):
        proto.ClearField(name)
    return _digest({**dataclasses.asdict(graph), "model": proto.SerializeToString(deterministic=True), "name": ""})


def digest_pdparams(file: Path) -> str:
    """Digests of names and shapes, and of the values where they are finite."""
    from rtseg.models.pdparams import read_pdparams

    arrays = read_pdparams(file)
    finite = all(np.isfinite(array).all() for array in arrays.values())
    shapes = {name: array.shape for name, array in arrays.items()}
    return f"{_digest(shapes)} {_digest(arrays) if finite else 'not finite'}"


def _network(source: Path) -> str:
    from rtseg.models.segmenter import Segmenter

    network = Segmenter.from_pretrained(source)
    return _digest({"card": network.card.to_dict(), **network.state_dict()})


def _digest(value: Any) -> str:
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        if isinstance(part, np.ndarray):
            digest.update(part.tobytes())
        elif isinstance(part, dict):
            for key, entry in part.items():
                digest.update(repr(key).encode())
                add(entry)
        elif isinstance(part, list | tuple):
            for entry in part:
                add(entry)
        else:
            digest.update(repr(part).encode(errors="backslashreplace"))

    add(value)
    return digest.hexdigest()[:16]


def _judged(answer: Answer, case: str, whole: str) -> Outcome:
    if answer.kind != "returned":
        return answer.outcome(case)
    if answer.said == whole:
        return Outcome(case, True, "loads to the same bits", answer.seconds)
    if "config.json' has changed since it was written" in answer.printed:
        return Outcome(case, True, "loads, and says that the card has changed", answer.seconds)
    if case.startswith("model.pdparams") and "not finite" not in answer.said:
        return Outcome(case, True, "loads with other names or values: this format carries no checksum", answer.seconds)
    return Outcome(case, False, "loads with other contents, without a word", answer.seconds)


def _resumed(worker: Worker, run: Path, draw: np.random.Generator, number: int) -> Iterator[Outcome]:
    """A training whose last checkpoint is damaged is not resumed, and the message names the whole one beside it."""
    last = run / "last.ckpt"
    whole = worker.run(digest_content, last).said
    for k in range(number):
        arguments = [*materials.fit_flags(run.parent / "data", run.parent / f"resumed{k}"), f"--ckpt_path={last}"]
        content, where = damaged(last.read_bytes(), draw, hole=k % 2 == 1)
        with instead(last, content):
            content_now = worker.run(digest_content, last)
            answer = worker.run(command, *arguments, clock=60)
        fault = None
        if answer.status == 0 and content_now.said != whole:
            fault = "resumes from a damaged checkpoint, without a word"
        elif answer.status != 0 and "best.ckpt" not in answer.printed:
            fault = f"does not name the whole best.ckpt: {answer.said}"
        yield answer.outcome(f"fit --ckpt_path last.ckpt, {where}", fault)


def digest_content(file: Path) -> str:
    """Digest of everything in a `.ckpt` as PyTorch reads it, without rtseg."""
    return _digest(torch.load(file, map_location="cpu", weights_only=True))
