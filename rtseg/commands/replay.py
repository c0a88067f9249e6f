"""`replay`: finds where a training step stopped being finite; the same command for each kind of training."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import Device
from rtseg.paths import check_step
from rtseg.terminal import say


def add_replay(app: typer.Typer, module: str) -> None:
    """Adds the command.

    Args:
        module: what was trained, as "package.module:Class"; imported when the command runs.
    """

    @app.command()
    def replay(
        run: Annotated[Path, typer.Argument(help="folder of a training, or its nonfinite.ckpt")],
        device: Device = None,
    ) -> None:
        """Find where a training step stopped being finite.

        It runs the step again whose loss, gradient or update was not finite.
        """
        check_step(run)
        from rtseg.training.replay import replay as run_again

        name, _, trained = module.partition(":")
        say(run_again(run, getattr(importlib.import_module(name), trained), device=device))
