"""Starting a training from weights of another one.

Everything must fit but the classifiers, which start fresh for other classes.
"""

from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter, differences

_CLASSIFIERS = ("head.classifier.classify.2.", "aux_head.classify.2.")


def load_pretrained(segmenter: Segmenter, source: str) -> list[str]:
    """Loads weights in place.

    Args:
        source: a `.ckpt`, a folder with safetensors or a Hugging Face id.

    Returns:
        Lines that say what was loaded and what starts fresh.

    Raises:
        UserError: no weights there, or they do not fit, e.g. were trained with another attention.
    """
    other = Segmenter.from_pretrained(source)
    unlike = differences(other.card, segmenter.card)
    if "model" in unlike:
        theirs, ours = unlike["model"]
        raise UserError(
            f"model.weights={source} is of '{theirs}', this model is '{ours}': set model.name={theirs}, or leave "
            "model.weights out"
        )
    if "attention" in unlike:
        theirs, ours = unlike["attention"]
        raise UserError(
            f"model.weights={source} was trained with attention '{theirs}', this model has '{ours}': "
            f"set model.attention={theirs}, or leave model.weights out"
        )
    own, state = segmenter.state_dict(), other.state_dict()
    fresh = [key for key in own if key.startswith(_CLASSIFIERS) and state[key].shape != own[key].shape]
    segmenter.load_weights({**state, **{key: own[key] for key in fresh}}, source=source)
    lines = [f"Weights from {source}: {len(own) - len(fresh)} of {len(own)} entries."]
    if "options" in unlike:  # those that change no shape, e.g. cross_size; another shape was refused above
        theirs, ours = unlike["options"]
        lines.append(f"They were trained with options {theirs}; this model has {ours}.")
    if fresh:
        lines.append(
            f"Fresh for {segmenter.card.num_classes} classes instead of {other.card.num_classes}: {', '.join(fresh)}."
        )
    return lines
