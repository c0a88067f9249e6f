"""What inserted attentions cost at their places: measured apart from the network, and kept in `places.json`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rtseg.deploy.device import describe_device, device_line
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.output.folders import write_whole
from rtseg.output.table import Table
from rtseg.speed.conditions import Conditions
from rtseg.speed.machine import git_commit
from rtseg.speed.progress import told
from rtseg.studies.places import PlaceCost, cost_table, measure_places
from rtseg.terminal import Console

_ROUNDS = 20  # of each map, at least


class Placed(NamedTuple):
    """An attention at a place of a network."""

    place: str
    info: FeatureInfo
    attention: str


class Added(NamedTuple):
    """What an insertion adds to a network, for one sample.

    Attributes:
        macs: multiply-adds; None where an attention does not know them.
        peak_bytes: the largest of its attentions'.
        measured: whether that peak is measured; otherwise it is computed.
        median_ms: the sum over them; None where one was not run.
    """

    parameters: int
    macs: int | None
    peak_bytes: int
    measured: bool
    median_ms: float | None


@dataclass(frozen=True)
class Costs:
    """Attentions on maps, by what the maps are like: two places with equal maps have one cost.

    Attributes:
        size: (height, width) of the image.
        limit: bytes that one attention may take.
        conditions: device, versions, commit and date; JSON types.
    """

    found: tuple[PlaceCost, ...]
    size: tuple[int, int]
    limit: int
    conditions: Mapping[str, Any]

    def of(self, info: FeatureInfo, attention: str) -> PlaceCost:
        """The cost of one attention on one map."""
        wanted = (info.channels, info.stride, attention)
        return next(cost for cost in self.found if (cost.channels, cost.stride, cost.attention) == wanted)

    def added(self, inserted: Sequence[Placed], images: int) -> Added:
        """What all of this adds.

        Args:
            images: of one sample, that each place sees.
        """
        costs = [self.of(info, attention) for _, info, attention in inserted]
        macs = [cost.macs for cost in costs if cost.macs is not None]
        times = [cost.median_ms for cost in costs if cost.median_ms is not None]
        largest = max(costs, key=lambda cost: cost.peak_bytes, default=None)
        return Added(
            sum(cost.parameters for cost in costs),
            images * sum(macs) if len(macs) == len(costs) else None,
            largest.peak_bytes if largest else 0,
            largest.measured if largest else True,
            images * sum(times) if len(times) == len(costs) else None,
        )

    def table(self, placed: Iterable[Placed]) -> Table:
        """A line for each, with its name of the place."""
        shown = [replace(self.of(info, attention), place=place) for place, info, attention in placed]
        return cost_table(shown, self.size, self.limit)

    def notes(self) -> list[str]:
        """Under which conditions the figures hold; nothing where nothing was measured."""
        if not self.found:
            return []
        c = self.conditions
        height, width = self.size
        return [
            f"attention alone: float32, {height}x{width}; {Conditions.describe(c['timing'])}; PyTorch {c['torch']}; "
            f"{device_line(c['device'])}; commit {c['git_commit'] or 'unknown'}, {c['date']}"
        ]

    def reasons(self, shown: Iterable[Placed]) -> list[str]:
        """Why attentions were not run, a line each; those of `shown` are left out, since their table says it."""
        listed = {id(self.of(info, attention)) for _, info, attention in shown}
        left = [cost for cost in self.found if cost.reason and id(cost) not in listed]
        return [f"{cost.attention} at {cost.place}: {cost.reason}" for cost in left]

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        costs = [asdict(cost) for cost in self.found]
        return {"size": list(self.size), "limit": self.limit, "conditions": dict(self.conditions), "costs": costs}


def measure_costs(
    asked: Iterable[Placed],
    file: Path,
    size: tuple[int, int],
    limit: int,
    conditions: Conditions,
    console: Console,
) -> Costs:
    """The measurement in `file`, if it is of these maps on this machine, else a new one, which goes there.

    Args:
        limit: bytes that one attention may take.

    Raises:
        UserError: the file was not written by a comparison; see `measure_places`.
    """
    names: dict[FeatureInfo, str] = {}
    maps: dict[str, list[FeatureInfo]] = {}  # by attention
    for place, info, attention in asked:
        names.setdefault(info, place)
        if info not in maps.setdefault(attention, []):
            maps[attention].append(info)
    wanted = {
        "maps": {attention: [list(info) for info in infos] for attention, infos in maps.items()},
        "size": list(size),
        "limit": limit,
        "seconds": conditions.seconds,
        "device": describe_device(conditions.where)["name"],
        "threads": conditions.threads,
        "torch": torch.__version__,
    }
    if (kept := _read(file)) and kept["asked"] == wanted:
        if maps:
            of = kept["conditions"]
            console.print(
                f"costs as measured on {of['date']}, commit {of['git_commit'] or 'unknown'}; "
                f"to measure them again, remove {file}",
                soft_wrap=True,
            )
        return Costs(tuple(map(_cost, kept["costs"])), size, limit, kept["conditions"])
    # One run of a large map may take a second, so runs are few.
    few = replace(conditions, rounds=min(conditions.rounds, _ROUNDS))
    together: dict[frozenset[FeatureInfo], list[str]] = {}
    for attention, infos in maps.items():
        together.setdefault(frozenset(infos), []).append(attention)
    found: list[PlaceCost] = []
    with told("measuring attentions at their places", console):
        for attentions in together.values():
            places = {names[info]: info for info in maps[attentions[0]]}
            found += measure_places(places, attentions, size, few, limit)
    costs = Costs(tuple(found), size, limit, _conditions(few))
    write_whole(file, json.dumps({"asked": wanted, **costs.to_dict()}) + "\n")
    return costs


def _conditions(conditions: Conditions) -> dict[str, Any]:
    threads = conditions.threads or torch.get_num_threads()
    return {
        "device": describe_device(conditions.where),
        "timing": replace(conditions, threads=threads).to_dict(),
        "torch": torch.__version__,
        "git_commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _read(file: Path) -> dict[str, Any] | None:
    """What was kept, None where there is no file. Raises: UserError where it is damaged."""
    if not file.is_file():
        return None
    try:
        kept: dict[str, Any] = json.loads(file.read_text())
        list(map(_cost, kept["costs"]))
        if not {"asked", "conditions"} <= kept.keys():
            raise ValueError("entries are missing")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"'{file}' was not written by a comparison ({error}): remove it, or choose another -o"
        ) from None
    return kept


def _cost(kept: Mapping[str, Any]) -> PlaceCost:
    sizes = {key: tuple(kept[key]) for key in ("map_size", "largest") if kept[key] is not None}
    return PlaceCost(**{**kept, **sizes})
