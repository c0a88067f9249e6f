"""PaddleSeg's published RTFormer weights (.pdparams) as segmenters and as pre-trained backbones."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import choose_attention, create_backbone
from rtseg.models.model_card import ModelCard
from rtseg.models.paddle_names import to_state_dict
from rtseg.models.pdparams import read_pdparams
from rtseg.models.segmenter import Segmenter, create_model, describe
from rtseg.models.state_check import check_state
from rtseg.models.weights import misfits
from rtseg.registry import suggest

OFFICIAL_VARIANTS: dict[tuple[str, str], dict[str, Any]] = {
    ("rtformer_slim", "ade20k"): {"cross_size": 8, "injection": (True, False), "drop_path": 0.1},
    ("rtformer_base", "ade20k"): {"cross_size": 12, "injection": (True, False), "drop_path": 0.1},
    ("rtformer_slim", "cityscapes"): {"cross_size": 12, "injection": (True, True), "drop_path": 0.2},
    ("rtformer_base", "cityscapes"): {"cross_size": 12, "injection": (True, False), "drop_path": 0.2},
}
"""Options of the networks that PaddleSeg publishes, by (model, dataset)."""
_BASE_CHANNELS = {"rtformer_slim": 32, "rtformer_base": 64}
_NUM_CLASSES = {"ade20k": 150, "cityscapes": 19}
_EVAL_RESIZE = {"ade20k": (512, 2048), "cityscapes": None}
_CROP_SIZES = {"ade20k": (512, 512), "cityscapes": (512, 1024)}
_IMAGENET_CLASSES = 1000


def convert(
    path: str | Path,
    model: str,
    dataset: str,
    *,
    class_names: Sequence[str] = (),
    palette: Sequence[tuple[int, int, int]] = (),
    ids: Sequence[int] = (),
) -> Segmenter:
    """PaddleSeg's weights as a segmenter in evaluation mode, described by its card and ready for `save_pretrained`.

    Where the file lacks the auxiliary head, that head is initialised: inference does not use it.

    Args:
        path: a `model.pdparams` of RTFormer.
        model, dataset: whose official variant it is, one of `OFFICIAL_VARIANTS`.
        class_names, palette, ids: names, colours and label values of the classes, for the card.

    Raises:
        UserError: unknown model or data set; an unreadable or suspicious file; weights of another network or number of
            classes, or of a backbone alone.
    """
    _check_model(model)
    if dataset not in _NUM_CLASSES:
        raise UserError(f"there are no published weights for data set '{dataset}'.{suggest(dataset, _NUM_CLASSES)}")
    params = read_pdparams(path)
    _check_count(params, path, "conv1.0.weight", model, _BASE_CHANNELS, "base channels", "--model")
    if _is_trunk(params):
        raise UserError(f"'{path}' contains a trunk, not a segmentation network: convert_trunk reads it")
    if "seghead.conv2.weight" in params:
        _check_count(params, path, "seghead.conv2.weight", dataset, _NUM_CLASSES, "classes", "--dataset")
    segmenter = create_model(model, _NUM_CLASSES[dataset], **OFFICIAL_VARIANTS[model, dataset])
    state = to_state_dict(params)
    if not any(name.startswith("seghead_extra.") for name in params):
        state = {key: value for key, value in segmenter.state_dict().items() if key.startswith("aux_head.")} | state
    segmenter.load_weights(state, source=f"'{path}'")
    describe(
        segmenter,
        class_names=tuple(class_names), palette=tuple(palette), ids=tuple(ids),
        input_size=_CROP_SIZES[dataset], eval_resize=_EVAL_RESIZE[dataset], dataset=dataset,
        upsampling="twice",  # as PaddleSeg's published scores
        source=f"PaddleSeg, {Path(path).name}",
    )  # fmt: skip
    return segmenter.eval()


def holds_trunk(path: str | Path) -> bool:
    """Whether a file holds a pre-trained backbone without segmentation head, for `convert_trunk`.

    Raises:
        UserError: see `read_pdparams`.
    """
    return _is_trunk(read_pdparams(path))


def convert_trunk(path: str | Path, model: str) -> tuple[ModelCard, dict[str, Tensor]]:
    """PaddleSeg's pre-trained backbone as a card and weights, for `save_backbone`.

    One backbone fits all variants: its names say whether its last block injects. Entries that do not belong to it, such
    as a classifier's, are left out with a warning.

    Args:
        path: the `model.pdparams` of an `rtformer_*_backbone_imagenet_pretrained`.
        model: rtformer_slim or rtformer_base.

    Raises:
        UserError: unknown model; an unreadable or suspicious file; a trunk of another model, or with entries missing.
    """
    _check_model(model)
    params = read_pdparams(path)
    _check_count(params, path, "conv1.0.weight", model, _BASE_CHANNELS, "base channels", "--model")
    injects = any(name.startswith("layer5.down.") for name in params)
    card = ModelCard(
        model, choose_attention(model, None), _IMAGENET_CLASSES, {"injection": (True, injects)},
        dataset="imagenet", source=f"PaddleSeg, {Path(path).name}", part="backbone",
    )  # fmt: skip
    backbone = create_backbone(model, attention=card.attention, **card.options)
    own = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    state = to_state_dict(params)
    trunk = {key: value for key, value in state.items() if key in own}
    check_state(own, trunk, f"'{path}'")
    if wrong := misfits(own, trunk):
        raise UserError(f"the trunk in '{path}' does not fit {model}: {wrong}. Give PaddleSeg's published file")
    foreign = [name for name in params if not to_state_dict({name: params[name]}).keys() <= own.keys()]
    if foreign:
        warnings.warn(
            f"{len(foreign)} entries of '{path}' do not belong to the backbone and are left out: {', '.join(foreign)}",
            stacklevel=2,
        )
    return card, trunk


def _is_trunk(params: Mapping[str, np.ndarray]) -> bool:
    return not any(name.startswith("seghead.") for name in params)


def _check_model(model: str) -> None:
    if model not in _BASE_CHANNELS:
        raise UserError(f"there are no published weights of model '{model}'.{suggest(model, _BASE_CHANNELS)}")


def _check_count(
    params: Mapping[str, np.ndarray],
    path: str | Path,
    key: str,
    asked: str,
    known: Mapping[str, int],
    what: str,
    flag: str,
) -> None:
    """Raises: UserError where the shape that tells the official networks apart is not the one of `asked`."""
    if key not in params:
        raise UserError(
            f"'{path}' does not contain an RTFormer: it has no '{key}', but {', '.join(list(params)[:3])} …"
        )
    count = next(iter(params[key].shape), 0)
    if count != known[asked]:
        right = [name for name, number in known.items() if number == count]
        others = " or ".join(map(str, known.values()))
        repair = f"use {flag} {right[0]}" if right else f"published networks have {others}"
        raise UserError(f"'{path}' holds a network of {count} {what}, {asked} has {known[asked]}: {repair}")
