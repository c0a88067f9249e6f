"""The rows of a comparison; those of RTFormer's Table 3 with the paper's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtseg.attention.build import resolve_attention
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION, backbone_options, choose_attention, swappable_models
from rtseg.studies.compare.paper import PaperRow
from rtseg.studies.runs.variant import Variant

BASELINE = "gfa+ca"  # the authors' choice, which every row is compared with
PAPER_MODEL = "rtformer_slim"  # the network of Table 3


@dataclass(frozen=True)
class Row(Variant):
    """A network to compare.

    Attributes:
        paper_fps, paper_miou: of RTFormer's Table 3 (https://arxiv.org/abs/2210.07124, appendix): ADE20K on an RTX
            2080 Ti. None where the paper has no such row.
        figures: rows of the first paper that insert the same.
        is_baseline: whether the others are compared with it, or those of its model.
    """

    paper_fps: float | None = None
    paper_miou: float | None = None
    figures: tuple[PaperRow, ...] = field(default=(), hash=False)
    is_baseline: bool = False


TABLE3 = (
    Row("sa", paper_fps=97.4, paper_miou=32.7),
    Row("sa:reduction=1"),
    Row("ea:ratio=0.125", paper_fps=196.9, paper_miou=31.9),
    Row("ea:ratio=0.25", paper_fps=189.6, paper_miou=32.0),
    Row("ea:ratio=1", paper_fps=180.8, paper_miou=32.2),
    Row("ea:ratio=1", {"base_channels": 36, "head_channels": 64}, paper_fps=134.8, paper_miou=32.8),
    # Linformer's own matrices, for the maps of a 512x512 image; without them, grids of 16x16 that fit any size.
    Row("la:grid=16+la:grid=64", paper_fps=167.6, paper_miou=32.4),
    Row("la"),
    Row("na:landmarks=32", paper_fps=77.6, paper_miou=32.9),
    Row("na:landmarks=64", paper_fps=72.2, paper_miou=33.0),
    Row("gfa", paper_fps=189.8, paper_miou=32.8),
    Row(BASELINE, paper_fps=187.9, paper_miou=33.0, is_baseline=True),
    Row("fa"),
    Row("fa+ca"),
    *(Row(f"fa:basis={basis}") for basis in (32, 64, 128)),
    *(Row(f"fa:heads={heads}") for heads in (1, 2, 4, 8)),
    Row("nl+ca"),
    Row("nl"),
)
"""Table 3, and what the paper leaves open or lacks: self-attention without its reduction, Linformer for any size, the
first paper's attentions."""


def choose_rows(attentions: Sequence[str], model: str) -> tuple[Row, ...]:
    """Rows for attentions as the command line has them, each once; `TABLE3` for none. The paper's figures stand beside
    a network that is the paper's, however it is spelled ("gfa" is "gfa+gfa"), where `model` is rtformer_slim.

    The baseline comes first where it is not among them.

    Raises:
        UserError: unknown model or attention, a model without attention, or the same network twice.
    """
    if choose_attention(model, None) == NO_ATTENTION:
        raise UserError(f"--model {model} has no attention to compare; give one of {', '.join(swappable_models())}")
    from_network = backbone_options(model)
    if not attentions:
        return TABLE3 if model == PAPER_MODEL else tuple(map(_without_paper, _same_width()))
    known = {_network(row, from_network): row for row in _same_width()}
    if model != PAPER_MODEL:
        known = {network: _without_paper(row) for network, row in known.items()}
    chosen: dict[Any, Row] = {}
    for attention in attentions:
        network = _network(Row(attention), from_network)
        if network in chosen:
            raise UserError(f"--attention {attention} is {chosen[network].name} once more; leave one")
        chosen[network] = replace(known[network], attention=attention) if network in known else Row(attention)
    rows = tuple(chosen.values())
    return rows if any(row.is_baseline for row in rows) else (*choose_rows([BASELINE], model), *rows)


def baseline(rows: Sequence[Row], model: str | None = None) -> Row:
    """The row that the others are compared with; of a model, where there are several."""
    return next(row for row in rows if row.is_baseline and row.model == model)


def _same_width() -> list[Row]:
    """Rows of Table 3 that are the model with its own options."""
    return [row for row in TABLE3 if not row.options]


def _without_paper(row: Row) -> Row:
    return replace(row, paper_fps=None, paper_miou=None)


def _network(row: Row, from_network: Mapping[str, Any]) -> tuple:
    low, high = resolve_attention(row.attention, from_network)
    return tuple((spec.name, tuple(sorted(spec.options.items()))) for spec in (low, high))
