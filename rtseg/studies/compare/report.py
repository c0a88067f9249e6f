"""What a comparison found: one row a network, its cost, its speed here and the paper's, its accuracy where trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtseg.deploy.device import device_line
from rtseg.output.table import Cell, Column, Table
from rtseg.speed.conditions import Conditions
from rtseg.speed.report import network_name
from rtseg.studies.compare.carry_out import RunScores
from rtseg.studies.compare.costs import Costs, Placed
from rtseg.studies.compare.insertions import Insertions
from rtseg.studies.compare.page import page
from rtseg.studies.compare.plot import plot
from rtseg.studies.compare.rows import Row, baseline
from rtseg.studies.compare.scores import Scores
from rtseg.studies.compare.speed import FIGURES, doubts, timing_of
from rtseg.studies.runs.recipe import Recipe
from rtseg.studies.runs.task import SEGMENTATION


def _ratio(timing: Mapping[str, Any] | None, of: Mapping[str, Any] | None) -> float | None:
    return timing["fps"] / of["fps"] if timing and of else None


@dataclass(frozen=True)
class Comparison:
    """Rows with all that was measured of them.

    Attributes:
        rows: the networks.
        speed: of `measure_speed`; networks by the row's name, None where the memory was not enough.
        recipe: of the trainings, None where nothing was trained.
        scores: (row, seed) -> those of `Training.score`.
        ratios: whether to show ratios of speed even if the machine was busy; the JSON has them in any case.
        insertions: where the rows differ in what is inserted.
        costs, positions: of attentions at places, where the first paper's Table 1 is asked for.
    """

    rows: Sequence[Row]
    speed: Mapping[str, Any]
    recipe: Recipe | None
    scores: RunScores
    ratios: bool = False
    insertions: Insertions | None = None
    costs: Costs | None = None
    positions: Sequence[Placed] = ()

    @property
    def trained(self) -> Scores:
        """What the trainings scored."""
        return Scores(SEGMENTATION.shown, self.scores)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "conditions": {**self.speed["conditions"], "protocol": self.speed["protocol"]},
            "busy": doubts(self.speed).busy(),
            "doubts": doubts(self.speed).every(),
            "recipe": self.recipe and self.recipe.to_dict(),
            "seed_noise": self.trained.noise(self.rows, "miou"),
            "places": self.costs and self.costs.to_dict(),
            "notes": list(self.insertions.notes) if self.insertions else [],
            "rows": [self._row(row) for row in self.rows],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        base = baseline(self.rows)
        network = self.speed["networks"][row.name]
        reference = self.speed["networks"][base.name]
        return {
            "name": row.name,
            "attention": row.attention,
            "options": dict(row.options),
            "insert": None if row.insert is None else {place: list(texts) for place, texts in row.insert.items()},
            "parameters": network and network["parameters"],
            "macs": network and network["macs"],
            "memory_bytes": network and network["peak_memory_bytes"],
            **{figure: timing_of(network, figure) for figure in FIGURES},
            "fps_ratio": {
                figure: _ratio(timing_of(network, figure), timing_of(reference, figure)) for figure in FIGURES
            },
            "refused": network and network["refused"],
            "best": network
            and network["best"]
            and {key: network["best"][key] for key in ("backend", "engine", "parity", "refused")},
            "paper": row.paper_fps
            and {
                "fps": row.paper_fps,
                "fps_ratio": row.paper_fps / base.paper_fps if base.paper_fps else None,
                "miou": row.paper_miou,
            },
            "paper_figures": [figure.to_dict() for figure in row.figures],
            "trained": self.trained.to_dict(row, base),
        }

    def drawn(self) -> list[dict[str, Any]]:
        """The rows for the plot: those of `to_dict`, without ratios where they are withheld."""
        rows = [self._row(row) for row in self.rows]
        return rows if self._shows_ratios() else [{**row, "fps_ratio": dict.fromkeys(FIGURES)} for row in rows]

    def table(self) -> Table:
        """A line a row."""
        best = self.speed["asked"]["best_backend"]
        columns = [
            Column("network", left=True, prose=True),
            Column("params", form="{:.3f} M", yields=4),
            Column("MACs", form="{:.3f} G", yields=3),
            Column("memory", form="{:.0f} MiB", optional=True, yields=3),
            *_speed_columns("eager"),
            *_speed_columns("alone", yields=6),
            *(_speed_columns("best", yields=1) if best else ()),
            Column("paper FPS", optional=True, yields=5),
            Column("paper times", form="{:.2f}", optional=True, yields=2),
            Column("paper mIoU", optional=True, yields=2),
            Column(SEGMENTATION.paper, left=True, optional=True, yields=2),
            *self.trained.columns(),
        ]
        asked = self.speed["asked"]
        height, width = asked["input_size"]
        what = "Attention compared"
        if self.insertions:
            what = f"Insertions compared in {network_name(asked['model'], self.rows[0].attention, {})}"
        title = f"{what}: image → class map, {height}x{width}, {asked['num_classes']} classes"
        return Table(title, columns, [self._line(row, own) for row, own in zip(self.rows, self.drawn(), strict=True)])

    def tables(self) -> list[Table]:
        """The rows, and the places of the first paper's Table 1 where that is asked for."""
        return [self.table(), *([self.costs.table(self.positions)] if self.costs else [])]

    def _shows_ratios(self) -> bool:
        return self.ratios or doubts(self.speed).busy() is None

    def _line(self, of: Row, row: Mapping[str, Any]) -> list[Cell]:
        mark = doubts(self.speed).mark(row["name"])
        cells: list[Cell] = [
            f"{row['name']} {mark}" if mark else row["name"],
            row["parameters"] and row["parameters"] / 1e6,
            row["macs"] and row["macs"] / 1e9,
            row["memory_bytes"] and row["memory_bytes"] / 2**20,
        ]
        for figure in self._figures():
            timing = row[figure]
            took = (
                (timing["median_ms"], timing["fps"]) if timing else ("refused" if _refusal(row, figure) else None, None)
            )
            cells += [*took, row["fps_ratio"][figure]]
        paper = row["paper"] or {}
        cells += [*(paper.get(key) for key in ("fps", "fps_ratio", "miou")), "; ".join(map(str, of.figures))]
        return cells + self.trained.cells(row["trained"])

    def _figures(self) -> list[str]:
        """Those of `FIGURES` that were asked for."""
        return [figure for figure in FIGURES if figure != "best_class_map" or self.speed["asked"]["best_backend"]]

    def _without_times(self) -> list[str]:
        """Why a row has none, a line each."""
        rows = [self._row(row) for row in self.rows]
        found = [f"{row['name']}: does not fit into memory" for row in rows if row["parameters"] is None]
        for row in rows:
            whys = {FIGURES[figure]: why for figure in self._figures() if (why := _refusal(row, figure))}
            found += [f"{row['name']}, {what}: refused: {why}" for what, why in whys.items()]
        return found

    def conditions(self) -> list[str]:
        """Under which conditions the figures hold, and what the columns mean."""
        c, asked = self.speed["conditions"], self.speed["asked"]
        height, width = asked["input_size"]
        best = asked["best_backend"]
        found = [
            f"speed: {height}x{width}, {asked['num_classes']} classes, batch 1, untrained; "
            f"PyTorch {c['torch']}; {device_line(c['device'])}; commit {c['git_commit'] or 'unknown'}, {c['date']}",
            *([Conditions.describe(c["timing"])] if "timing" in c else []),
            "eager: image → class map in PyTorch, float32, channels_last, BatchNorm folded; alone: the network of that"
            + (f"; best: image → class map on {best}{self._version()}, the fastest engine here" if best else ""),
            f"times: FPS over that of {baseline(self.rows).name}",
        ]
        if any(network and network["peak_memory_bytes"] for network in self.speed["networks"].values()):
            found.append("memory: the peak of eager PyTorch in a process of its own, weights and feature maps included")
        if any(row.paper_fps for row in self.rows):
            found.append(
                "paper: RTFormer's Table 3 as the paper states it, FPS of 512x512 on an RTX 2080 Ti, mIoU on ADE20K"
            )
        found += [*(self.insertions.notes if self.insertions else ()), *(self.costs.notes() if self.costs else ())]
        if self.recipe:
            recipe = self.recipe
            found.append(
                f"mIoU here: {' '.join([str(recipe.config), *recipe.flags])}, data {recipe.data}, "
                f"last of {recipe.epochs} epochs; {self.trained.spread(self.rows)}"
            )
            options = (recipe.to_dict()["config"].get("model") or {}).get("options")
            if options:
                found.append(f"trained with the configuration's model.options {options}, timed without them")
        return found

    def remarks(self) -> list[str]:
        """What has to be known to read the table: doubts, and why a row has no time."""
        repair = "remove speed.json from the folder and run again on a quiet machine"
        return doubts(self.speed).notes(ratios=self.ratios, repair=repair) + self._without_times()

    def _version(self) -> str:
        """Version of the best engine, in brackets; empty where nothing ran on it, or where it is PyTorch's own."""
        rows = (network["best"] for network in self.speed["networks"].values() if network)
        found = next((row for row in rows if row), None)
        version = found and found["engine"].get(found["engine"]["backend"])
        return f" ({version})" if version else ""

    def markdown(self) -> str:
        """The tables for a page, with the notes below them."""
        return page(self.tables(), [*self.conditions(), *self.remarks()])

    def svg(self) -> str:
        """Speed and scores, drawn."""
        return plot(self.drawn())


def _speed_columns(figure: str, yields: int = 0) -> list[Column]:
    return [
        Column(f"{figure} ms", form="{:.1f}", yields=yields),
        Column(f"{figure} FPS", form="{:.1f}", yields=yields),
        Column(f"{figure} times", form="{:.2f}", optional=True, yields=max(1, yields)),
    ]


def _refusal(row: Mapping[str, Any], figure: str) -> str | None:
    """Why a figure was not measured; None where it was, or where the network does not fit into memory."""
    if row["parameters"] is None or row[figure]:
        return None
    return row["best"]["refused"] if figure == "best_class_map" else row["refused"]
