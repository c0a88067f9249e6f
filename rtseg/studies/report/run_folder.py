"""What a training left in its folder, read without Lightning: log, config, model card, benchmark, images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.data.dataset import create_dataset, default_palette
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION
from rtseg.models.model_card import ModelCard
from rtseg.models.weights import read_weights
from rtseg.output.examples import NAMES
from rtseg.scores.saved import SavedScores, read_scores
from rtseg.speed.benchmark import Report
from rtseg.speed.tables import notes
from rtseg.studies.runs.metrics_log import MetricsLog, read_log
from rtseg.yaml_file import read_yaml

_MOST_SIDE = 2**20
_MASKS = 200  # label files that are counted, spread over the validation set
_IOU = "val/iou_"


@dataclass(frozen=True)
class ClassScore:
    """One class.

    Attributes:
        number: in class maps; of the alphabet's order without a checkpoint.
        color: as overlays show it.
        iou: at the best validation; NaN where the class neither occurs nor is predicted, None where nothing is logged.
        share: of the labelled pixels of the validation set, None where its label files are not at hand.
    """

    number: int
    name: str
    color: tuple[int, int, int]
    iou: float | None
    share: float | None

    @property
    def css(self) -> str:
        """The colour as CSS writes it."""
        return "#{:02x}{:02x}{:02x}".format(*self.color)


@dataclass(frozen=True)
class Run:
    """A training as its folder describes it. A value is None or empty where the folder does not say it.

    Attributes:
        checkpoint: best.ckpt, else last.ckpt.
        benchmark: conditions and figures of the one network that is this run's, from `benchmark_file`: benchmark.json
            of `rtseg benchmark`, else speed.json of the training's FPSMonitor.
        picture: the validation examples nearest to the best validation, else the last: a folder of
            `rtseg.output.examples`, or the grid (.jpg) of a run that has none.
        origin: where the training images come from, as the checkpoint or the data say; None where neither does.
        overlays: the predictions over images that `rtseg predict` wrote.
        scores: scores.json of `rtseg validate -o`, None where there is none.
        shares_note: where the classes' shares of the pixels were counted, or why they were not.
    """

    folder: Path
    log: MetricsLog
    config: dict[str, Any]
    checkpoint: Path | None
    card: ModelCard | None
    benchmark: Report | None
    benchmark_file: Path
    classes: tuple[ClassScore, ...]
    shares_note: str
    picture: Path | None
    overlays: tuple[Path, ...]
    origin: str | None
    scores: SavedScores | None = None

    @property
    def model(self) -> str:
        """The network's name."""
        return self.card.model if self.card else str(self.setting("model", "name") or "an unnamed network")

    @property
    def attention(self) -> str:
        """The attention's name, such as 'gfa+ca'; empty for a network without attention."""
        found = self.card.attention if self.card else str(self.setting("model", "attention") or "")
        return "" if found == NO_ATTENTION else found

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return str((self.card and self.card.dataset) or self.setting("data", "dataset") or "an unnamed data set")

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) at which FPSMonitor times the network."""
        card = self.card.input_size if self.card else None
        return self.size("fps", "input_size") or card or self.size("data", "crop_size")

    def size(self, *keys: str) -> tuple[int, int] | None:
        """A (height, width) of config.yaml, None where there is none."""
        match self.setting(*keys):
            case [int(height), int(width)] if 0 < height <= _MOST_SIDE and 0 < width <= _MOST_SIDE:
                return height, width
        return None

    def setting(self, *keys: str) -> Any:
        """A value of config.yaml, None where the key or the file is absent."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_run(folder: Path) -> Run:
    """Reads the folder that `rtseg fit --output` made. Nothing in it changes.

    Raises:
        UserError: the folder is not a training's, or a file in it is damaged or belongs to another network.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder; give the run folder that `rtseg fit --output` wrote")
    if not (folder / "metrics.csv").is_file():
        inside = sorted(path.parent for path in folder.glob("*/metrics.csv"))
        hint = f"did you mean '{inside[0]}'?" if inside else "give the folder that `rtseg fit --output` wrote"
        raise UserError(f"'{folder}' is not a run folder: it has no metrics.csv; found: {_listing(folder)}; {hint}")
    log = read_log(folder / "metrics.csv")
    config = _read_config(folder / "config.yaml")
    checkpoint = next((path for name in ("best", "last") if (path := folder / f"{name}.ckpt").is_file()), None)
    card = read_weights(checkpoint)[0] if checkpoint else None
    if not config and card is None:
        raise UserError(
            f"'{folder}' has metrics.csv but neither config.yaml nor best.ckpt nor last.ckpt, so nothing says which "
            f"network was trained; found: {_listing(folder)}. Put config.yaml back beside it"
        )
    model = config.get("model")
    own: tuple[Any, Any, int | None] = (None, None, None)
    if isinstance(model, dict):
        own = (model.get("name"), model.get("attention"), None)
    if card is not None:
        own = (card.model, card.attention, card.num_classes)
    shares, shares_note, origin = _read_data(config)
    classes = _class_scores(log, card, shares)
    if shares and not shares.keys() & {entry.name for entry in classes}:
        shares_note = f"the data set that config.yaml names has other classes ({', '.join(list(shares)[:5])}, …)"
    benchmarks = [folder / "benchmark.json", folder / "speed.json"]
    benchmark_file = next((file for file in benchmarks if file.is_file()), benchmarks[0])
    return Run(
        folder=folder,
        log=log,
        config=config,
        checkpoint=checkpoint,
        card=card,
        benchmark=_read_benchmark(benchmark_file, own),
        benchmark_file=benchmark_file,
        classes=classes,
        shares_note=shares_note,
        picture=_nearest_picture(folder / "pictures", log),
        overlays=tuple(sorted((folder / "predictions").rglob("*_overlay.jpg"))),
        origin=(card and card.data_origin) or origin,
        scores=_read_scores(folder / "scores.json", classes),
    )


def _listing(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    config = read_yaml(file)
    if not isinstance(config, dict):
        raise UserError(f"'{file}' has no settings; put the file back as training wrote it, or remove it")
    return config


def _read_benchmark(file: Path, own: tuple[Any, Any, int | None]) -> Report | None:
    """Conditions and figures of the network that is (model, attention, number of classes if known)."""
    if not file.is_file():
        return None
    try:
        report = Report.from_json(file.read_text())
        notes(report)  # asks for every condition that the page shows
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"'{file}' was not written by this version of rtseg ({type(error).__name__}: {error}); "
            "remove it and measure again"
        ) from None
    networks = [row for row in report.networks if row.class_map]
    mine = [row for row in report.networks if own in {(row.model, row.attention, n) for n in (row.num_classes, None)}]
    if not any(row.class_map for row in mine):
        others = "; ".join(f"{row.network_name}, {row.num_classes} classes" for row in networks)
        model, attention, num_classes = own
        trained = f"{model} {attention}" if attention != NO_ATTENTION else model
        raise UserError(
            f"'{file}' measured {others or 'no network'}, but this run trained {trained}"
            f"{'' if num_classes is None else f', {num_classes} classes'}; remove it and measure this run's checkpoint"
        )
    return Report(report.conditions, tuple(mine))


def _read_scores(file: Path, classes: Sequence[ClassScore]) -> SavedScores | None:
    """The scores of this run. Raises: UserError where they are of other classes."""
    if not file.is_file():
        return None
    found = read_scores(file)
    if classes and sorted(found.scores.names) != sorted(entry.name for entry in classes):
        raise UserError(
            f"'{file}' is of other classes ({', '.join(found.scores.names[:5])}, …) than this run; remove it and score "
            "this run's checkpoint"
        )
    return found


def _read_data(config: dict[str, Any]) -> tuple[dict[str, float], str, str | None]:
    """What the validation set tells, as far as it is at hand.

    Returns:
        Class name -> share of the labelled pixels; where that was counted, or why not; where the images come from.

    Data that are moved, removed or on another machine are no error: a report must not need them.
    """
    data = config.get("data")
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("dataset", "root")):
        return {}, "config.yaml does not name a data set", None
    try:
        dataset = create_dataset(data["dataset"], data["root"], "val", data.get("channels"))
        some = range(0, len(dataset), -(-len(dataset) // _MASKS))
        origin = dataset.origin
        counts = np.zeros(256, np.int64)
        for index in some:
            counts += np.bincount(dataset.mask(index).ravel(), minlength=256)
    except UserError as error:
        return {}, str(error), None
    names = dataset.labels.names
    total = counts[: len(names)].sum()
    files = f"all {len(some)}" if len(some) == len(dataset) else f"{len(some)} of the {len(dataset)}"
    shares = {name: float(counts[k] / total) for k, name in enumerate(names) if total}
    return shares, f"counted in {files} validation label files", origin


def _class_scores(log: MetricsLog, card: ModelCard | None, shares: dict[str, float]) -> tuple[ClassScore, ...]:
    """In the data set's order; without a checkpoint that says it, in that of the alphabet."""
    best = log.best or {}
    if card is not None:
        names = card.class_names or tuple(str(k) for k in range(card.num_classes))
    else:
        names = tuple(name.removeprefix(_IOU) for name in log.columns if name.startswith(_IOU))
    palette = distinct_colors((card and card.palette) or default_palette(len(names)))
    return tuple(
        ClassScore(k, name, color, best.get(_IOU + name), shares.get(name))
        for k, (name, color) in enumerate(zip(names, palette, strict=True))
    )


def _nearest_picture(folder: Path, log: MetricsLog) -> Path | None:
    """Images are numbered by finished steps, rows of the log by the step that was just made: one less."""
    grids = [path for path in folder.glob("step_*.jpg") if path.stem[5:].isdigit()]
    complete = [path.parent for path in folder.glob(f"step_*/{NAMES}") if path.parent.name[5:].isdigit()]
    steps = {int(path.stem[5:]): path for path in sorted(complete or grids)}
    if not steps:
        return None
    wanted = log.best["step"] + 1 if log.best else max(steps)
    return steps[min(steps, key=lambda step: abs(step - wanted))]
