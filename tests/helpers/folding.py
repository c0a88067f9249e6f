"""BatchNorms that could fold and did not, found in what a deployed network computes, without asking its blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from rtseg.attention.base import Attention
from rtseg.deploy.fuse import DeployedSegmenter
from rtseg.models.network import Network

CONVOLUTION = torch.ops.aten.convolution.default
# These leave values as they are, so that what stands before and behind them are neighbours.
NOTHING = (torch.ops.aten.clone.default, torch.ops.aten.detach.default, torch.ops.aten.alias.default)


def unfolded(deployed: DeployedSegmenter, image: Tensor) -> list[str]:
    """Names of the BatchNorms that stand

    - directly behind a convolution,
    - directly before an unpadded 1x1 convolution without groups, or
    - directly before an attention that can take its scale,

    where nothing else reads what is between.

    Args:
        image: (B, 3, H, W) normalised.
    """
    return sorted(_beside_convolutions(deployed.segmenter, image) | _before_attentions(deployed.segmenter, image))


class _Logits(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.logits(image)


def _beside_convolutions(network: Network, image: Tensor) -> set[str]:
    """Of the graph of what runs: each weight is an input of it, with its name."""
    module = _Logits(network)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def computed(state: Mapping[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(module, dict(state), (image,))

    with torch.no_grad():
        graph = make_fx(computed)(state, image).graph
    names = dict(zip((node for node in graph.nodes if node.op == "placeholder"), state, strict=False))
    return {
        names[norm.args[1]].removeprefix("network.").rpartition(".")[0] for norm in graph.nodes if _is_foldable(norm)
    }


def _is_foldable(norm: Any) -> bool:
    if norm.op != "call_function" or "native_batch_norm" not in str(norm.target) or _is_shared(norm):
        return False
    before = norm.args[0]
    while before.target in NOTHING and len(before.users) == 1:
        before = before.args[0]
    if before.target == CONVOLUTION and len(before.users) == 1 and not _is_shared(before):
        return True
    behind = list(_readers(norm))
    return len(behind) == 1 and _sees_one_position(behind[0]) and not _is_shared(behind[0])


def _readers(node: fx.Node) -> Iterator[fx.Node]:
    """What reads a node's values."""
    for user in node.users:
        if "getitem" in str(user.target) or user.target in NOTHING:
            yield from _readers(user)
        else:
            yield user


def _sees_one_position(node: Any) -> bool:
    if node.target != CONVOLUTION:
        return False
    _, weight, _, _, padding, _, transposed, _, groups = node.args
    return tuple(weight.meta["val"].shape[2:]) == (1, 1) and not any(padding) and not transposed and groups == 1


def _is_shared(node: Any) -> bool:
    """Whether the weight of a convolution or a norm is read elsewhere too: nothing may be multiplied into it."""
    return len(node.args[1].users) > 1


def _before_attentions(network: Network, image: Tensor) -> set[str]:
    """Of what the modules hand each other."""
    from_norm: list[tuple[Tensor, str]] = []
    found = set()

    def behind(attention: Attention, inputs: tuple[Tensor, ...]) -> None:
        names = [name for output, name in from_norm if output is inputs[0]]
        if names and attention.absorb_scale(torch.ones(attention.in_channels, dtype=torch.float64)):
            found.update(names)

    def remember(name: str) -> Any:
        return lambda norm, inputs, output: from_norm.append((output, name))

    handles = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_hook(remember(name)))
        elif isinstance(module, Attention):
            handles.append(module.register_forward_pre_hook(behind))
    with torch.no_grad():
        network.logits(image)
    for handle in handles:
        handle.remove()
    return found
