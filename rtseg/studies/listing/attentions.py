"""The table of all registered attentions: what each is, its options, and what it costs in the slim network.

The table is made from the registry, so it includes plug-ins. `rtseg list attentions --details` prints it.
`python -m tools.tables attentions` writes it into docs/attention.md.
"""

import inspect
import math
from collections.abc import Iterable

import torch

from rtseg.attention import create_attention, list_attentions
from rtseg.attention.base import Attention, Cost
from rtseg.attention.registry import Branch, get_mechanism
from rtseg.errors import UserError
from rtseg.output.table import MISSING, Column, Table
from rtseg.studies.listing.cells import Cells

COLUMNS = (
    Column("name", left=True),
    Column("what it is", left=True, prose=True),
    Column("branches", left=True, yields=2),
    Column("options: type, default", left=True, prose=True),
    Column("parameters", left=True, yields=4),
    Column("MACs", left=True, yields=3),
    Column("growth", left=True),
    Column("reads the other branch", left=True, yields=1),
    Column("drawn", left=True, yields=5),
)

# The slim network at 512x512: channels, and side of the square map.
SIZES: dict[Branch, tuple[int, int]] = {"low": (256, 16), "high": (64, 64)}


def attention_rows(failures: list[str] | None = None) -> list[tuple[str, ...]]:
    """One row per attention, in the order of COLUMNS. Where the branches differ, a cell says "low / high".

    A cell is a dash where the attention has no answer.

    Args:
        failures: gets one sentence for each cell whose answer failed, see `Cells`.
    """
    failures = [] if failures is None else failures
    return [_row(name, Cells(f"attention '{name}'", failures)) for name in list_attentions()]


def _row(name: str, cells: Cells) -> tuple[str, ...]:
    mechanism = get_mechanism(name)
    branches: list[Branch] = ["high"] if mechanism.needs_context else ["low", "high"]
    values = [mechanism.default_options(branch) for branch in branches]
    options = [
        f"`{option}`: {kind.__name__}, {_cell(str(own[option]) for own in values)}"
        for option, kind in mechanism.options().items()
    ]
    attentions = cells.ask("constructor", lambda: [_create(name, branch) for branch in branches]) or []
    macs, growth = _cost_cells(attentions, branches, cells)
    return (
        f"`{name}`",
        cells.text("docstring", lambda: _what(mechanism.cls)),
        ", ".join(branches),
        "; ".join(options) or "none",
        _cell(f"{sum(p.numel() for p in attention.parameters()):,}" for attention in attentions) or MISSING,
        macs,
        growth,
        "yes" if mechanism.needs_context else "no",
        "yes" if attentions and attentions[0].has_map else MISSING,
    )


def _cell(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _what(cls: type) -> str:
    """The first paragraph of the module, which names the paper. The class's where the module has none."""
    text = getattr(inspect.getmodule(cls), "__doc__", None) or cls.__doc__ or ""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def _create(name: str, branch: Branch) -> Attention:
    """On the meta device, which makes no values."""
    with torch.device("meta"):
        return create_attention(name, SIZES[branch][0], context_channels=SIZES["low"][0], branch=branch)


def _macs(attention: Attention, side: int) -> int:
    """Multiply-adds for a square map."""
    cost = attention.cost(side, side, (max(1, side // 4),) * 2)
    if not isinstance(cost, Cost):
        raise UserError(f"it returns {type(cost).__name__}, not rtseg.attention.base.Cost")
    return cost.macs


def _cost_cells(attentions: list[Attention], branches: list[Branch], cells: Cells) -> tuple[str, str]:
    """MACs and growth; dashes where the attention does not know its cost."""
    if not attentions or not attentions[0].has_cost:
        return MISSING, MISSING

    def macs() -> str:
        found = [_macs(attention, SIZES[branch][1]) for attention, branch in zip(attentions, branches, strict=True)]
        return _cell(f"{each / 1e6:,.1f} M" for each in found)

    first = cells.text("cost", macs)
    if first == MISSING:  # one sentence is enough
        return MISSING, MISSING
    return first, cells.text("cost", lambda: _cell(_growth(attention) for attention in attentions))


def _growth(attention: Attention) -> str:
    """e of MACs ~ tokens^e between two maps so large that smaller terms no longer count."""
    few, many = 1 << 12, 1 << 13
    least = _macs(attention, few)
    if least == 0:
        return MISSING
    e = math.log(_macs(attention, many) / least, (many / few) ** 2)
    return {"1.0": "linear", "2.0": "quadratic"}.get(f"{e:.1f}", f"tokens^{e:.1f}")


def table(failures: list[str]) -> Table:
    """The table of all attentions, plug-ins included; `failures` as in `attention_rows`."""
    return Table("Attentions; costs in rtformer_slim at 512x512, low / high", COLUMNS, attention_rows(failures))


def markdown() -> str:
    """The same table for docs/attention.md."""
    return table([]).markdown().rstrip()
