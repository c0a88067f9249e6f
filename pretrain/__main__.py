"""The `python -m pretrain` command. `fit` and `validate` go to LightningCLI, everything else is here.

Each imports what it needs when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.cli import lightning_command, run_app

app = typer.Typer(
    name="python -m pretrain",
    help="Pre-train backbones on ImageNet and hand them over to rtseg.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
lightning_command(
    app,
    "fit",
    "Train a classifier: --config pretrain/configs/<name>.yaml, every key as a flag; --ckpt_path goes on.",
    "pretrain.cli",
)
lightning_command(
    app, "validate", "Top-1 and top-5 of a checkpoint: --config ... --ckpt_path runs/.../best.ckpt", "pretrain.cli"
)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="best.ckpt or last.ckpt of `fit`")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for model.safetensors and config.json")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Write the backbone as a folder that `rtseg fit --model.weights=FOLDER` starts from."""
    from pretrain.export import export as write

    print("\n".join(write(checkpoint, output, overwrite=overwrite)))


@app.command("transfer-check", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def transfer_check(
    context: typer.Context,
    backbone: Annotated[Path, typer.Argument(help="folder that `export` wrote")],
    data: Annotated[Path, typer.Option(help="folder of the segmentation data set")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="folder; called again, the command goes on there")
    ] = Path("runs/transfer"),
    config: Annotated[Path, typer.Option(help="recipe of the trainings")] = Path(
        "configs/rtformer_slim_camvid_half.yaml"
    ),
    epochs: Annotated[int, typer.Option(help="of each training")] = 16,
    seeds: Annotated[int, typer.Option(help="trainings from scratch, and as many from the backbone")] = 3,
    jobs: Annotated[int, typer.Option(help="trainings at a time; on a CPU they share its cores")] = 1,
) -> None:
    """Fine-tune from a backbone and from scratch with equal data, budget and seeds: does pre-training help?

    Flags of `rtseg fit` are handed on to the trainings: --trainer.precision=bf16-mixed
    """
    from pretrain.transfer_check import transfer_check as check

    check(backbone, output, config=config, data=data, epochs=epochs, seeds=seeds, jobs=jobs, flags=context.args)


def main(args: list[str] | None = None) -> None:
    """The `python -m pretrain` command."""
    run_app(app, args)


if __name__ == "__main__":
    main()
