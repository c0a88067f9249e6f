"""The rows of RTFormer's Table 3, and those that are asked for."""

import pytest
import torch

from rtseg.errors import UserError
from rtseg.models import create_model, list_models
from rtseg.models.backbone import backbone_options
from rtseg.studies.compare.rows import TABLE3, Row, choose_rows

# --- rows


def test_table_3_is_the_papers() -> None:
    """Names as the paper has them -> FPS, mIoU."""
    paper = {
        "sa": (97.4, 32.7),
        "ea:ratio=0.125": (196.9, 31.9),
        "ea:ratio=0.25": (189.6, 32.0),
        "ea:ratio=1": (180.8, 32.2),
        "ea:ratio=1 base_channels=36 head_channels=64": (134.8, 32.8),
        "la:grid=16+la:grid=64": (167.6, 32.4),
        "na:landmarks=32": (77.6, 32.9),
        "na:landmarks=64": (72.2, 33.0),
        "gfa": (189.8, 32.8),
        "gfa+ca": (187.9, 33.0),
    }
    assert {row.name: (row.paper_fps, row.paper_miou) for row in TABLE3 if row.paper_fps} == paper
    assert len({row.slug for row in TABLE3}) == len(TABLE3)
    assert choose_rows([], "rtformer_slim") == TABLE3


@pytest.mark.parametrize("row", TABLE3, ids=lambda row: row.slug)
def test_every_row_is_a_network(row: Row) -> None:
    with torch.device("meta"):
        create_model("rtformer_slim", 150, attention=row.attention, **row.options)


def test_the_papers_figures_stand_beside_its_network_however_it_is_spelled() -> None:
    rows = choose_rows(
        ["sa:reduction=1+sa:reduction=4", "gfa+ca:cross_size=8", "gfa+ca:cross_size=12"], "rtformer_slim"
    )
    assert [row.paper_fps for row in rows] == [97.4, 187.9, None]
    assert [row.is_baseline for row in rows] == [False, True, False]
    (wide,) = choose_rows(["gfa:groups=8+ca:cross_size=12"], "rtformer_base")
    assert (wide.is_baseline, wide.paper_fps) == (True, None)
    assert [row.paper_fps for row in choose_rows(["sa"], "rtformer_base")] == [None, None]
    assert all(row.paper_fps is None and not row.options for row in choose_rows([], "rtformer_base"))


def test_the_baseline_is_always_there_and_nothing_twice() -> None:
    assert [row.name for row in choose_rows(["sa", "gfa"], "rtformer_slim")] == ["gfa+ca", "sa", "gfa"]
    assert [row.name for row in choose_rows(["sa", "gfa+ca"], "rtformer_slim")] == ["sa", "gfa+ca"]
    with pytest.raises(UserError, match=r"--attention sa\+sa is sa once more"):
        choose_rows(["sa", "sa+sa"], "rtformer_slim")
    with pytest.raises(UserError, match="unknown attention 'se'"):
        choose_rows(["se"], "rtformer_slim")


def test_a_model_without_attention_is_refused() -> None:
    for model in list_models():
        if "cross_size" not in backbone_options(model):
            with pytest.raises(
                UserError,
                match=f"--model {model} has no attention to compare; give one of rtformer_base",
            ):
                choose_rows([], model)
