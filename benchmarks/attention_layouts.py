"""Is each attention of rtseg written in the layout that is fastest here? The library against other ways to write it.

    python benchmarks/attention_layouts.py
    python benchmarks/attention_layouts.py --threads 1 --seconds 4 -o layouts.json

Attentions of the slim network, at its sizes for a picture of 512x512 and in the high branch for one of 1024x2048, on
channels_last maps, which is what `deploy` hands them, and on contiguous ones; batch 1, float32, eager, no gradients. A
result in another layout than the input's is copied into it, and that counts. Every other way is written here and must
give the library's result before it is timed. Ways of one question take turns, so believe the ratios; the milliseconds
are those of this machine at this moment.

B batch, C channels in, D channels out, h heads (g groups), M slots, N tokens.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from rtseg.attention import create_attention
from rtseg.attention.gpu_friendly import double_normalize
from rtseg.attention.registry import Branch, get_mechanism
from rtseg.attention.tokens import attention_weights, join_heads, split_heads, to_map, to_tokens
from rtseg.deploy.device import choose_device, describe_device, device_line
from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size
from rtseg.output.folders import make_folder
from rtseg.output.table import Column, Table, show
from rtseg.speed.conditions import Conditions
from rtseg.speed.timing import measure_together

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
LIBRARY = "the library"


@dataclass(frozen=True)
class Place:
    """Where an attention stands in the slim network; height and width are those of its input."""

    branch: Branch
    channels: int
    height: int
    width: int
    out_channels: int
    stride: int = 1

    def __str__(self) -> str:
        halved = f" to {self.out_channels}, halved" if self.stride > 1 else ""
        return f"{self.branch}, {self.height}x{self.width}, {self.channels} channels{halved}"


PLACES = (
    Place("high", 64, 64, 64, 64),
    Place("low", 128, 32, 32, 256, stride=2),
    Place("low", 256, 16, 16, 256),
    Place("high", 64, 128, 256, 64),
)

Way = Callable[[Any, Tensor], Tensor]  # (attention, (B, C, H, W)) -> (B, D, H, W)


@dataclass(frozen=True)
class Question:
    """Ways to the same result.

    Attributes:
        ways: name -> function without arguments that gives one or more results; the library's is the first.
        tolerance: largest difference from the library's result, as a share of its largest value.
    """

    what: str
    place: str
    memory_format: str
    ways: Mapping[str, Callable[[], list[Tensor]]]
    tolerance: float = 1e-4


def check_equal(question: Question) -> None:
    """Raises: ValueError where a way gives another result than the library."""
    expected = question.ways[LIBRARY]()
    for name, way in question.ways.items():
        shares = [(y - own).abs().max() / own.abs().max() for y, own in zip(way(), expected, strict=True)]
        off = float(torch.stack(shares).max())
        if not off <= question.tolerance:
            raise ValueError(f"{question.what}, {question.place}: '{name}' is off by {off:.1e} of the largest value")


# --- other ways


def copied(attention: nn.Module, x: Tensor) -> Tensor:
    """The library on a contiguous copy."""
    return attention(x.contiguous())


def _strided(a: Any, x: Tensor) -> Tensor:
    return x[:, :, :: a.stride, :: a.stride]


def _matrix(conv: nn.Conv2d) -> Tensor:
    """The weight of a 1x1 convolution, (out, in)."""
    return conv.weight[:, :, 0, 0]


def gfa_convolutions(a: Any, x: Tensor) -> Tensor:
    """Scores as (B, N, g, M / g), in the layout that convolutions of channels_last maps give."""
    scores = a.keys(x).permute(0, 2, 3, 1)
    grouped = scores.flatten(1, 2).unflatten(2, (a.groups, -1))
    weights = double_normalize(grouped, a.norm, tokens=1, slots=3).reshape(scores.shape)
    return a.values(weights.permute(0, 3, 1, 2))


def gfa_linear(a: Any, x: Tensor) -> Tensor:
    """The same layout from linear maps."""
    x = _strided(a, x)
    scores = F.linear(to_tokens(x), _matrix(a.keys)).unflatten(2, (a.groups, -1))
    weights = double_normalize(scores, a.norm, tokens=1, slots=3).flatten(2)
    return to_map(F.linear(weights, _matrix(a.values)), spatial_size(x))


def ea_first(a: Any, x: Tensor) -> Tensor:
    """Scores as (B, h, M, N)."""
    x = _strided(a, x)
    weights = double_normalize(a.keys @ x.flatten(2).unflatten(1, (a.heads, -1)), tokens=3, slots=2)
    return (a.values @ weights).flatten(1, 2).unflatten(2, spatial_size(x))


def ea_heads(a: Any, x: Tensor) -> Tensor:
    """Scores as (B, h, N, M)."""
    x = _strided(a, x)
    weights = double_normalize(F.linear(split_heads(to_tokens(x), a.heads), a.keys), tokens=2, slots=3)
    return to_map(join_heads(F.linear(weights, a.values)), spatial_size(x))


def ea_as_gfa(a: Any, x: Tensor) -> Tensor:
    """The gfa of block-diagonal matrices: whole products, h times the multiply-adds."""
    x = _strided(a, x)
    scores = F.linear(to_tokens(x), torch.block_diag(*[a.keys] * a.heads)).unflatten(2, (a.heads, -1))
    weights = double_normalize(scores, tokens=1, slots=3).flatten(2)
    return to_map(F.linear(weights, torch.block_diag(*[a.values] * a.heads)), spatial_size(x))


def _fa_last(a: Any, projected: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
    """C, B and V as (B, N, channels)."""
    coefficients, basis, values = (tokens.unflatten(2, (a.heads, -1)) for tokens in projected)
    gathered = basis.softmax(1).permute(0, 2, 3, 1) @ values.transpose(1, 2)  # (B, h, b / h, m / h)
    y = coefficients.softmax(3).transpose(1, 2) @ gathered
    return to_map(F.linear(join_heads(y), _matrix(a.project)), size)


def fa_last_convolutions(a: Any, x: Tensor) -> Tensor:
    """Channels last, from convolutions."""
    maps = [conv(x) for conv in (a.coefficients, a.basis, a.values)]
    return _fa_last(a, map(to_tokens, maps), spatial_size(maps[0]))


def fa_last_linear(a: Any, x: Tensor) -> Tensor:
    """Channels last, from linear maps."""
    x = _strided(a, x)
    tokens = to_tokens(x)
    projected = (F.linear(tokens, _matrix(conv)) for conv in (a.coefficients, a.basis, a.values))
    return _fa_last(a, projected, spatial_size(x))


def fa_last_one_linear(a: Any, x: Tensor) -> Tensor:
    """The same from one linear map. Its matrices are joined anew each time, so this is an upper bound."""
    x = _strided(a, x)
    matrices = [_matrix(conv) for conv in (a.coefficients, a.basis, a.values)]
    projected = F.linear(to_tokens(x), torch.cat(matrices)).split([len(matrix) for matrix in matrices], 2)
    return _fa_last(a, projected, spatial_size(x))


def fa_first_convolutions(a: Any, x: Tensor) -> Tensor:
    """Channels first, (B, h, channels / h, N), from convolutions, whose results are copied where they are not."""
    maps = [conv(x) for conv in (a.coefficients, a.basis, a.values)]
    coefficients, basis, values = (m.flatten(2).unflatten(1, (a.heads, -1)) for m in maps)
    y = (values @ basis.softmax(3).transpose(2, 3)) @ coefficients.softmax(2)
    return a.project(y.flatten(1, 2).unflatten(2, spatial_size(maps[0])))


OTHER_WAYS: dict[str, dict[str, Way]] = {
    "gfa": {
        "on a contiguous copy": copied,
        "slots last, convolutions": gfa_convolutions,
        "slots last, linear maps": gfa_linear,
    },
    "ea": {
        "on a contiguous copy": copied,
        "channels first": ea_first,
        "heads before tokens": ea_heads,
        "block-diagonal gfa": ea_as_gfa,
    },
    "fa": {
        "on a contiguous copy": copied,
        "channels first, convolutions": fa_first_convolutions,
        "channels last, convolutions": fa_last_convolutions,
        "channels last, linear maps": fa_last_linear,
        "channels last, one linear map": fa_last_one_linear,
    },
}


# --- the fused kernel

Call = tuple[tuple[Tensor, ...], dict[str, Any]]


def fused_calls(attention: nn.Module, x: Tensor, context: Tensor) -> list[Call]:
    """What the attention hands to PyTorch's fused kernel in one forward pass."""
    calls: list[Call] = []
    kernel = F.scaled_dot_product_attention

    def record(*tensors: Any, **options: Any) -> Tensor:
        calls.append((tensors, options))
        return kernel(*tensors, **options)

    with mock.patch.object(F, "scaled_dot_product_attention", record):
        attention(x, context)
    return calls


def run_calls(function: Callable[..., Tensor], calls: list[Call]) -> list[Tensor]:
    """The result of each call."""
    return [function(*tensors, **options) for tensors, options in calls]


def explicit(queries: Tensor, keys: Tensor, values: Tensor, scale: float | None = None) -> Tensor:
    """The softmax product written out, its map stored."""
    return attention_weights(queries, keys, scale) @ values


def tokens_contiguous(calls: list[Call]) -> list[Call]:
    """The same numbers as views of channels-first maps, as a contiguous convolution would leave them."""
    return [(tuple(t.mT.contiguous().mT for t in tensors), options) for tensors, options in calls]


# --- questions


def build(name: str, place: Place, memory_format: str, device: torch.device) -> Any:
    """An attention as it is deployed, with weights of a size at which a wrong result shows."""
    context_channels = 256 if place.branch == "high" else None
    with torch.device(device):
        attention = create_attention(
            name,
            place.channels,
            place.out_channels,
            stride=place.stride,
            context_channels=context_channels,
            branch=place.branch,
        )
    for parameter in attention.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=(parameter.numel() / len(parameter)) ** -0.5)
    return attention.eval().requires_grad_(False).to(memory_format=FORMATS[memory_format])


def _in_format(way: Way, attention: Any, x: Tensor, memory_format: str) -> list[Tensor]:
    """The rest of the network works in the layout of x, so a result in another one has yet to be copied."""
    return [way(attention, x).contiguous(memory_format=FORMATS[memory_format])]


def questions(places: Sequence[Place], device: torch.device) -> Iterator[Question]:
    """All, one after the other, so that the maps of one are free again before the next is made."""
    for place in places:
        x = torch.randn(1, place.channels, place.height, place.width, device=device)
        context = torch.randn(1, 256, -(-place.height // 4), -(-place.width // 4), device=device)
        for memory_format, wanted in FORMATS.items():
            x = x.contiguous(memory_format=wanted)
            for name, others in OTHER_WAYS.items():
                attention = build(name, place, memory_format, device)
                ways = {LIBRARY: nn.Module.__call__, **others}
                asked = {k: partial(_in_format, way, attention, x, memory_format) for k, way in ways.items()}
                yield Question(name, str(place), memory_format, asked)
            plain, log = (build(f"gfa:norm={norm}", place, memory_format, device) for norm in ("plain", "log"))
            log.load_state_dict(plain.state_dict())
            # The log norm leaves the 1e-6 out, which counts where weights are about 1 / N.
            call = nn.Module.__call__
            norms = {
                k: partial(_in_format, call, a, x, memory_format) for k, a in ((LIBRARY, plain), ("norm=log", log))
            }
            yield Question("gfa's norm", str(place), memory_format, norms, tolerance=1e-2)
        for name in ("sa", "ca", "na", "la"):
            if get_mechanism(name).needs_context and place.branch == "low":
                continue
            calls = fused_calls(build(name, place, "contiguous", device), x, context)
            kernel, views = F.scaled_dot_product_attention, tokens_contiguous(calls)
            products = {
                LIBRARY: partial(run_calls, kernel, calls),
                "softmax product written out": partial(run_calls, explicit, calls),
                "fused call on tokens-contiguous views": partial(run_calls, kernel, views),
            }
            yield Question(f"{name}, its fused products alone", str(place), "any", products)


def measure_question(question: Question, device: torch.device, seconds: float) -> list[dict[str, Any]]:
    """One row a way; `ratio` is its time / the library's, of 5th percentiles: other work on the machine only adds."""
    check_equal(question)
    timings = measure_together(
        list(question.ways.values()),
        Conditions(device=device, warmup_seconds=min(seconds, 0.3), rounds=5, seconds=seconds),
    )
    return [
        {
            "what": question.what,
            "place": question.place,
            "memory_format": question.memory_format,
            "way": name,
            "median_ms": timing.median_ms,
            "p5_ms": timing.p5_ms,
            "ratio": timing.p5_ms / timings[0].p5_ms,
        }
        for name, timing in zip(question.ways, timings, strict=True)
    ]


def table(result: dict[str, Any]) -> Table:
    """The rows for people; ways that are clearly faster than the library are marked."""
    columns = [
        *(Column(heading, left=True, groups=True) for heading in ("attention", "where", "input")),
        Column("way", left=True),
        Column("5th percentile", form="{:.3f} ms"),
        Column("time / library's", form="{:.2f}"),
        Column("", left=True, optional=True),
    ]
    rows = [
        [
            *(row[key] for key in ("what", "place", "memory_format", "way", "p5_ms", "ratio")),
            "faster" if row["ratio"] < 0.9 else "",
        ]
        for row in result["rows"]
    ]
    return Table(f"Layouts of attention, {device_line(result['device'])}", columns, rows)


def main(
    threads: int | None = None,
    seconds: float = 2.0,
    output: Path | None = None,
    device: str | None = "cpu",
    places: Sequence[Place] = PLACES,
) -> dict[str, Any]:
    """Measures everything, prints a table and, as last line, the JSON, which also goes to `output`.

    Raises:
        UserError: a bad number or device, or `output` cannot be written to.
    """
    if threads is not None and threads < 1:
        raise UserError(f"--threads {threads} must be at least 1")
    if not 0 < seconds < math.inf:
        raise UserError(f"--seconds {seconds:g} must be a number above 0, as in --seconds 2")
    chosen = choose_device(device)
    if output is not None:  # before the minutes that it takes to measure
        make_folder(output.parent)
        if output.is_dir():
            raise UserError(f"--output {output} is a folder; give a file in it")
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    result: dict[str, Any] = {
        "device": describe_device(chosen),  # first: the load is that of other work
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "rows": [],
    }
    with torch.inference_mode():
        number = sum(2 * (len(OTHER_WAYS) + 1) + (4 if place.branch == "high" else 3) for place in places)
        for question in track(questions(places, chosen), "measuring", number, console=Console(stderr=True)):
            result["rows"] += measure_question(question, chosen, seconds)
    show(table(result))
    line = json.dumps(result)
    if output is not None:
        output.write_text(line + "\n")
    print(line)
    return result


def command(arguments: Sequence[str] | None = None) -> None:
    """The command line; an error of the user's ends in one line and exit status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; default: all cores")
    parser.add_argument("--seconds", type=float, default=2.0, help="timed at least, for each way (2)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (cpu)")
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON")
    try:
        main(**vars(parser.parse_args(arguments)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    command()
