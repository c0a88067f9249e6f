"""The command: measures every row, trains it where data are given, and reports."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from rtseg.deploy.benchmark import Candidate, benchmark, timing_progress
from rtseg.deploy.device import choose_device
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.output import make_folder
from rtseg.studies.compare.plot import draw
from rtseg.studies.compare.report import Comparison, read_speed
from rtseg.studies.compare.rows import Row, choose_rows
from rtseg.studies.compare.trainings import Recipe, train, trainings


def compare(
    attentions: Sequence[str],
    output: Path,
    *,
    model: str = "rtformer_slim",
    input_size: tuple[int, int] = (512, 512),
    num_classes: int = 150,
    device: str | None = None,
    threads: int | None = None,
    seconds: float = 6.0,
    config: Path | None = None,
    data: Path | None = None,
    epochs: int | None = None,
    seeds: int = 1,
    jobs: int = 1,
    flags: Sequence[str] = (),
) -> Comparison:
    """Prints a table, and as last line the JSON; writes `compare.json`, `compare.md` and `compare.svg`.

    Called again with the same folder it goes on: finished trainings and the measurement stay. Speed is measured first,
    on untrained networks, whose values do not change it.

    Args:
        attentions: rows, "low+high" each; RTFormer's Table 3 for none. gfa+ca is always among them.
        output: folder of the comparison.
        input_size, num_classes: of the networks that are timed.
        seconds: timed at least, for each of a row's two figures.
        config, data, epochs: recipe, data set's folder and length of the trainings; no trainings without `data`.
        seeds: trainings a row, with the seeds 0, 1, ...
        jobs: trainings at a time.
        flags: of `rtseg fit`, for all trainings.

    Raises:
        UserError: a bad name or number; `data` without `epochs` or the other way round; see `train` and `benchmark`.
    """
    console = Console(stderr=True)
    rows = choose_rows(attentions, model)
    recipe = _recipe(model, config, data, epochs, seeds, jobs, flags)
    make_folder(output)
    speed = _speed(rows, output / "speed.json", model, num_classes, input_size, console, device, threads, seconds)
    wanted = trainings(rows, range(seeds), output) if recipe else []
    if recipe:
        train(wanted, recipe, output, jobs=jobs, console=console)
    comparison = Comparison(rows, speed, recipe, {(t.row, t.seed): t.score() for t in wanted})
    table = Console(width=None if Console().is_terminal else 180)
    table.print(comparison.table())
    text = json.dumps(comparison.to_dict())
    (output / "compare.json").write_text(text + "\n")
    (output / "compare.md").write_text(comparison.markdown())
    (output / "compare.svg").write_text(draw(comparison))
    console.print(f"Written: {output}/compare.json, compare.md, compare.svg", highlight=False)
    print(text)
    return comparison


def _recipe(
    model: str,
    config: Path | None,
    data: Path | None,
    epochs: int | None,
    seeds: int,
    jobs: int,
    flags: Sequence[str],
) -> Recipe | None:
    for name, value in {"seeds": seeds, "jobs": jobs}.items():
        if value < 1:
            raise UserError(f"--{name} {value} must be at least 1")
    if data is None and epochs is None:
        if flags:
            raise UserError(f"'{flags[0]}' is for trainings, or no option at all; trainings want --data and --epochs")
        return None
    if data is None or epochs is None or config is None:
        raise UserError("trainings want a data set, a length and a recipe: --data DIR --epochs N --config FILE")
    return Recipe(model, config, data, epochs, tuple(flags))


def _speed(
    rows: Sequence[Row],
    file: Path,
    model: str,
    num_classes: int,
    input_size: tuple[int, int],
    console: Console,
    device: str | None,
    threads: int | None,
    seconds: float,
) -> dict[str, Any]:
    """The measurement in `file`, if it is of these rows under these conditions, else a new one, which goes there."""
    found_device = choose_device(device)
    threads = threads or torch.get_num_threads()
    asked = {
        "rows": [row.name for row in rows],
        "model": model,
        "num_classes": num_classes,
        "input_size": list(input_size),
        "device": found_device.type,
        "threads": threads if found_device.type == "cpu" else None,
    }
    found = read_speed(file)
    if found and found["asked"] == asked:
        date = found["conditions"]["date"]
        console.print(f"speed as measured on {date}; to measure it anew, remove {file}", highlight=False)
        return found
    # All rows are built before any is measured: a bad one should not cost the minutes of the others.
    candidates = [Candidate(create_model(model, num_classes, attention=row.attention, **row.options)) for row in rows]
    conditions: dict[str, Any] = {"device": found_device, "threads": threads}
    with console.status("a first run of every network"):
        fits = [_fits(candidate, input_size, **conditions) for candidate in candidates]
    with timing_progress(f"timing {sum(fits)} networks on {found_device}", console) as on_progress:
        report = benchmark(
            [candidate for candidate, fit in zip(candidates, fits, strict=True) if fit],
            input_size,
            **conditions,
            min_seconds=seconds,
            on_progress=on_progress,
        )
    measured = iter(json.loads(report.to_json())["networks"])
    speed = {
        **json.loads(report.to_json()),
        "asked": asked,
        "networks": {row.name: next(measured) if fit else None for row, fit in zip(rows, fits, strict=True)},
    }
    file.write_text(json.dumps(speed) + "\n")
    return speed


def _fits(candidate: Candidate, input_size: tuple[int, int], **conditions: Any) -> bool:
    """Whether the memory is enough for it: attention that is quadratic in the number of positions soon has none."""
    try:
        benchmark(
            [candidate], input_size, **conditions, warmup_seconds=0, min_iterations=1, min_seconds=0, max_seconds=1
        )
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            return False
        raise
    return True
