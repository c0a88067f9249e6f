"""What inserted attentions cost at their places: measured apart from the network, and kept in `places.json`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rtseg.deploy.device import describe_device, device_line
from rtseg.layers.feature_info import FeatureInfo
from rtseg.output.folders import write_whole
from rtseg.output.table import Table
from rtseg.speed.conditions import Conditions
from rtseg.speed.machine import git_commit
from rtseg.speed.progress import told
from rtseg.studies.compare.kept import read_kept, say_kept
from rtseg.studies.places import PlaceCost, cost_table, measure_places
from rtseg.terminal import Console

_ROUNDS = 20  # of each map, at least
_Key = tuple[FeatureInfo, str]  # a map and an attention on it


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
        conditions: device, versions, commit and date; JSON types. What was added to a measurement has its own commit
            and date there, under "later".
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
        later = "".join(f"; more later: {_when(more)}" for more in c.get("later", ()))
        return [
            f"attention alone: float32, {height}x{width}; {Conditions.describe(c['timing'])}; PyTorch {c['torch']}; "
            f"{device_line(c['device'])}; {_when(c)}{later}"
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
    asked: Sequence[Placed],
    file: Path,
    size: tuple[int, int],
    limit: int,
    conditions: Conditions,
    console: Console,
) -> Costs:
    """Those of `file`, if they were measured on this machine as they would be now, and what is not among them: that is
    measured, and goes there.

    Args:
        limit: bytes that one attention may take.

    Raises:
        UserError: the file was not written by a comparison; see `measure_places`.
    """
    names: dict[FeatureInfo, str] = {}
    for place, info, _ in asked:
        names.setdefault(info, place)
    wanted = list(dict.fromkeys((info, attention) for _, info, attention in asked))
    settings = {
        "size": list(size),
        "limit": limit,
        "seconds": conditions.seconds,
        "device": describe_device(conditions.where)["name"],
        "threads": conditions.threads,
        "torch": torch.__version__,
    }
    # One run of a large map may take a second, so runs are few.
    few = replace(conditions, rounds=min(conditions.rounds, _ROUNDS))
    kept = read_kept(file, _parse)
    old = kept.costs if kept and kept.asked == settings else Costs((), size, limit, {})
    known = {(FeatureInfo(cost.channels, cost.stride), cost.attention): cost for cost in old.found}
    missing = [key for key in wanted if key not in known]
    if len(missing) < len(wanted):
        say_kept("costs", old.conditions, file, console)
    held = old.conditions or _conditions(few)
    if missing:
        with told("measuring attentions at their places", console):
            known |= _measure(missing, names, size, few, limit)
        if old.conditions:
            now = _conditions(few)
            held = {**held, "later": [*held.get("later", []), {key: now[key] for key in ("git_commit", "date")}]}
        whole = Costs(tuple(known.values()), size, limit, held)
        write_whole(file, json.dumps({"asked": settings, **whole.to_dict()}) + "\n")
    return Costs(tuple(replace(known[key], place=names[key[0]]) for key in wanted), size, limit, held)


def _measure(
    keys: Iterable[_Key], names: Mapping[FeatureInfo, str], size: tuple[int, int], conditions: Conditions, limit: int
) -> dict[_Key, PlaceCost]:
    """Attentions of the same maps take turns."""
    maps: dict[str, list[FeatureInfo]] = {}  # by attention
    for info, attention in keys:
        maps.setdefault(attention, []).append(info)
    together: dict[frozenset[FeatureInfo], list[str]] = {}
    for attention, infos in maps.items():
        together.setdefault(frozenset(infos), []).append(attention)
    found: list[PlaceCost] = []
    for attentions in together.values():
        places = {names[info]: info for info in maps[attentions[0]]}
        found += measure_places(places, attentions, size, conditions, limit)
    return {(FeatureInfo(cost.channels, cost.stride), cost.attention): cost for cost in found}


def _when(conditions: Mapping[str, Any]) -> str:
    return f"commit {conditions['git_commit'] or 'unknown'}, {conditions['date']}"


def _conditions(conditions: Conditions) -> dict[str, Any]:
    threads = conditions.threads or torch.get_num_threads()
    return {
        "device": describe_device(conditions.where),
        "timing": replace(conditions, threads=threads).to_dict(),
        "torch": torch.__version__,
        "git_commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class _Kept(NamedTuple):
    """The file: how its costs were measured, and all of them."""

    asked: Mapping[str, Any]
    costs: Costs


def _parse(kept: Mapping[str, Any]) -> _Kept:
    costs = Costs(tuple(map(_cost, kept["costs"])), kept["size"], kept["limit"], kept["conditions"])
    return _Kept(kept["asked"], costs)


def _cost(kept: Mapping[str, Any]) -> PlaceCost:
    sizes = {key: tuple(kept[key]) for key in ("map_size", "largest") if kept[key] is not None}
    return PlaceCost(**{**kept, **sizes})
