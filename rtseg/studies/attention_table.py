"""Every registered attention in a table: what it is, its options, what it costs in the slim network.

Read from the registry, so a new mechanism is in it by itself. `rtseg list attentions --details` prints it, and
`python -m tools.tables attentions` writes it into docs/attention.md, between the two comments that mark its place.
"""

import inspect
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.markup import escape
from rich.table import Table

from rtseg.attention import create_attention, list_attentions
from rtseg.attention.base import Attention
from rtseg.attention.registry import Branch, get_mechanism
from rtseg.output.folders import replace_between

BEGIN, END = "<!-- attention table: begin -->", "<!-- attention table: end -->"
COLUMNS = (
    "name", "what it is", "branches", "options: type, default", "parameters", "MACs", "growth",
    "reads the other branch", "drawn",
)  # fmt: skip
NOT_KNOWN = "—"  # the cell of what a mechanism does not say

# The slim network at 512x512: channels, and side of the square map.
SIZES: dict[Branch, tuple[int, int]] = {"low": (256, 16), "high": (64, 64)}


def attention_rows() -> list[tuple[str, ...]]:
    """One row a mechanism, in the order of COLUMNS. Where the branches differ, a cell says "low / high"."""
    return [_row(name) for name in list_attentions()]


def _row(name: str) -> tuple[str, ...]:
    mechanism = get_mechanism(name)
    branches: list[Branch] = ["high"] if mechanism.needs_context else ["low", "high"]
    values = [mechanism.default_options(branch) for branch in branches]
    options = [
        f"`{option}`: {kind.__name__}, {_cell(str(own[option]) for own in values)}"
        for option, kind in mechanism.options().items()
    ]
    attentions = [_create(name, branch) for branch in branches]
    return (
        f"`{name}`",
        _what(mechanism.cls),
        ", ".join(branches),
        "; ".join(options) or "none",
        _cell(f"{sum(p.numel() for p in attention.parameters()):,}" for attention in attentions),
        *_cost_cells(attentions, branches),
        "yes" if mechanism.needs_context else "no",
        "yes" if attentions[0].has_map else NOT_KNOWN,
    )


def _cell(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _what(cls: type) -> str:
    """The first paragraph of the module, which names the paper; of the class where the module has none."""
    text = getattr(inspect.getmodule(cls), "__doc__", None) or cls.__doc__ or ""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def _create(name: str, branch: Branch) -> Attention:
    """On the meta device, which makes no values."""
    with torch.device("meta"):
        return create_attention(name, SIZES[branch][0], context_channels=SIZES["low"][0], branch=branch)


def _macs(attention: Attention, side: int) -> int:
    """Multiply-adds for a square map."""
    return attention.cost(side, side, (max(1, side // 4),) * 2).macs


def _cost_cells(attentions: list[Attention], branches: list[Branch]) -> tuple[str, str]:
    """MACs and growth; dashes where the mechanism does not know its cost."""
    if not attentions[0].has_cost:
        return NOT_KNOWN, NOT_KNOWN
    macs = [_macs(attention, SIZES[branch][1]) for attention, branch in zip(attentions, branches, strict=True)]
    return _cell(f"{each / 1e6:,.1f} M" for each in macs), _cell(_growth(attention) for attention in attentions)


def _growth(attention: Attention) -> str:
    """e of MACs ~ tokens^e between two maps so large that smaller terms no longer count."""
    few, many = 1 << 12, 1 << 13
    least = _macs(attention, few)
    if least == 0:
        return NOT_KNOWN
    e = math.log(_macs(attention, many) / least, (many / few) ** 2)
    return {"1.0": "linear", "2.0": "quadratic"}.get(f"{e:.1f}", f"tokens^{e:.1f}")


def markdown() -> str:
    """The table for the page."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *attention_rows()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def table(width: int = 150) -> Table:
    """The same for a console of this many characters; from 120 on, addresses and numbers stay whole."""
    rows = attention_rows()
    address = max((len(word) for row in rows for word in row[1].split() if "://" in word), default=None)
    shown = Table(title="Attentions; costs in rtformer_slim at 512x512, low / high", show_lines=True)
    for i, heading in enumerate(COLUMNS):
        number = max(len(row[i]) for row in rows) if heading in ("parameters", "MACs") else None
        # Folded, for else what is too long would be cut.
        if width >= 120:
            shown.add_column(heading, overflow="fold", width=address if i == 1 else None, min_width=number)
        else:
            shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(escape(cell.replace("`", "")) for cell in row))
    return shown


def refresh(page: Path) -> None:
    """Writes the table into `page`, between its two comments.

    Raises:
        UserError: there is no such page, or the comments are not in it once each.
    """
    replace_between(page, BEGIN, END, markdown())
