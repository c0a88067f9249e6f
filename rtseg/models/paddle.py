"""PaddleSeg's published RTFormer weights (.pdparams), read without Paddle and without trusting the file.

A .pdparams file is a pickle of {parameter name: numpy array}, and a pickle can run any program. Here the few names that
a pickled array consists of stand for classes of this file, and every other name is refused. Numpy's own classes stay
out too: a forged dtype makes numpy follow pointers that the file chose.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import choose_attention, create_backbone
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter, create_model, describe
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

# Paddle's name -> ours; all that match apply, in this order.
_RENAMES = [
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
    (r"^conv1\.", "backbone.stem."),
    (r"^layer([123])\.", r"backbone.stage\1."),
    (r"^compression3\.", "backbone.stage3_to_high."),
    (r"^layer3_\.0\.", "backbone.stage3_high."),
    (r"\.downsample\.", ".shortcut."),
    (r"^layer([45])\.compression\.", r"layer\1.low_to_high."),
    (r"^layer([45])\.", r"backbone.block\1."),
    (r"\.attn_shortcut_l\.", ".low_shortcut."),
    (r"\.attn_l\.norm\.", ".low_norm."),
    (r"\.attn_l\.k$", ".low_attention.keys.weight"),
    (r"\.attn_l\.v$", ".low_attention.values.weight"),
    (r"\.attn_h\.norm\.", ".high_norm."),
    (r"\.cross_kv\.0\.", ".high_attention.norm."),
    (r"\.cross_kv\.2\.", ".high_attention.keys_values."),
    (r"\.mlp_l\.", ".low_mlp."),
    (r"\.mlp_h\.", ".high_mlp."),
    (r"\.down\.([02])\.", r".high_to_low.0.\1."),
    (r"\.down\.3\.", ".high_to_low.1.0."),
    (r"\.down\.5\.", ".high_to_low.1.2."),
    (r"^spp\.scale0\.", "head.context.scales.0."),
    (r"^spp\.scale([1-4])\.1\.", r"head.context.scales.\1.0."),
    (r"^spp\.scale([1-4])\.3\.", r"head.context.scales.\1.2."),
    *((rf"^spp\.process{n}\.", f"head.context.processes.{n - 1}.") for n in (1, 2, 3, 4)),
    (r"^spp\.", "head.context."),
    (r"^(seghead|seghead_extra)\.bn([12])\.", r"\1.\2.0."),
    (r"^(seghead|seghead_extra)\.conv([12])\.", r"\1.\2.2."),
    (r"^(seghead|seghead_extra)\.1\.", r"\1.hidden."),
    (r"^(seghead|seghead_extra)\.2\.", r"\1.classify."),
    (r"^seghead\.", "head.classifier."),
    (r"^seghead_extra\.", "aux_head."),
]


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

    A file without the auxiliary head leaves that one fresh: inference does not use it.

    Args:
        path: a `model.pdparams` of RTFormer.
        model, dataset: whose official variant it is, one of `OFFICIAL_VARIANTS`.
        class_names, palette, ids: of the data set's classes, for the card.

    Raises:
        UserError: unknown model or data set; an unreadable or suspicious file; weights of another network or number of
            classes, or of a trunk alone.
    """
    _check_model(model)
    if dataset not in _NUM_CLASSES:
        raise UserError(f"there are no published weights for data set '{dataset}'.{suggest(dataset, _NUM_CLASSES)}")
    params = read_pdparams(path)
    _check_count(params, path, "conv1.0.weight", model, _BASE_CHANNELS, "base channels", "--model")
    if _is_trunk(params):
        raise UserError(f"'{path}' holds a trunk alone, no segmentation network: convert_trunk reads it")
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
        source=f"PaddleSeg, {Path(path).name}",
    )  # fmt: skip
    return segmenter.eval()


def holds_trunk(path: str | Path) -> bool:
    """Whether a file is one of ImageNet pre-training, a trunk without segmentation head, for `convert_trunk`.

    Raises:
        UserError: see `read_pdparams`.
    """
    return _is_trunk(read_pdparams(path))


def convert_trunk(path: str | Path, model: str) -> tuple[ModelCard, dict[str, Tensor]]:
    """PaddleSeg's pre-trained trunk as a backbone's card and weights, for `save_backbone`.

    One trunk serves all variants: whether it injects in its last block is read from its names. Entries that are no part
    of it, as a classifier's, are left out with a warning.

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
    if wrong := misfits(own, trunk):
        raise UserError(f"the trunk in '{path}' does not fit {model}: {wrong}. Give PaddleSeg's published file")
    foreign = [name for name in params if not to_state_dict({name: params[name]}).keys() <= own.keys()]
    if foreign:
        warnings.warn(
            f"{len(foreign)} entries of '{path}' are no part of the trunk and are left out: {', '.join(foreign)}",
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
        raise UserError(f"'{path}' holds no RTFormer: it has no '{key}', but {', '.join(list(params)[:3])} …")
    count = next(iter(params[key].shape), 0)
    if count != known[asked]:
        right = [name for name, number in known.items() if number == count]
        others = " or ".join(map(str, known.values()))
        repair = f"use {flag} {right[0]}" if right else f"published networks have {others}"
        raise UserError(f"'{path}' holds a network of {count} {what}, {asked} has {known[asked]}: {repair}")


def to_state_dict(params: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Paddle's names and arrays -> the state dict of a Segmenter; the layout of every weight is the same.

    Names that are none of RTFormer's stay as they are.
    """
    state = {}
    for name, array in params.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = torch.from_numpy(array)
    counters = [name.replace("running_mean", "num_batches_tracked") for name in state if name.endswith(".running_mean")]
    return state | {name: torch.tensor(0) for name in counters}


def read_pdparams(path: str | Path) -> dict[str, np.ndarray]:
    """The parameters in a .pdparams file by Paddle's names, as float32 arrays.

    Raises:
        UserError: no such file, no or a damaged pickle, a name in it that is no part of an array (nothing is executed),
            or a value that is no array of floats.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise UserError(f"'{path}' is {what}: give the path of a model.pdparams")
    if zipfile.is_zipfile(path):
        raise UserError(f"'{path}' is a zip archive: unpack it and give the .pdparams in it")
    try:
        with path.open("rb") as file:
            values = _ArrayUnpickler(file).load()
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    except Exception as error:  # a damaged pickle raises anything, as its bytes decide
        raise UserError(f"'{path}' is damaged or no .pdparams file: {error or type(error).__name__}") from None
    if not isinstance(values, dict):
        raise UserError(f"'{path}' holds a {type(values).__name__}, not parameters by name")
    values.pop("StructuredToParameterName@@", None)  # Paddle's internal names
    split = values.pop("UnpackBigParamInfor@@", {})
    if not values:
        raise UserError(f"'{path}' holds no parameters")
    arrays = {}
    for name, value in values.items():
        array = value.array if isinstance(value, _Array) else None
        if not isinstance(name, str) or array is None or array.dtype.kind != "f":
            what = type(value).__name__ if array is None else f"array of {array.dtype}"
            raise UserError(f"'{path}': {name!r} is no array of floats but a {what}; weights are in a model.pdparams")
        arrays[name] = array.astype(np.float32)
    try:
        for name, info in split.items():  # pickle protocols 2 and 3 cut arrays of more than 4 GB into slices
            whole = np.concatenate([arrays.pop(part) for part in info["slices"]])
            arrays[str(name)] = whole.reshape(info["OriginShape"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' is damaged: its list of split arrays does not fit ({error!r})") from None
    return arrays


class _Array:
    """What pickle gets for a numpy array: made empty, then filled from the state that numpy writes."""

    def __init__(self, *_: object) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, column_major, data = state
        self.array = np.frombuffer(data, dtype.numpy()).reshape(shape, order="F" if column_major else "C")


class _Dtype:
    """What pickle gets for a numpy dtype: plain numbers only, no objects and no records."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.byte_order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.byte_order = state[1]

    def numpy(self) -> np.dtype:
        if not re.fullmatch("[fiu][1248]|b1", self.code) or self.byte_order not in ("<", ">", "=", "|"):
            raise UserError(f"it holds an array of dtype {self.code!r}, which is refused; weights are arrays of floats")
        return np.dtype(self.byte_order + self.code)


def _encode(text: str, encoding: str) -> bytes:
    """How pickle protocol 2 writes bytes."""
    if encoding != "latin1":
        raise UserError(f"it holds bytes encoded as {encoding!r}, which is refused")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    _ADMITTED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): None,  # an argument of _reconstruct, never called
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): dict,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ADMITTED:
            raise UserError(f"it asks for '{module}.{name}', which is no part of an array: refused, and not run")
        return self._ADMITTED[module, name]
