"""`rtseg convert` and `rtseg push`: weights from elsewhere, and to elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.errors import UserError
from rtseg.hub import check_login
from rtseg.output.folders import check_empty, check_results
from rtseg.paths import check_file, check_network, check_repository
from rtseg.terminal import say

app = typer.Typer()


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(help="PaddleSeg's model.pdparams, or the .tar of PSMNet's authors")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for model.safetensors and config.json")],
    model: Annotated[str, typer.Option(help="rtformer_slim, rtformer_base or psmnet")] = "rtformer_slim",
    dataset: Annotated[
        str, typer.Option(help="data set of the weights: ade20k or cityscapes; unused for a trunk")
    ] = "ade20k",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="write into a folder that is not empty")] = False,
    align_corners: Annotated[
        bool, typer.Option("--align-corners", help="psmnet: weights of before PyTorch 0.4.1, which upsampled otherwise")
    ] = False,
) -> None:
    """Convert PaddleSeg's RTFormer weights, without Paddle, or those of PSMNet's authors.

    Weights of a segmentation network become a folder that rtseg loads. A trunk pre-trained on ImageNet becomes a
    backbone for `rtseg fit --model.weights`. Those of PSMNet become a folder for `rtseg stereo`.
    """
    stereo = model == "psmnet"
    check_file(weights, f"Give the path of a {'.tar of PSMNet' if stereo else 'model.pdparams'}.")
    check_results(output, overwrite)
    if align_corners and not stereo:
        raise UserError("--align-corners is of psmnet: leave it out, or give --model psmnet")
    if stereo:
        from rtseg.output.lock import locked_target
        from rtseg.tasks.stereo.weights import convert as convert_stereo

        with locked_target(output):
            if not overwrite:
                check_empty(output, "give another folder, or --overwrite to replace the network in it")
            say(convert_stereo(weights, output, align_corners=align_corners))
        return
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
