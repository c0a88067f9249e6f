"""Networks of timm as backbones: `timm:resnet18`, `timm:convnext_tiny`, any that gives feature maps.

timm (https://github.com/huggingface/pytorch-image-models) is imported where one is built, because that takes seconds.
Its `features_only` network runs stage by stage in a loop of ours, so that what is inserted behind a stage acts on all
later ones. No entry of its state dict gets another name by that.
"""

import copy
import functools
import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from rtseg.attention.base import Attention, reduced_size
from rtseg.attention.insertion import Inserted
from rtseg.errors import UserError, first_line
from rtseg.hub import fetch
from rtseg.layers.conv import spatial_size
from rtseg.models.backbone import Backbone, FeatureInfo, register_family
from rtseg.models.fpn import not_finer
from rtseg.models.state_file import is_state_file, read_state_file
from rtseg.registry import UnknownNameError

PREFIX = "timm:"
_FILE = "model.safetensors"  # of weights, in a repository of timm's
_COUNTER = "num_batches_tracked"  # of a BatchNorm
# How timm is asked for feature maps, one way after the other: the stages of some networks are found only where
# sequences are opened, and some transformers take images of other sizes only where they are told to.
_WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"feature_cls": "list", "feature_cfg": {"flatten_sequential": True}},
    {"feature_cls": "getter"},
    {"strict_img_size": False},
    {"dynamic_img_size": True},
)


class _Plan(NamedTuple):
    """How a network of timm is built and read.

    Attributes:
        way: arguments for timm.
        stages: child of the body -> name of the map that it gives; empty where the body gives all maps at once.
        maps: all maps by name, fine to coarse, as the body gives them.
        features: those that heads get: of each stride the last.
        multiple: images are padded to a multiple of this; 1: the network rounds sizes up by itself.
        channels_last: its maps are (B, H, W, C).
    """

    way: Mapping[str, Any]
    stages: Mapping[str, str]
    maps: Mapping[str, FeatureInfo]
    features: Mapping[str, FeatureInfo]
    multiple: int
    channels_last: bool


def has_network(name: str) -> bool:
    """Whether timm has a network, and weights, of this name."""
    try:
        check_name(name)
    except UnknownNameError:
        return False
    return True


@register_family("timm", "timm:NAME, any network of timm that gives feature maps, as timm:resnet18", has_network)
class TimmBackbone(Backbone):
    """A network of timm with all its feature maps; they are called as timm calls its stages, with _ in place of dots.

    Attention can be inserted behind each stage, which changes all later ones. Where timm gives all maps at once, as for
    vision transformers, it stands behind a map that the head reads, and the head alone sees it.

    Args:
        name: of timm's network, with or without a tag of weights: "resnet50", "resnet50.a1_in1k".

    Raises:
        UserError: timm has no such network, or it gives no maps of images of every size.
    """

    head = "semantic_fpn"
    body: nn.Module

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.plan = _plan(name)
        self.features = self.plan.features
        self.places = self.plan.maps if self.plan.stages else not_finer(self.features)
        self.body = _create(name, self.plan.way)
        published = cast(Mapping[str, Any], self.body.pretrained_cfg)
        self.mean, self.std = tuple(published["mean"]), tuple(published["std"])

    def take_channels(self, channels: int) -> None:
        self.body = _create(self.name, {**self.plan.way, "in_chans": channels})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        height, width = spatial_size(image)
        multiple = self.plan.multiple
        if multiple > 1:
            # Without division of negative numbers, which ONNX rounds otherwise: these may be open in a graph.
            columns, rows = ((side + multiple - 1) // multiple * multiple - side for side in (width, height))
            image = F.pad(image, (0, columns, 0, rows))
        maps = self.every_map(image)
        found = {}
        for name, (_, stride) in self.features.items():
            rows, columns = ((side + stride - 1) // stride for side in (height, width))
            found[name] = maps[name][:, :, :rows, :columns] if multiple > 1 else maps[name]
        return found

    def every_map(self, image: Tensor) -> dict[str, Tensor]:
        """The maps of all places, of an image that needs no padding."""
        return self._staged(image) if self.plan.stages else self._at_once(image)

    def _staged(self, x: Any) -> dict[str, Tensor]:
        maps = {}
        for child, stage in cast(nn.ModuleDict, self.body).items():
            x = stage(x)
            if child in self.plan.stages:
                name = self.plan.stages[child]
                several = isinstance(x, (tuple, list))  # some networks hand on more than the map
                maps[name] = self._changed(name, x[0] if several else x)
                x = (maps[name], *x[1:]) if several else maps[name]
                maps[name] = self._first_channels(maps[name])
        return maps

    def _at_once(self, image: Tensor) -> dict[str, Tensor]:
        maps = dict(zip(self.plan.maps, self.body(image), strict=True))
        return {name: self._first_channels(self._changed(name, x)) for name, x in maps.items()}

    def _changed(self, name: str, x: Tensor) -> Tensor:
        """What stands at a place takes channels first."""
        if name not in self.inserted:
            return x
        changed = self.at(name, self._first_channels(x))
        return changed.permute(0, 2, 3, 1) if self.plan.channels_last else changed

    def _first_channels(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if self.plan.channels_last else x

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`. timm's blocks cannot answer, so the forward pass is traced; where that fails, there
        are none.
        """
        try:
            graph = _Tracer().trace(self)
        except Exception:  # whatever tracing meets in code that others wrote
            return
        calls = [node for node in graph.nodes if node.op == "call_module"]
        times = Counter(node.target for node in calls)
        for node in calls:
            reader = next(iter(node.users), node)
            if len(node.users) == 1 and reader.op == "call_module" and times[node.target] == times[reader.target] == 1:
                yield self.get_submodule(node.target), self.get_submodule(reader.target)

    def separate(self) -> None:
        """See `rtseg.layers.rows`: timm has a BatchNorm with its activation in one module."""
        from timm.layers import BatchNormAct2d

        for name, module in list(self.body.named_modules()):
            if type(module) is BatchNormAct2d and module.track_running_stats:
                norm = nn.BatchNorm2d(module.num_features, module.eps, module.momentum, affine=module.affine)
                norm.weight, norm.bias = module.weight, module.bias
                norm.running_mean, norm.running_var = module.running_mean, module.running_var
                norm.num_batches_tracked = module.num_batches_tracked
                behind = nn.Sequential(norm, module.drop, module.act)
                self.body.set_submodule(name, behind.train(module.training))

    def read_published(self, source: str) -> dict[str, Tensor] | None:
        if source.startswith(PREFIX):
            state = read_state_file(_published(source.removeprefix(PREFIX)))
        elif is_state_file(source):
            state = read_state_file(Path(source))
        else:
            return None
        own = self.state_dict()
        found = {self._own_name(key): value for key, value in state.items()}
        # Where timm gives all maps at once, names do not tell a block from the classifier.
        blocks = [key for key in found.keys() - own.keys() if key.startswith("body.") and self.plan.stages]
        if more := sorted(key for key in blocks if not key.endswith(_COUNTER)):
            raise UserError(
                f"the weights in {source} are not those of '{PREFIX}{self.name}': they have {len(more)} entries too "
                f"many in its stages, such as {more[0].removeprefix('body.')}. Give the weights of this network, or "
                "the network that they are of"
            )
        # Counters of BatchNorm are missing in old files, and change nothing.
        counters = {key: value for key, value in own.items() if key.endswith(_COUNTER)}
        return {key: found.get(key, value) for key, value in counters.items()} | found

    def _own_name(self, key: str) -> str:
        """timm's name of an entry -> ours; entries that this backbone does not have keep their name."""
        if not self.plan.stages:
            inner = f"body.model.{key}"
            return inner if isinstance(getattr(self.body, "model", None), nn.Module) else f"body.{key}"
        first, _, rest = key.partition(".")
        second, _, behind = rest.partition(".")
        if first in self.body:  # type: ignore[operator]
            return f"body.{key}"
        opened = f"{first}_{second}"  # an opened sequence
        return f"body.{opened}.{behind}" if opened in self.body else key  # type: ignore[operator]


class _Tracer(fx.Tracer):
    """Follows what a backbone computes down to PyTorch's layers and attentions."""

    traced_func_name = TimmBackbone.every_map.__name__

    def __init__(self) -> None:
        from timm.layers._fx import get_notrace_functions

        super().__init__(autowrap_functions=tuple(get_notrace_functions()))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        from timm.layers._fx import is_notrace_module

        return (
            isinstance(m, Attention | Inserted)
            or is_notrace_module(type(m))
            or super().is_leaf_module(m, module_qualified_name)
        )


def check_name(name: str) -> None:
    """Raises: UnknownNameError where timm has no network, or no weights, of this name."""
    timm = importlib.import_module("timm")
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = get_close_matches(base.lower(), timm.list_models(), n=5, cutoff=0.5)
        hint = f". Did you mean {', '.join(f'{PREFIX}{other}' for other in near)}?" if near else "."
        raise UnknownNameError(
            f"unknown model '{PREFIX}{name}': timm {timm.__version__} has no '{base}'",
            f"{hint} `timm.list_models()` in Python names all.",
        )
    known = timm.list_pretrained(f"{base}.*")
    if tag and name not in known:
        raise UnknownNameError(
            f"unknown model '{PREFIX}{name}': timm has no weights '{tag}' of {base}",
            f". Known: {', '.join(PREFIX + other for other in sorted(known)) or 'none'}.",
        )


@functools.cache
def _plan(name: str) -> _Plan:
    """The first way in which timm gives maps of images of any size; tried on the meta device, which has no values."""
    check_name(name)
    failure, at_once = "its maps are not as large as its strides say", None
    for way in _WAYS:
        try:
            with torch.device("meta"):
                body = _create(name, way).eval()
                if _has_hooks(body):
                    failure = "timm reads its maps by hooks, which no export keeps"
                    continue
                found = _planned(body, way)
        except Exception as error:  # whatever a network of others raises of what it does not take
            failure = first_line(error) if way == _WAYS[0] else failure
            continue
        if found is not None and found.stages:
            return found
        at_once = at_once or found
        if at_once and way is _WAYS[1]:
            return at_once
    if at_once:
        return at_once
    raise UserError(
        f"model '{PREFIX}{name}' gives no feature maps of images of any size ({failure}): take another, as "
        "timm:resnet18"
    )


def _create(name: str, way: Mapping[str, Any]) -> nn.Module:
    timm = importlib.import_module("timm")
    # A copy, because timm writes its own defaults into the arguments.
    return cast(nn.Module, timm.create_model(name, pretrained=False, features_only=True, **copy.deepcopy(dict(way))))


def _has_hooks(body: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in body.modules())


def _planned(body: Any, way: Mapping[str, Any]) -> _Plan | None:
    """How a body on the meta device is read; None where its maps are not as large as it says."""
    stages = {child: child for child in getattr(body, "return_layers", {})}
    info = body.feature_info
    names = list(stages) or [module.replace(".", "_") for module in info.module_name()]
    if len(set(names)) < len(names):
        names = [f"{name}_{stride}" for name, stride in zip(names, info.reduction(), strict=True)]
    maps = {
        name: FeatureInfo(channels, stride)
        for name, channels, stride in zip(names, info.channels(), info.reduction(), strict=True)
    }
    features = {info.stride: name for name, info in maps.items()}
    last = str(getattr(body, "output_fmt", "")).endswith("NHWC")
    stride = max(features)

    def fits(height: int, width: int) -> bool:
        with torch.no_grad():
            found = body(torch.zeros(1, 3, height, width, device="meta"))
        shapes = [tuple(x.permute(0, 3, 1, 2).shape if last else x.shape) for x in found]
        return shapes == [(1, channels, *reduced_size(height, width, step)) for channels, step in maps.values()]

    multiple = next((m for m, sizes in _probes(stride).items() if _all_fit(fits, sizes)), 0)
    if not multiple:
        return None
    return _Plan(way, stages, maps, {name: maps[name] for name in features.values()}, multiple, last)


def _probes(stride: int) -> dict[int, list[tuple[int, int]]]:
    """Multiple that images are padded to -> sizes that show whether it will do."""
    return {1: [(stride + 1, 2 * stride + 3), (1, 1)], stride: [(2 * stride, 3 * stride), (stride, stride)]}


def _all_fit(fits: Callable[[int, int], bool], sizes: Sequence[tuple[int, int]]) -> bool:
    try:
        return all(fits(*size) for size in sizes)
    except Exception:  # a size that the network does not take
        return False


def _published(name: str) -> Path:
    """The file of weights that timm publishes under a name. Raises: UserError where there is none, or no answer."""
    check_name(name)
    models = importlib.import_module("timm.models")
    config = models.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise UserError(
            f"timm publishes no weights of '{name}' on the Hugging Face hub: give a file of them, as in "
            "model.weights=FILE.safetensors"
        )
    try:
        return fetch(str(config.hf_hub_id), _FILE) / _FILE
    except UserError as error:
        raise UserError(
            f"{PREFIX}{name}: {error}. Where you have its weights as a file, give that: model.weights=FILE.safetensors"
        ) from None
