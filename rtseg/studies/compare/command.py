"""The command: measures every row, trains it where data are given, and reports."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from rtseg.deploy.benchmark import Candidate, benchmark, timing_progress
from rtseg.deploy.device import choose_device, describe_device
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.output import make_folder, write_whole
from rtseg.studies.compare.plot import draw
from rtseg.studies.compare.recipe import Recipe, check_recipe
from rtseg.studies.compare.report import Comparison, read_speed
from rtseg.studies.compare.rows import Row, choose_rows
from rtseg.studies.compare.trainings import Training, locked, train, trainings


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
        UserError: a bad name or number; `data` without `epochs` or the other way round; another recipe than the
            folder's, or another command in it; see `benchmark`. Or a training failed: only after the others, and the
            report.
    """
    console = Console(stderr=True)
    rows = choose_rows(attentions, model)
    recipe = _recipe(model, config, data, epochs, seeds, jobs, flags)
    wanted = trainings(rows, range(seeds), output) if recipe else []
    failed: dict[Training, str] = {}
    make_folder(output)
    with locked(output) as lock:
        if recipe:
            check_recipe(recipe, output / "recipe.json")
        conditions: dict[str, Any] = {"device": choose_device(device), "threads": threads}
        speed = _speed(rows, output / "speed.json", model, num_classes, input_size, conditions, seconds, console)
        if recipe:
            failed = train(wanted, recipe, lock=lock, jobs=jobs, console=console)
        scores = {(t.row, t.seed): t.score() for t in wanted if t.finished}
        comparison = Comparison(rows, speed, recipe, scores)
        text = json.dumps(comparison.to_dict())
        write_whole(output / "compare.json", text + "\n")
        write_whole(output / "compare.md", comparison.markdown())
        write_whole(output / "compare.svg", draw(comparison))
    Console(width=None if Console().is_terminal else 180).print(comparison.table())
    console.print(f"Written: {output}/compare.json, compare.md, compare.svg", highlight=False)
    print(text)
    if failed:
        raise UserError("\n".join([*failed.values(), "The same command tries these again and keeps the others"]))
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
    conditions: Mapping[str, Any],
    seconds: float,
    console: Console,
) -> dict[str, Any]:
    """The measurement in `file`, if it is of these rows on this machine, else a new one, which goes there."""
    device = conditions["device"]
    asked = {
        "rows": [row.name for row in rows],
        "model": model,
        "num_classes": num_classes,
        "input_size": list(input_size),
        "seconds": seconds,
        "device": describe_device(device)["name"],
        "threads": conditions["threads"],
        "torch": torch.__version__,
    }
    found = read_speed(file)
    if found and found["asked"] == asked:
        date = found["conditions"]["date"]
        console.print(f"speed as measured on {date}; to measure it anew, remove {file}", highlight=False)
        return found
    # All rows are built before any is measured: a bad one should not cost the minutes of the others.
    candidates = [Candidate(create_model(model, num_classes, attention=row.attention, **row.options)) for row in rows]
    with console.status("a first run of every network"):
        fits = [_fits(candidate, input_size, **conditions) for candidate in candidates]
    with timing_progress(f"timing {sum(fits)} networks on {device}", console) as on_progress:
        report = benchmark(
            [candidate for candidate, fit in zip(candidates, fits, strict=True) if fit],
            input_size,
            **conditions,
            min_seconds=seconds,
            on_progress=on_progress,
        )
    speed = json.loads(report.to_json())
    measured = iter(speed["networks"])
    networks = {row.name: next(measured) if fit else None for row, fit in zip(rows, fits, strict=True)}
    speed |= {"asked": asked, "networks": networks}
    write_whole(file, json.dumps(speed) + "\n")
    return speed


def _fits(candidate: Candidate, input_size: tuple[int, int], **conditions: Any) -> bool:
    """Whether the memory is enough for it: attention that is quadratic in the number of positions soon has none.

    Where the system refuses memory only once it is used, as Linux does for what is not absurd, it ends the process.
    """
    try:
        benchmark(
            [candidate], input_size, **conditions, warmup_seconds=0, min_iterations=1, min_seconds=0, max_seconds=1
        )
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            return False
        raise
    return True
