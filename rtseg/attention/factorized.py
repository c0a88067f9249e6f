"""FA, factorized attention (Shen et al., "Factorized Attention: Self-Attention with Linear Complexities", later named
"Efficient Attention", https://arxiv.org/abs/1812.01243).

The attention weights are a product of two factors. So the values are gathered first and distributed afterwards, and the
N x N map is never made:

    dot     y = C (B^T V) / b
    gauss   y = softmax_channels(C) (softmax_tokens(B)^T V)

    C = x W_c  (N, b)   coefficients: how much a position takes of each basis mask
    B = x W_b  (N, b)   basis: b masks over the map
    V = x W_v  (N, m)   values
    out = y W_o         reprojection, (N, m) -> (N, d)

N tokens, c channels in, d channels out, b channels of the basis, m channels of the values, h heads. A head has b / h
and m / h channels of its own, and "dot" divides by b / h. Maps have no bias, except in the authors' published layer
(`FactorizedAttention.from_authors`). Initial values are PyTorch's.
"""

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from rtseg.attention.base import Attention, AttentionMap, Cost, Drawing
from rtseg.attention.products import rows_to_map, to_rows
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import pick
from rtseg.checks import check_between, check_divides, check_one_of
from rtseg.errors import UserError
from rtseg.layers.conv import conv1x1, spatial_size


class ProjectedAttention(Attention):
    """What `fa` and `nl` share: everything but the products between positions.

    (B, c, H, W) -> (B, d, ceil(H / stride), ceil(W / stride)). Without a stride, sequences (B, c, N) and volumes
    (B, c, D, H, W) as well, to the same positions: where they lie does not matter.

    Both have the same options, with the same meaning and defaults, and the same parameters, so the state dict of one
    loads into the other where the options are equal: `coefficients.weight` (the paper's C, in `nl` its K),
    `basis.weight` (B, in `nl` Q), `values.weight`, `project.weight` (not with values=none),
    `feedforward.0.weight` and `feedforward.2.weight` (with transformer). Stride and widening are in the first three.

    Args:
        kind: "gauss" or "dot".
        heads: must divide the channels of the basis and of the values.
        basis: b, a number, or "half" of the output's channels.
        values: m, a number, or "half" of the output's channels, or "none" for no bottleneck: m = d and no reprojection.
        normalize: what "dot" is divided by: "channels" (b / h, the paper's) or "tokens" (N, so that the output does not
            grow with the map). "gauss" needs neither.
        transformer: adds a pointwise feed-forward part, d -> transformer * d -> ReLU -> d, and gives
            y + feedforward(x + y): with the block's residual connection, a Transformer layer without its norms. Where
            stride or width change, x cannot be added, and it reads y. 0: none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        kind: str = "gauss",
        heads: int = 8,
        basis: str = "half",
        values: str = "half",
        normalize: str = "tokens",
        transformer: int = 0,
        **shape: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, **shape)
        out_channels, stride = self.out_channels, self.stride
        half = max(1, out_channels // 2)
        b = _width("basis", basis, {"half": half})
        m = _width("values", values, {"half": half, "none": out_channels})
        check_divides("heads", heads, b)
        check_divides("heads", heads, m)
        check_one_of("kind", kind, ("gauss", "dot"))
        check_one_of("normalize", normalize, ("channels", "tokens"))
        check_between("transformer", transformer, 0, 64)
        self.kind, self.heads, self.normalize = kind, heads, normalize
        self.coefficients = conv1x1(in_channels, b, stride)
        self.basis = conv1x1(in_channels, b, stride)
        self.values = conv1x1(in_channels, m, stride)
        self.project: nn.Conv2d | None = None if values == "none" else conv1x1(m, out_channels)
        self.feedforward: nn.Sequential | None = None
        if transformer:
            hidden = transformer * out_channels
            self.feedforward = nn.Sequential(conv1x1(out_channels, hidden), nn.ReLU(), conv1x1(hidden, out_channels))
        self.widths = (in_channels, b, m, out_channels, transformer * out_channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if x.ndim == 4:
            return self._of_map(x)
        if x.ndim not in (3, 5) or self.stride != 1:
            raise UserError(
                f"attention '{self.name}' takes maps (B, C, H, W), and with stride 1 sequences (B, C, N) and volumes "
                f"(B, C, D, H, W), not {tuple(x.shape)} with stride {self.stride}"
            )
        return self._of_map(x.flatten(2).unsqueeze(2)).reshape(len(x), self.out_channels, *x.shape[2:])

    def _of_map(self, x: Tensor) -> Tensor:
        """`forward` for (B, c, H, W)."""
        rows = (self._split(to_rows(conv, x)) for conv in (self.coefficients, self.basis, self.values))
        y = self._attend(*rows).flatten(1, 2)
        size = spatial_size(self.strided(x))
        y = y.unflatten(2, size) if self.project is None else rows_to_map(self.project, y, size, like=x)
        if self.feedforward is not None:
            y = y + self.feedforward(x + y if self.keeps_shape else y)
        return y

    def _split(self, t: Tensor) -> Tensor:
        """(B, C, H, W) or (B, C, N) -> (B, h, C / h, N)."""
        return t.flatten(2).unflatten(1, (self.heads, -1))

    def _divisor(self, coefficients: Tensor) -> int:
        """What a dot product is divided by; coefficients (B, h, b / h, N)."""
        return coefficients.shape[2 if self.normalize == "channels" else 3]

    def _attend(self, coefficients: Tensor, basis: Tensor, values: Tensor) -> Tensor:
        """(B, h, b / h, N), the same, (B, h, m / h, N) -> (B, h, m / h, N)."""
        raise NotImplementedError

    def _between_positions(self, tokens: int) -> tuple[int, int]:
        """Multiply-adds and floats of `_attend`, y left out."""
        raise NotImplementedError

    def start_at_zero(self) -> None:
        """See `Attention`."""
        last: list[Any] = [self.values if self.project is None else self.project]
        if self.feedforward is not None:
            last.append(self.feedforward[-1])
        for layer in last:
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        """Floats as the paper counts them: every result once, the input not, and with the sum of the residual
        connection around the attention, which is the block's (of a transformer, the two sums inside). A volume or a
        sequence of N positions costs as much as a map of 1 x N.
        """
        c, b, m, d, hidden = self.widths
        n = self.positions(height, width)
        parameters, floats_of_a_token = 2 * b * c + m * c, 2 * b + 2 * m + d
        if self.project is not None:
            parameters, floats_of_a_token = parameters + m * d, floats_of_a_token + d
        if self.feedforward is not None:
            parameters, floats_of_a_token = parameters + 2 * hidden * d, floats_of_a_token + 2 * hidden + 2 * d
        macs, floats = self._between_positions(n)
        biases = sum(part.numel() for name, part in self.named_parameters() if name.endswith(".bias"))
        return Cost(parameters + biases, n * parameters + macs, n * floats_of_a_token + floats)


def _width(option: str, value: str, words: dict[str, int]) -> int:
    """The channels that an option names by a number or a word."""
    try:
        width = words[value] if value in words else int(value)
    except ValueError:
        known = " or ".join(f"'{word}'" for word in words)
        raise UserError(f"{option}={value} is not a number; give one, or {known}") from None
    check_between(option, width, 1, 4096)
    return width


@register_attention("fa", low={"heads": 8}, high={"heads": 2})
class FactorizedAttention(ProjectedAttention):
    """Cost linear in the number of tokens. With kind=dot it equals `nl` of the same weights; with kind=gauss it does
    not, but the weights of a position sum to 1 as well. The options are those of `ProjectedAttention`.
    """

    def _attend(self, coefficients: Tensor, basis: Tensor, values: Tensor) -> Tensor:
        coefficients, basis = self._factors(coefficients, basis)
        gathered = values @ basis.transpose(2, 3)  # (B, h, m / h, b / h)
        if self.kind == "dot":
            gathered = gathered.div_(self._divisor(coefficients))
        return gathered @ coefficients

    def _factors(self, coefficients: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        """The two factors of the attention weights, but for the divisor of "dot"."""
        if self.kind == "dot":
            return coefficients, basis
        # At least float32, also under autocast: a sum over all tokens.
        dtype = torch.promote_types(basis.dtype, torch.float32)
        return coefficients.softmax(2, dtype=dtype).to(basis.dtype), basis.softmax(3, dtype=dtype).to(basis.dtype)

    def _between_positions(self, tokens: int) -> tuple[int, int]:
        _, b, m, _, _ = self.widths
        gathered = b * m // self.heads
        return 2 * gathered * tokens, gathered + (2 * b * tokens if self.kind == "gauss" else 0)

    @classmethod
    def from_authors(cls, state: Mapping[str, Tensor], *, heads: int) -> Self:
        """The layer whose state dict the authors' `EfficientAttention` wrote (github.com/cmsflash/efficient-attention).

        Theirs adds its input to the output: it is x + attention(x) here.

        Args:
            state: `keys`, `queries`, `values` and `reprojection`, each with `.weight` (out, in, 1, 1) and `.bias`.
            heads: their `head_count`, which a state dict does not tell.

        Raises:
            UserError: other entries, shapes that do not fit each other, or heads that do not divide the channels.
        """
        names = {"keys": "basis", "queries": "coefficients", "values": "values", "reprojection": "project"}
        wanted = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
        if sorted(state) != sorted(wanted):
            raise UserError(
                f"the authors' EfficientAttention has the entries {', '.join(wanted)}; this state dict has "
                f"{', '.join(state) or 'none'}"
            )
        if odd := [key for key, value in state.items() if value.ndim != (4 if key.endswith("weight") else 1)]:
            raise UserError(
                f"entry '{odd[0]}' is {tuple(state[odd[0]].shape)}: weights have four dimensions, biases one"
            )
        basis, channels = state["keys.weight"].shape[:2]
        values = len(state["values.weight"])
        layer = cls(channels, heads=heads, basis=str(basis), values=str(values))
        for conv in (layer.coefficients, layer.basis, layer.values, cast(nn.Conv2d, layer.project)):
            conv.bias = nn.Parameter(torch.zeros(conv.out_channels))
        own = layer.state_dict()
        given = {f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}": value for key, value in state.items()}
        for key, value in given.items():
            if value.shape != own[key].shape:
                raise UserError(f"entry '{key}' is {tuple(value.shape)}; the others need {tuple(own[key].shape)}")
        layer.load_state_dict(given)
        return layer

    def basis_maps(self, x: Tensor) -> Tensor:
        """(B, c, H, W) -> (B, h, b / h, ceil(H / stride), ceil(W / stride)): what each mask of the basis looks at, the
        paper's Figure 7. Masks of kind=gauss sum to 1 over the map, those of kind=dot can be negative.
        """
        basis = self.basis(x)
        return self._factors(self._split(self.coefficients(x)), self._split(basis))[1].unflatten(3, basis.shape[-2:])

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """The N x N map that the factors imply; keys are the positions of the output."""
        basis = self.basis(x)
        left, right = self._factors(self._split(self.coefficients(x)), self._split(basis))
        weights = pick(left.transpose(2, 3), at) @ right
        if self.kind == "dot":
            weights = weights / self._divisor(left)
        return AttentionMap(weights, (basis.shape[2], basis.shape[3]))

    def drawing(self, x: Tensor, context: Tensor | None = None, *, position: tuple[int, int]) -> Drawing:
        """The masks of the basis, since the N x N map is never made."""
        return Drawing(self.basis_maps(x)[0], "basis masks", "head", "mask", of_position=False)
