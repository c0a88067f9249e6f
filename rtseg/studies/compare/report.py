"""What a comparison found: one row a network, its cost, its speed here and the paper's, its accuracy where trained."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from rtseg.errors import UserError
from rtseg.studies.compare.recipe import Recipe
from rtseg.studies.compare.rows import Row, baseline

_FIGURES = {"class_map": "class map", "network": "network", "best_class_map": "class map, best engine"}
_FEW = 20  # runs behind a figure; below, its median says little


def read_speed(file: Path) -> dict[str, Any] | None:
    """The measurement that a comparison wrote, None where there is no file.

    Raises:
        UserError: the file was not written by a comparison.
    """
    if not file.is_file():
        return None
    try:
        speed = json.loads(file.read_text())
        if not {"asked", "conditions", "networks", "doubts"} <= speed.keys():
            raise ValueError("entries are missing")
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"'{file}' was not written by `rtseg compare` ({error}): remove it, or choose another -o"
        ) from None
    return speed


def doubts(speed: Mapping[str, Any]) -> list[str]:
    """Why the figures of a measurement may not repeat: those that it named itself, and figures of few runs."""
    few = [
        f"{name} ({what}: {timing['iterations']})"
        for name, network in speed["networks"].items()
        for figure, what in _FIGURES.items()
        if (timing := _timing(network, figure)) and timing["iterations"] < _FEW
    ]
    return [*speed["doubts"], *([f"fewer than {_FEW} runs: {', '.join(few)}; give more --seconds"] if few else [])]


def _timing(network: Mapping[str, Any] | None, figure: str) -> dict[str, Any] | None:
    """Of one of `_FIGURES`; None where it was not measured."""
    if network is None:
        return None
    if figure == "best_class_map":
        return network["best"] and network["best"]["class_map"]
    return network[figure]


def _ratio(timing: Mapping[str, Any] | None, of: Mapping[str, Any] | None) -> float | None:
    return timing["fps"] / of["fps"] if timing and of else None


@dataclass(frozen=True)
class Comparison:
    """Rows with all that was measured of them.

    Attributes:
        rows: the networks.
        speed: of `read_speed`; networks by the row's name, None where the memory was not enough.
        recipe: of the trainings, None where nothing was trained.
        scores: (row, seed) -> `Training.score()`.
    """

    rows: Sequence[Row]
    speed: Mapping[str, Any]
    recipe: Recipe | None
    scores: Mapping[tuple[Row, int], Mapping[str, float]]

    def mious(self, row: Row) -> list[float]:
        """Measured, one a seed."""
        return [score["miou"] for (own, _), score in self.scores.items() if own == row]

    def seed_noise(self) -> float | None:
        """Standard deviation of the mIoU between seeds, pooled over all rows; None where no row has two seeds."""
        spreads = [stdev(values) for row in self.rows if len(values := self.mious(row)) > 1]
        return math.sqrt(mean(spread**2 for spread in spreads)) if spreads else None

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "conditions": {**self.speed["conditions"], "protocol": self.speed["protocol"]},
            "doubts": doubts(self.speed),
            "recipe": self.recipe and self.recipe.to_dict(),
            "seed_noise": self.seed_noise(),
            "rows": [self._row(row) for row in self.rows],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        base = baseline(self.rows)
        network, mious, base_mious = self.speed["networks"][row.name], self.mious(row), self.mious(base)
        reference = self.speed["networks"][base.name]
        return {
            "name": row.name,
            "attention": row.attention,
            "options": dict(row.options),
            "parameters": network and network["parameters"],
            "macs": network and network["macs"],
            **{figure: _timing(network, figure) for figure in _FIGURES},
            "fps_ratio": {figure: _ratio(_timing(network, figure), _timing(reference, figure)) for figure in _FIGURES},
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
            "trained": {
                "miou": mean(mious),
                "miou_difference": mean(mious) - mean(base_mious) if base_mious else None,
                "seeds": {seed: dict(score) for (own, seed), score in self.scores.items() if own == row},
            }
            if mious
            else None,
        }

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        headings = ["network", "params", "MACs"]
        headings += ["picture → class map", "class map FPS", "class map ratio"]
        headings += ["network alone", "alone FPS", "alone ratio"]
        best = self.speed["asked"]["best_backend"]
        headings += [f"class map, {best}", "best FPS", "best ratio"] if best else []
        paper = any(row.paper_fps for row in self.rows)
        headings += ["paper FPS", "paper ratio", "paper mIoU"] if paper else []
        headings += ["mIoU here", "each seed", "difference"] if self.scores else []
        lines = []
        for row in map(self._row, self.rows):
            cells = [row["name"]]
            if row["parameters"] is None:
                cells += ["does not fit into memory", *[""] * (10 if best else 7)]
            else:
                cells += [f"{row['parameters'] / 1e6:.3f} M", f"{row['macs'] / 1e9:.3f} G"]
                for figure in [figure for figure in _FIGURES if best or figure != "best_class_map"]:
                    timing, ratio = row[figure], row["fps_ratio"][figure]
                    if timing:
                        cells += [f"{timing['median_ms']:.1f} ms", f"{timing['fps']:.1f}"]
                    else:
                        why = row["best"]["refused"] if figure == "best_class_map" else row["refused"]
                        cells += [f"refused: {why}", ""]
                    cells.append(f"{ratio:.2f}" if ratio else "")
            if paper:
                found = row["paper"]
                ratio = found and found["fps_ratio"] and f"{found['fps_ratio']:.2f}"
                cells += [f"{found['fps']}", ratio or "", f"{found['miou']}"] if found else [""] * 3
            if self.scores:
                found = row["trained"]
                each = ", ".join(f"{score['miou']:.4f}" for score in found["seeds"].values()) if found else ""
                off = found and found["miou_difference"]
                cells += [f"{found['miou']:.4f}", each, "" if off is None else f"{off:+.4f}"] if found else [""] * 3
            lines.append(cells)
        return headings, lines

    def notes(self) -> list[str]:
        """Under which conditions the figures hold."""
        c, asked = self.speed["conditions"], self.speed["asked"]
        device, (height, width) = c["device"], asked["input_size"]
        best = asked["best_backend"]
        machine = ", ".join(f"{key} {value}" for key, value in device.items() if key != "name" and value is not None)
        engines = "eager float32, channels_last, BatchNorm folded" + (f", and {best}{self._version()}" if best else "")
        found = [
            f"speed: {height}x{width}, {asked['num_classes']} classes, batch 1, untrained, {engines}, "
            f"PyTorch {c['torch']}; {device['name']}, {machine}; commit {c['git_commit'] or 'unknown'}, {c['date']}",
            f"ratio: FPS over that of {baseline(self.rows).name}",
        ]
        if any(row.paper_fps for row in self.rows):
            found.append(
                "paper: RTFormer's Table 3 as the paper states it, FPS of 512x512 on an RTX 2080 Ti, mIoU on ADE20K"
            )
        if self.recipe:
            noise = self.seed_noise()
            spread = "one seed a row, so the noise between seeds is unknown"
            if noise is not None:
                each = min(n for row in self.rows if (n := len(self.mious(row))))
                error = noise * math.sqrt(2 / each)
                spread = (
                    f"between seeds the standard deviation is {noise:.4f} (pooled over the rows), so that of a "
                    f"difference between two rows of {each} seeds is {error:.4f}"
                )
            recipe = self.recipe
            found.append(
                f"mIoU here: {' '.join([str(recipe.config), *recipe.flags])}, data {recipe.data}, "
                f"last of {recipe.epochs} epochs; {spread}"
            )
            options = (recipe.to_dict()["config"].get("model") or {}).get("options")
            if options:
                found.append(f"trained with the configuration's model.options {options}, timed without them")
        return found + [f"doubt: {doubt}" for doubt in doubts(self.speed)]

    def _version(self) -> str:
        """Of the best engine, in brackets; empty where nothing ran on it, or where it is PyTorch's own."""
        rows = (network["best"] for network in self.speed["networks"].values() if network)
        found = next((row for row in rows if row), None)
        version = found and found["engine"].get(found["engine"]["backend"])
        return f" ({version})" if version else ""

    def table(self) -> Table:
        """For people."""
        table = Table(title="Attention, compared", caption="\n".join(self.notes()), caption_justify="left")
        headings, lines = self._cells()
        for i, heading in enumerate(headings):
            table.add_column(heading, justify="right" if i else "left", overflow="fold")
        for cells in lines:
            table.add_row(*cells)
        return table

    def markdown(self) -> str:
        """The same table, for a page."""
        headings, lines = self._cells()
        rule = ["---", *["---:"] * (len(headings) - 1)]
        text = "".join(f"| {' | '.join(cells)} |\n" for cells in (headings, rule, *lines))
        return text + "\n" + "".join(f"- {note}\n" for note in self.notes())
