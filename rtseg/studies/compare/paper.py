"""Rows of the first paper's tables (Shen et al., https://arxiv.org/abs/1812.01243), for the places of any network.

Tables 1 to 4 are of Mask R-CNN on COCO 2017, Table 6 is of PSMNet on Scene Flow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rtseg.layers.feature_info import FeatureInfo

FA, NL = "fa:basis=64:heads=1", "nl:basis=64:heads=1"  # the paper's settings, unless a row says otherwise
_SCHEME = ("res_3", "res_4", "fpn_all")
_LEVELS = {"fpn_all": "fpn.*", "fpn_1234": "fpn.p[2-5]"}  # of the pyramid, as a pattern of places
_FIRST = ("fpn.p2", "fpn.p3", "fpn.p4", "fpn.p5")


@dataclass(frozen=True)
class PaperRow:
    """One line of a table.

    Attributes:
        name: as the paper has it.
        scores: the paper's, by the names of ours, AP in per cent; empty where it has none.
        places: the paper's names of places, or a network's own; none where nothing is inserted.
        said: in place of a score, such as "OOM".
        model: the network, where the table has several.
    """

    table: int
    name: str
    scores: Mapping[str, float] = field(hash=False)
    places: tuple[str, ...] = ()
    attention: str = FA
    said: str = "-"
    model: str | None = None

    def __str__(self) -> str:
        return f"{' / '.join(map(str, self.scores.values())) or self.said} (Table {self.table}, {self.name})"

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {"table": self.table, "row": self.name, "scores": dict(self.scores), "said": self.said}

    def insert(self, places: Mapping[str, FeatureInfo]) -> dict[str, tuple[str, ...]] | None:
        """The row's insertion in a network with these places; None where one of the paper's is missing there."""
        own = [own_place(place, places) for place in self.places]
        found = [place for place in own if place]
        return {place: (self.attention,) for place in found} if len(found) == len(own) else None


def own_place(name: str, places: Mapping[str, FeatureInfo]) -> str | None:
    """A place, or pattern of places, of a network for one of the paper; None where it has none.

    res_3 and res_4 are the last maps of strides 16 and 32 before the pyramid, fpn_1 to fpn_5 its levels of strides 4
    to 64. A network's own name stays.
    """
    levels = {info.stride: place for place, info in places.items() if place.startswith("fpn.")}
    stages = {info.stride: place for place, info in places.items() if not place.startswith("fpn.")}
    if name in _LEVELS:
        return _LEVELS[name] if levels and (name == "fpn_all" or {*_FIRST} <= places.keys()) else None
    kind, _, number = name.partition("_")
    if kind in ("res", "fpn") and number.isdigit():
        return (levels if kind == "fpn" else stages).get(2 ** (int(number) + 1))
    return name if name in places else None


def _coco(table: int, name: str, box_ap: float, mask_ap: float, *places: str, attention: str = FA) -> PaperRow:
    return PaperRow(table, name, {"box_ap": box_ap, "mask_ap": mask_ap}, places, attention)


def _body(name: str, model: str, box_ap: float, mask_ap: float, *places: str) -> PaperRow:
    return PaperRow(4, name, {"box_ap": box_ap, "mask_ap": mask_ap}, places, model=f"mask_rcnn_{model}")


TABLES = {
    "table1": (
        _coco(1, "None", 39.4, 35.1),
        _coco(1, "res_3", 40.2, 36.0, "res_3"),
        _coco(1, "res_4", 39.1, 34.8, "res_4"),
        _coco(1, "fpn_1", 39.9, 35.8, "fpn_1"),
        _coco(1, "fpn_2", 39.7, 35.7, "fpn_2"),
        _coco(1, "fpn_3", 39.7, 35.5, "fpn_3"),
        _coco(1, "fpn_4", 39.7, 35.4, "fpn_4"),
        _coco(1, "fpn_5", 39.6, 35.3, "fpn_5"),
        _coco(1, "fpn_all", 40.6, 36.2, "fpn_all"),
        _coco(1, "fpn_1,2,3,4, res_3", 40.6, 36.1, "res_3", "fpn_1234"),
        _coco(1, "fpn_all, res_3,4", 41.2, 36.7, *_SCHEME),
    ),
    "table2": (
        _coco(2, "32", 40.4, 36.1, *_SCHEME, attention="fa:basis=32:heads=1"),
        _coco(2, "64", 40.6, 36.2, *_SCHEME),
        _coco(2, "128", 40.3, 36.1, *_SCHEME, attention="fa:basis=128:heads=1"),
    ),
    "table3": (
        # Named in the text, and without a figure.
        PaperRow(3, "scaled dot-product", {}, _SCHEME, "fa:kind=dot:basis=64:heads=1"),
        _coco(3, "Gaussian", 41.2, 36.7, *_SCHEME),
        _coco(3, "2-head", 41.0, 36.5, *_SCHEME, attention="fa:basis=64:heads=2"),
        _coco(3, "4-head", 40.7, 36.1, *_SCHEME, attention="fa:basis=64:heads=4"),
        _coco(3, "8-head", 40.7, 36.0, *_SCHEME, attention="fa:basis=64:heads=8"),
    ),
    "table4": (
        _body("ResNet50", "resnet50", 39.4, 35.1),
        _body("ResNet50 with FA", "resnet50", 41.2, 36.7, *_SCHEME),
        _body("ResNet101", "resnet101", 41.3, 36.6),
        _body("ResNet101 with FA", "resnet101", 43.1, 37.9, *_SCHEME),
        _body("ResNeXt101", "resnext101_32x8d", 43.5, 38.5),
        _body("ResNeXt101 with FA", "resnext101_32x8d", 44.9, 39.5, *_SCHEME),
    ),
    "table6": (
        PaperRow(6, "PSMNet (original)", {"epe": 1.09}),
        PaperRow(6, "PSMNet (baseline)", {"epe": 0.513}),
        PaperRow(6, "FA-PSMNet", {"epe": 0.477}, ("layer4",)),
        PaperRow(6, "Nonlocal-PSMNet", {}, ("layer4",), NL, said="OOM"),
    ),
}
"""Name of a preset -> its rows. Table 4 prints the differences with FA; their sums stand here."""

POSITIONS = ("res_3", "res_4", "fpn_1", "fpn_2", "fpn_3", "fpn_4", "fpn_5")  # those of Table 1 that are one place


def notes(rows: set[PaperRow], places: Mapping[str, FeatureInfo]) -> list[str]:
    """What has to be known of the paper's figures that are shown."""
    tables = {row.table for row in rows}
    found = []
    if tables & {1, 2, 3, 4}:
        found.append(
            "the paper: Shen et al. (1812.01243), box AP / mask AP of Mask R-CNN on COCO 2017, in per cent, with "
            "ResNet-50 unless Table 4 says another; another training than those here"
        )
    if 6 in tables:
        found.append("the paper: Shen et al. (1812.01243), end-point error on Scene Flow, of its own training")
    if 2 in tables:
        found.append(
            "Table 2 names the scheme fpn_all, res_3,4 for all of its rows, but its figures for 64 are those of "
            "fpn_all alone in Table 1; with res_3,4 Table 1 has 41.2 / 36.7"
        )
    if 4 in tables:
        found.append("Table 4: with FA ResNeXt101 has 44.9 box AP here, and 45.9 in the paper's Table 5")
    if any("fpn_all" in row.places for row in rows) and "fpn.p6" not in places:
        found.append("fpn_all: the paper's has a fifth level of stride 64, which this network does not have")
    return found
