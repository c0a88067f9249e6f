"""`compare` of a task: what is inserted into its network, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import Device
from rtseg.configs import find_config
from rtseg.output.folders import check_place
from rtseg.studies.commands import (
    Data,
    Epochs,
    Jobs,
    Output,
    Seconds,
    Seeds,
    Threads,
    check_memory,
    check_passed_on,
    insert_option,
    memory_option,
)  # fmt: skip
from rtseg.studies.runs.task import Task
from rtseg.studies.runs.typed import check_typed
from rtseg.yaml_file import parse_yaml

_OPTION = "--model.options."


def add_compare(app: typer.Typer, task: Task) -> None:
    """Adds the command."""
    height, width = task.size
    scores = " and ".join(task.shown.values())
    table = task.tables[0].removeprefix("table")

    @app.command(
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        help=f"""Compare what is inserted: parameters, multiply-adds, memory and {scores}.

        Without --insert the rows are those of the first paper's Table {table}, with its figures beside ours.
        Scores need --data and --epochs.

        Flags of `{task.fit}` are passed to the trainings, as --data.num_workers=4
        """,
    )
    def compare(
        context: typer.Context,
        insert: Annotated[list[str] | None, insert_option(task)] = None,
        output: Output = Path(f"runs/compare_{task.words[0]}"),
        model: Annotated[
            str | None, typer.Option(help=f"the network; default: that of --config, else {task.model}")
        ] = None,
        input_size: Annotated[
            tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="image size that costs are measured for")
        ] = (height, width),
        memory: Annotated[float, memory_option(task)] = 16.0,
        device: Device = None,
        threads: Threads = None,
        seconds: Seconds = 6.0,
        data: Data = None,
        epochs: Epochs = None,
        config: Annotated[
            str | None,
            typer.Option(help=f"configuration of the trainings, and of the network; default: {task.config}"),
        ] = None,
        seeds: Seeds = 1,
        jobs: Jobs = 1,
    ) -> None:
        file = find_config(config or task.config, task.configs, verb="compare")
        check_passed_on(context, "--insert")
        check_typed(insert or [], task)
        limit = check_memory(memory)
        from rtseg.studies.runs.recipe import Recipe, read_settings

        # Without trainings and without a configuration it is the task's own network that is asked about.
        own = read_settings(file).get("model") or {} if config or data or epochs else {}
        name = model or own.get("name") or task.model
        flags = [flag.removeprefix(_OPTION).partition("=") for flag in context.args if flag.startswith(_OPTION)]
        options = {**(own.get("options") or {}), **{key: parse_yaml(value, key) for key, _, value in flags}}
        recipe = Recipe.of_options(name, file, data, epochs, context.args, task)
        check_place(output.expanduser())
        from rtseg.speed.conditions import Conditions
        from rtseg.studies.compare import Plan, compare_counted

        compare_counted(
            insert or task.tables[:1],
            output,
            task,
            model=name,
            options=options,
            conditions=Conditions(sizes=[input_size], seconds=seconds, device=device, threads=threads),
            limit=limit,
            plan=Plan(recipe, seeds, jobs),
        )
