"""Exports the backbone of a checkpoint as a folder that `rtseg fit --model.weights` takes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtseg.errors import UserError
from rtseg.models.backbone import list_models
from rtseg.models.backbone_folder import described_backbone, fit_command, save_backbone
from rtseg.models.model_card import ModelCard
from rtseg.models.weights import check_part, checkpoint_weights, read_checkpoint
from rtseg.output.folders import check_empty
from rtseg.output.lock import locked_target
from rtseg.plugins import how_to_load


def export(checkpoint: Path, output: Path, *, overwrite: bool = False) -> list[str]:
    """Writes the backbone of a classifier, by the names that its entries have in a segmentation network; of a training
    with a moving average, that average.

    Args:
        checkpoint: a `.ckpt` of `python -m pretrain fit`.
        output: the folder.
        overwrite: replace the network in a folder that is not empty.

    Returns:
        Lines that say what was written and what to do with it.

    Raises:
        UserError: no such checkpoint, a damaged one or one of segmentation; a network that only classifies; the folder
            is not empty or cannot be written to.
    """
    with locked_target(output):
        if not overwrite:
            check_empty(output, "give another folder, or --overwrite to replace the network in it")
        if not checkpoint.is_file():
            what = "a folder" if checkpoint.is_dir() else "not there"
            raise UserError(f"'{checkpoint}' is {what}: give a .ckpt file that python -m pretrain fit has written")
        content = read_checkpoint(checkpoint)
        card, state = checkpoint_weights(content, checkpoint)
        check_part(card, checkpoint, ("classifier",))
        if card.model not in list_models():
            raise UserError(
                f"'{checkpoint}' is of '{card.model}', and there is no segmentation network of that name here to hand "
                f"its backbone to; there are {', '.join(list_models())}"
                + (f". It was trained with a plug-in: {how_to_load(card.plugins)}" if card.plugins else "")
            )
        backbone = {key: value for key, value in state.items() if key.startswith("backbone.")}
        described_backbone(card, backbone, checkpoint)
        card = replace(card, part="backbone", source=_source(card, content))
        save_backbone(output, card, backbone)
        return [
            f"{output}: backbone of {card.model}, attention {card.attention}, {len(backbone)} entries: {card.source}.",
            f"Try: {fit_command(card, output)}",
        ]


def _source(card: ModelCard, content: Mapping[str, Any]) -> str:
    """Where weights come from, for the card: epochs as Lightning counts them, from 0."""
    facts = [
        f"pre-training on {card.num_classes} classes",
        f"epoch {content['epoch']}",
        f"step {content['global_step']}",
    ]
    if content.get("ema_state_dict"):
        facts.append("moving average")
    if (top1 := content.get("scores", {}).get("val/top1")) is not None:
        facts.append(f"top-1 {top1:.4f}")
    return ", ".join(facts)
