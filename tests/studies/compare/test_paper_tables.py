"""The first paper's tables as rows of a comparison."""

import pytest
import torch

from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.studies.compare.insertions import Insertions, choose_insertions, places_of
from rtseg.studies.compare.paper import FA, NL, TABLES
from rtseg.studies.runs.task import INSTANCES, SEGMENTATION, STEREO, Task

STAGES = {f"layer{k}": FeatureInfo(64 * 2**k, 2 ** (k + 1)) for k in range(1, 5)}
SEMANTIC = STAGES | {f"fpn.p{k}": FeatureInfo(256, 2**k) for k in range(2, 6)}
DETECTOR = SEMANTIC | {"fpn.p6": FeatureInfo(256, 64)}
BODIES = {"ResNet50": "resnet50", "ResNet101": "resnet101", "ResNeXt101": "resnext101_32x8d"}
SCHEME = "layer3={0} layer4={0} fpn.*={0}"


def chosen(*texts: str, places: dict[str, FeatureInfo] = DETECTOR, task: Task = INSTANCES) -> Insertions:
    return choose_insertions(texts, places, task, task.model, "none")


def shown(found: Insertions) -> dict[str, str]:
    """Row -> the paper's figures beside it."""
    return {row.name: "; ".join(map(str, row.figures)) for row in found.rows}


def test_tables_have_the_papers_figures() -> None:
    """Box and mask AP; Table 4 prints what FA adds."""
    figures = {name: {row.name: tuple(row.scores.values()) for row in rows} for name, rows in TABLES.items()}
    assert figures["table1"] == {
        "None": (39.4, 35.1), "res_3": (40.2, 36.0), "res_4": (39.1, 34.8), "fpn_1": (39.9, 35.8),
        "fpn_2": (39.7, 35.7), "fpn_3": (39.7, 35.5), "fpn_4": (39.7, 35.4), "fpn_5": (39.6, 35.3),
        "fpn_all": (40.6, 36.2), "fpn_1,2,3,4, res_3": (40.6, 36.1), "fpn_all, res_3,4": (41.2, 36.7),
    }  # fmt: skip
    assert figures["table2"] == {"32": (40.4, 36.1), "64": (40.6, 36.2), "128": (40.3, 36.1)}
    assert figures["table3"] == {
        "scaled dot-product": (), "Gaussian": (41.2, 36.7), "2-head": (41.0, 36.5), "4-head": (40.7, 36.1),
        "8-head": (40.7, 36.0),
    }  # fmt: skip
    gains = {"ResNet50": (1.8, 1.6), "ResNet101": (1.8, 1.3), "ResNeXt101": (1.4, 1.0)}
    for body, gain in gains.items():
        with_fa, plain = figures["table4"][f"{body} with FA"], figures["table4"][body]
        assert [a - b for a, b in zip(with_fa, plain, strict=True)] == pytest.approx(gain)
    assert figures["table4"]["ResNeXt101"] == (43.5, 38.5)
    assert figures["table6"] == {
        "PSMNet (original)": (1.09,), "PSMNet (baseline)": (0.513,), "FA-PSMNet": (0.477,), "Nonlocal-PSMNet": (),
    }  # fmt: skip


def test_positions_stand_at_the_networks_own_places() -> None:
    found = chosen("table1")
    assert shown(found) == {
        "none": "39.4 / 35.1 (Table 1, None)",
        f"layer3={FA}": "40.2 / 36.0 (Table 1, res_3)",
        f"layer4={FA}": "39.1 / 34.8 (Table 1, res_4)",
        f"fpn.p2={FA}": "39.9 / 35.8 (Table 1, fpn_1)",
        f"fpn.p3={FA}": "39.7 / 35.7 (Table 1, fpn_2)",
        f"fpn.p4={FA}": "39.7 / 35.5 (Table 1, fpn_3)",
        f"fpn.p5={FA}": "39.7 / 35.4 (Table 1, fpn_4)",
        f"fpn.p6={FA}": "39.6 / 35.3 (Table 1, fpn_5)",
        f"fpn.*={FA}": "40.6 / 36.2 (Table 1, fpn_all)",
        f"layer3={FA} fpn.p[2-5]={FA}": "40.6 / 36.1 (Table 1, fpn_1,2,3,4, res_3)",
        SCHEME.format(FA): "41.2 / 36.7 (Table 1, fpn_all, res_3,4)",
    }
    assert len({row.slug for row in found.rows}) == len(found.rows)
    assert found.positions == {
        "layer3": "res_3", "layer4": "res_4", "fpn.p2": "fpn_1", "fpn.p3": "fpn_2", "fpn.p4": "fpn_3",
        "fpn.p5": "fpn_4", "fpn.p6": "fpn_5",
    }  # fmt: skip


def test_places_that_a_network_lacks_are_left_out() -> None:
    found = chosen("table1", places=SEMANTIC, task=SEGMENTATION)
    assert f"fpn.p6={FA}" not in shown(found)
    assert len(found.rows) == len(TABLES["table1"]) - 1
    assert found.notes[0] == "Table 1: left out, since rtformer_slim does not have the places: fpn_5"
    assert found.notes[-1].startswith("fpn_all: the paper's has a fifth level")
    assert not any("fifth" in note for note in chosen("table1").notes)


def test_equal_networks_of_tables_share_a_row() -> None:
    found = chosen("table2", "table3", SCHEME.format("fa:heads=1:basis=64"))
    assert shown(found) == {
        "none": "",
        SCHEME.format("fa:basis=32:heads=1"): "40.4 / 36.1 (Table 2, 32)",
        SCHEME.format(FA): "40.6 / 36.2 (Table 2, 64); 41.2 / 36.7 (Table 3, Gaussian)",
        SCHEME.format("fa:basis=128:heads=1"): "40.3 / 36.1 (Table 2, 128)",
        SCHEME.format("fa:kind=dot:basis=64:heads=1"): "- (Table 3, scaled dot-product)",
        **{
            SCHEME.format(f"fa:basis=64:heads={heads}"): f"{aps} (Table 3, {heads}-head)"
            for heads, aps in ((2, "41.0 / 36.5"), (4, "40.7 / 36.1"), (8, "40.7 / 36.0"))
        },
    }
    assert any("alone in Table 1" in note for note in found.notes)  # a slip of the paper


def test_each_body_has_its_own_baseline() -> None:
    found = chosen("table4")
    assert [(row.model, row.is_baseline) for row in found.rows] == [
        (body and f"mask_rcnn_{body}", plain)
        for body in (None, "resnet101", "resnext101_32x8d")
        for plain in (True, False)
    ]
    assert [row.name for row in found.rows][:3] == ["none", SCHEME.format(FA), "mask_rcnn_resnet101 none"]
    assert any("45.9" in note for note in found.notes)  # a slip of the paper


def test_stereo_has_one_place() -> None:
    found = chosen("table6", places=STAGES, task=STEREO)
    assert shown(found) == {
        "none": "1.09 (Table 6, PSMNet (original)); 0.513 (Table 6, PSMNet (baseline))",
        f"layer4={FA}": "0.477 (Table 6, FA-PSMNet)",
        f"layer4={NL}": "OOM (Table 6, Nonlocal-PSMNet)",
    }


@pytest.mark.parametrize(
    ("task", "places", "texts", "words"),
    [
        (SEGMENTATION, SEMANTIC, ["table4"], "`rtseg instances compare`; here there are table1, table2, table3"),
        (STEREO, STAGES, ["table1"], "of `rtseg compare` or `rtseg instances compare`; here there are table6"),
        (SEGMENTATION, SEMANTIC, ["table5"], "Known: table1, table2, table3"),
        (SEGMENTATION, SEMANTIC, ["table2", "table2"], "--insert table2 is given twice"),
        (SEGMENTATION, {"high": FeatureInfo(64, 8)}, ["table2"], "rtformer_slim does not have the places of its rows"),
    ],
)
def test_tables_that_do_not_suit_are_refused(
    task: Task, places: dict[str, FeatureInfo], texts: list[str], words: str
) -> None:
    with pytest.raises(UserError) as refused:
        chosen(*texts, places=places, task=task)
    assert words in str(refused.value)


@pytest.mark.parametrize("task", [INSTANCES, STEREO], ids=lambda task: task.words[0])
def test_every_row_is_a_network(task: Task) -> None:
    """All rows of one model at once: what stands at one place changes no other."""
    with torch.device("meta"):
        places = places_of(task.create(task.model, None, {}))
        inserted: dict[str, tuple[str, ...]] = {}
        for row in chosen(*task.tables, places=places, task=task).rows:
            for place, texts in (row.insert or {}).items():
                inserted[place] = (*inserted.get(place, ()), *texts)
        task.create(task.model, inserted, {})
