"""Which engine is the fastest for a network here: measured once, among those that equal plain float32 PyTorch.

The choice is kept in the user's cache. The name of its file is a digest of the conditions, so that other weights,
another size class, processor, number of threads, version of a library or code of rtseg are measured anew.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from rtseg.deploy.cache import keep, kept
from rtseg.deploy.code_digest import code_digest, code_of
from rtseg.deploy.device import device_name, instruction_sets
from rtseg.deploy.engines import FP32, Engine, engine_classes, parse_backend, reference_for, short_name, size_of
from rtseg.deploy.explain import Choice, Measured
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError, first_line
from rtseg.models.network import Network
from rtseg.output.json_file import parse_json
from rtseg.version import VERSION

Build = Callable[[str], Engine]  # the name of an engine -> the engine
LEAST_SECONDS = 3.0  # for which the engines take turns
_LEAST_ROUNDS = 3
_MOST = 200  # choices that are kept


def exact_engines(source: Network | Graph, device: torch.device) -> list[str]:
    """The engines of float32 that are installed here and run `source`; plain PyTorch is not one of them."""
    found = []
    for kind in engine_classes():
        fits = device.type in kind.devices and kind.runs(source) and FP32.name in kind.measured(device)
        if isinstance(source, Network):
            fits = fits and kind.output == "logits" and not (kind.is_reference and kind.takes == "network")
        if fits:
            try:
                kind.check(FP32.name, device)
            except UserError:
                continue
            found.append(short_name(kind, FP32.name))
    return found or [reference_for(source)] * isinstance(source, Graph)


def without_measuring(source: Network | Graph, device: torch.device) -> Choice:
    """Eager PyTorch, which needs no preparation; for an exported file the engine that is usually the fastest."""
    if isinstance(source, Network):
        return Choice("eager", "it starts at once, and nothing was measured")
    ranked = sorted(
        exact_engines(source, device), key=lambda name: -parse_backend(name)[0].preferred(device).get(FP32.name, 0)
    )
    return Choice(ranked[0] if ranked else reference_for(source), "it runs this file, and nothing was measured")


def conditions_of(source: Network | Graph, weights: str, images: Tensor, device: torch.device) -> dict[str, Any]:
    """On what a choice depends.

    Args:
        weights: hash of the network's weights.
        images: (B, H, W, 3) uint8.
    """
    engines = exact_engines(source, device)
    versions: dict[str, str] = {}
    for name in engines:
        versions |= parse_backend(name)[0].versions(FP32.name)
    return {
        "network": f"{source.card.model} {weights}",
        "file": hashlib.sha256(source.model + source.beside).hexdigest() if isinstance(source, Graph) else None,
        "batch": len(images),
        "size_class": size_class(images),
        "device": device_name(device),
        "instruction_sets": instruction_sets(),
        "threads": torch.get_num_threads(),
        "engines": engines,
        "versions": versions,
        "rtseg": VERSION,
        "code": code_of(source) if isinstance(source, Network) else code_digest(),
    }


def size_class(images: Tensor) -> int:
    """The logarithm of the pixels of an image to the base 2, rounded: a choice holds for all images of one class."""
    height, width = size_of(images)
    return round(math.log2(height * width))


def remembered(conditions: dict[str, Any]) -> Choice | None:
    """The choice that was made under these conditions; None without one, or where its file is damaged.

    Networks with code that is not rtseg's are measured in each process: that code may have changed.
    """
    file = kept(_name(conditions)) if conditions["code"] else None
    if file is None:
        return None
    try:
        document = parse_json(file.read_bytes(), f"'{file}'")
        choice = _fastest([Measured(**one) for one in document["measured"]])
        if document["conditions"] != conditions or choice.engine not in conditions["engines"]:
            return None
        return replace(choice, **_facts(document, file))
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None


def measure(source: Network | Graph, images: Tensor, conditions: dict[str, Any], build: Build) -> Choice:
    """Measures the engines of `conditions`, and keeps the choice.

    Args:
        images: (B, H, W, 3) uint8, on which the engines are compared and timed, with their mirror images.
        build: makes the reference and each engine.
    """
    names = conditions["engines"]
    if len(names) == 1:
        return Choice(names[0], "no other engine of float32 that runs this is installed", conditions=conditions)
    tried = _try(names, reference_for(source), images, build)
    if not any(one.ms for one in tried):
        device = torch.device(images.device)
        return replace(without_measuring(source, device), measured=tuple(tried), conditions=conditions)
    choice = _fastest(tried)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"measured": [asdict(one) for one in choice.measured], "date": date, "conditions": conditions}
    content = json.dumps(document, indent=1).encode()
    file = keep(_name(conditions), content, _MOST) if conditions["code"] else None
    return replace(choice, **_facts(document, file))


def _facts(document: dict[str, Any], file: Path | None) -> dict[str, Any]:
    return {"conditions": document["conditions"], "date": str(document["date"]), "file": file}


def _name(conditions: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
    return f"engines/{digest[:32]}.json"


def _fastest(tried: list[Measured]) -> Choice:
    """Raises: ValueError where none was timed."""
    ranked = sorted(tried, key=lambda one: one.ms or math.inf)
    if not ranked or ranked[0].ms is None:
        raise ValueError("no engine was timed")
    return Choice(ranked[0].engine, "it is the fastest of those that equal plain float32 PyTorch", tuple(ranked))


@torch.inference_mode()
def _try(names: list[str], reference: str, images: Tensor, build: Build) -> list[Measured]:
    """Compares each engine with the reference, and times in turns those that equal it."""
    inputs = [images, images.flip(2).contiguous()]
    plain = build(reference)
    expected = [plain.run(one).long() for one in inputs]
    tried: list[Measured] = []
    timed: dict[str, Engine] = {}
    for name in names:
        try:
            engine = build(name)
            pairs = zip(inputs, expected, strict=True)
            equal = [(engine.run(one).long() == want).double().mean() for one, want in pairs]
        except Exception as error:  # whatever an engine raises, a plug-in's among them
            tried.append(Measured(name, refused=first_line(error)))
            continue
        percent = 100 * float(sum(equal)) / len(equal)
        if percent >= FP32.least_equal_percent:
            timed[name] = engine
        refused = None if name in timed else "too many pixels have another class"
        tried.append(Measured(name, equal_percent=percent, refused=refused))
    times = _time_in_turns(timed, inputs)
    return [replace(one, ms=times.get(one.engine)) for one in tried]


def _time_in_turns(engines: dict[str, Engine], inputs: list[Tensor]) -> dict[str, float]:
    """Median milliseconds of each; they take turns, so that other work on the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    begin, rounds = time.perf_counter(), 0
    while engines and (rounds < _LEAST_ROUNDS or time.perf_counter() - begin < LEAST_SECONDS):
        for name, engine in engines.items():
            engine.run(inputs[0])  # untimed: the threads of the engine before may still be awake
            for image in inputs:
                start = time.perf_counter()
                engine.run(image).cpu()
                times[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: 1000 * median(own) for name, own in times.items()}
