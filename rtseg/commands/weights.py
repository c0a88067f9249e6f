"""`rtseg convert` and `rtseg push`: weights from elsewhere, and to elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.hub import check_login
from rtseg.output.folders import check_empty, check_results
from rtseg.paths import check_file, check_network, check_repository
from rtseg.terminal import say

app = typer.Typer()


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(help="PaddleSeg's model.pdparams")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for model.safetensors and config.json")],
    model: Annotated[str, typer.Option(help="rtformer_slim or rtformer_base")] = "rtformer_slim",
    dataset: Annotated[
        str, typer.Option(help="data set of the weights: ade20k or cityscapes; unused for a trunk")
    ] = "ade20k",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
) -> None:
    """Convert PaddleSeg's RTFormer weights; Paddle is not needed.

    Weights of a segmentation network become a folder that rtseg loads. A trunk pre-trained on ImageNet becomes a
    backbone for `rtseg fit --model.weights`.
    """
    check_file(weights, "Give the path of a model.pdparams.")
    check_results(output, overwrite)
    from rtseg.data.dataset import label_space
    from rtseg.models.backbone_folder import fit_command, save_backbone
    from rtseg.models.paddle import convert as convert_weights
    from rtseg.models.paddle import convert_trunk, holds_trunk
    from rtseg.output.lock import locked_target

    with locked_target(output):
        if not overwrite:
            check_empty(output, "give another folder, or --overwrite to replace the network in it")
        if holds_trunk(weights):
            card, state = convert_trunk(weights, model)
            save_backbone(output, card, state)
            say(f"{output}: the pre-trained backbone of {model}. Try: {fit_command(card, output)}")
            return
        labels = label_space(dataset)
        segmenter = convert_weights(
            weights, model, dataset, class_names=labels.names, palette=labels.palette, ids=labels.ids
        )
        segmenter.save_pretrained(output)
    say(f"{output}: {model}, {dataset}, {segmenter.card.num_classes} classes. Try: rtseg predict {output} IMAGE -o DIR")


@app.command()
def push(
    checkpoint: Annotated[str, typer.Argument(help=".ckpt, or folder with model.safetensors")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Hugging Face id; made where it is new")],
    private: Annotated[bool, typer.Option("--private", help="let nobody else see it")] = False,
) -> None:
    """Send a network to the Hugging Face hub, with a README of what its card says.

    From then on its id works wherever a checkpoint does. Log in first: `hf auth login`.
    """
    check_network(checkpoint)
    check_repository(repository)
    check_login()
    from rtseg.models.push import push as send

    say(send(checkpoint, repository, private=private))
