"""How fast the rows of a comparison are: measured in turns, and kept in `speed.json` for the next time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rtseg.attention.memory import MapsTooLargeError
from rtseg.deploy.device import describe_device
from rtseg.deploy.engines import best_backend
from rtseg.models import create_model
from rtseg.output.folders import write_whole
from rtseg.speed.benchmark import Candidate, Case, benchmark, out_of_memory
from rtseg.speed.conditions import Conditions
from rtseg.speed.doubts import Doubts, Figure
from rtseg.speed.progress import progress_bar, told
from rtseg.speed.timing import Timing
from rtseg.studies.compare.kept import read_kept, say_kept
from rtseg.studies.compare.rows import Row
from rtseg.terminal import Console

FIGURES = {"class_map": "class map", "network": "network", "best_class_map": "class map, best engine"}


def doubts(speed: Mapping[str, Any]) -> Doubts:
    """Why the figures of a measurement may not repeat."""
    figures = [
        Figure(name, what, Timing(**timing))
        for name, network in speed["networks"].items()
        for figure, what in FIGURES.items()
        if (timing := timing_of(network, figure))
    ]
    return Doubts(speed["conditions"], figures)


def timing_of(network: Mapping[str, Any] | None, figure: str) -> dict[str, Any] | None:
    """Timing of one of `FIGURES`; None where it was not measured."""
    if network is None:
        return None
    if figure == "best_class_map":
        return network["best"] and network["best"]["class_map"]
    return network[figure]


def check_built(rows: Sequence[Row], model: str, num_classes: int) -> None:
    """A row with a bad option should cost no minutes, and leave no folder."""
    with torch.device("meta"):
        for row in rows:
            create_model(model, num_classes, attention=row.attention, insert=row.insert, **row.options)


def measure_speed(
    rows: Sequence[Row],
    file: Path,
    model: str,
    num_classes: int,
    conditions: Conditions,
    console: Console,
) -> dict[str, Any]:
    """The measurement in `file`, if it is of these rows on this machine, else a new one, which goes there.

    Rows of insertions are also asked for their memory: it decides which attention can stand where.
    """
    (input_size,) = conditions.sizes
    asked = {
        "rows": [row.name for row in rows],
        "model": model,
        "num_classes": num_classes,
        "input_size": list(input_size),
        "seconds": conditions.seconds,
        "device": describe_device(conditions.where)["name"],
        "threads": conditions.threads,
        "torch": torch.__version__,
        "best_backend": best_backend(conditions.where),
    }
    memory = any(row.insert is not None for row in rows)
    found = read_kept(
        file, lambda kept: {key: kept[key] for key in ("asked", "conditions", "networks", "doubts")} | kept
    )
    if found and found["asked"] == asked:
        say_kept("speed", found["conditions"], file, console)
        return found
    with conditions.seeded():
        candidates = [
            Candidate(create_model(model, num_classes, attention=row.attention, insert=row.insert, **row.options))
            for row in rows
        ]
    (shape,) = conditions.shapes
    with told("a first run of every network", console):
        fits = [fits_memory(Case(candidate, "eager", shape), conditions) for candidate in candidates]
    backends = ["eager", *([asked["best_backend"]] if asked["best_backend"] else [])]
    wanted = [
        Case(candidate, backend, shape)
        for candidate, fit in zip(candidates, fits, strict=True)
        for backend in backends
        if fit
    ]
    with progress_bar(f"{sum(fits)} networks on {conditions.where}", console) as progress:
        report = benchmark(wanted, conditions, memory=memory, progress=progress)
    speed = json.loads(report.to_json())
    measured = iter(speed["networks"])
    networks: dict[str, Any] = {}
    for row, fit in zip(rows, fits, strict=True):
        networks[row.name] = {**next(measured), "best": next(measured) if len(backends) > 1 else None} if fit else None
    speed |= {"asked": asked, "networks": networks}
    write_whole(file, json.dumps(speed) + "\n")
    return speed


def _parse(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {**kept, **{key: kept[key] for key in ("asked", "conditions", "networks", "doubts")}}


def fits_memory(case: Case, conditions: Conditions) -> bool:
    """Whether the memory is enough for it: attention that is quadratic in the number of positions soon has none.

    Where the system refuses memory only once it is used, as Linux does for what is not absurd, it ends the process.
    """
    try:
        benchmark([case], replace(conditions, warmup_seconds=0, rounds=1, seconds=0, most_seconds=1))
    except MapsTooLargeError:
        return False
    except RuntimeError as error:
        if out_of_memory(error):
            return False
        raise
    return True
