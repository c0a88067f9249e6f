"""Weights sent to the Hugging Face hub, with a README of what their card says."""

from pathlib import Path
from tempfile import TemporaryDirectory

from rtseg.hub import upload
from rtseg.models.backbone_folder import fit_command, save_backbone
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import read_weights


def push(source: str | Path, repo: str, *, private: bool) -> str:
    """Sends a network, or a pre-trained backbone, as one commit.

    Args:
        source: see `read_weights`.
        repo: 'owner/name'. Where it is not there yet it is made.
        private: only its owner sees it.

    Returns:
        What is to be said: the address of the repository, and a command that uses it.

    Raises:
        UserError: see `read_weights` and `upload`.
    """
    card, state = read_weights(source, parts=("segmenter", "backbone"))
    with TemporaryDirectory(prefix="rtseg-push-") as aside:
        folder = Path(aside, "weights")
        if card.part == "backbone":
            save_backbone(folder, card, state, where=repo)
        else:
            segmenter = Segmenter.from_weights(card, state, source=f"'{source}'")
            segmenter.save_pretrained(folder, model_card_kwargs={"where": repo})
        address = upload(folder, repo, private=private)
    command = fit_command(card, repo) if card.part == "backbone" else f"rtseg predict {repo} IMAGE -o DIR"
    return f"{address} has it now. Try: {command}"
