"""The card of a weight file: enough to rebuild the network, normalise its input and name its classes."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rtseg.checks import is_bounded
from rtseg.data.header import MOST_CHANNELS
from rtseg.errors import UserError
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD
from rtseg.registry import suggest

PARTS = ("segmenter", "backbone", "classifier", "detector", "stereo")
UPSAMPLINGS = ("once", "twice")
MOST_CLASSES = 65535  # what a label file of 16 bits can tell apart; also the longest side of an image
LONGEST_RESIZE = 8192  # a small image would be enlarged to it
LONGEST_TEXT = 500
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TEXT = f"of at most {LONGEST_TEXT} characters, without control characters"
_NUMBERS = {1: "one", 3: "three"}
_AT_MOST = f"at most {MOST_CLASSES}"


@dataclass(frozen=True)
class ModelCard:
    """The description that travels with weights, as `config.json` or inside a checkpoint; plain JSON types once through
    `to_dict`.

    Attributes:
        model, attention, options: what `create_model` was called with; "none" where the model has no attention.
        class_names, palette: name and RGB colour (0..255) of class 0..K-1.
        ids: class k is written ids[k] in the data set's own label files.
        ignore_index: value of the training masks that is ignored.
        mean, std: normalisation of each channel in units of 1, such as RGB in 0..1.
        channels: that images have, at the full depth of their files (`rtseg.data.channels`); None: RGB of 8 bits.
        shown: the three channels that overlays show as red, green and blue; None: see `shown_channels`.
        input_size: (height, width) that it was trained at, if known.
        eval_resize: (short side, long side) that the data set's evaluation resizes images to before the network, if
            it does; a deployed network does the same.
        insert: place -> attentions that are inserted there, see `rtseg.attention.insertion`.
        upsampling: how logits reach the image's size where evaluation resizes it: "once", straight from the head's
            stride; or "twice", to the size that the network saw and from there, PaddleSeg's rule.
        dataset, source: where the classes and the weights come from.
        data_origin: where the training images come from, if their folder says so: drawn scenes are not photographs.
        plugins: what must be loaded to rebuild the network, as `rtseg.plugins.loaded_plugins` calls them.
        head: name of a segmenter's head; None: the model's own.
        license: of the weights, as their source states it, such as "Apache-2.0".
        miou: in per cent, on the validation images of `dataset`: of a checkpoint by its training, of published weights
            by their publisher. None where nobody states it.
        part: what the weights belong to, one of `PARTS`. A backbone's classes are those that it was pre-trained for.
    """

    model: str
    attention: str
    num_classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ids: tuple[int, ...] = ()
    ignore_index: int = 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_size: tuple[int, int] | None = None
    eval_resize: tuple[int, int] | None = None
    dataset: str | None = None
    data_origin: str | None = None
    source: str | None = None
    part: str = "segmenter"
    plugins: tuple[str, ...] = ()
    head: str | None = None
    license: str | None = None
    miou: float | None = None
    upsampling: str = "once"
    insert: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    channels: int | None = None
    shown: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # JSON's lists become tuples, so that a card equals the one that was saved
            object.__setattr__(self, f.name, _frozen(getattr(self, f.name)))
        number = self.in_channels if self.channels is None or _whole(self.channels, 1, MOST_CHANNELS) else 1
        widest = 1e3 if self.channels is None else 1e9  # floats keep the numbers of their files
        side = f"of whole numbers from 1 to {MOST_CLASSES}"
        rules = {
            "model": (_is_text(self.model), "a name"),
            "attention": (_is_text(self.attention), "a text such as 'gfa+ca'"),
            "num_classes": (_whole(self.num_classes, 1, MOST_CLASSES), f"a whole number of at least 1, {_AT_MOST}"),
            "options": (isinstance(self.options, Mapping) and _is_option(self.options), "options by name"),
            "class_names": (_each(self.class_names, _is_text), f"a list of names, {_TEXT}"),
            "palette": (_each(self.palette, _is_colour), "a list of [red, green, blue], each 0..255"),
            "ids": (
                _each(self.ids, lambda v: _whole(v, 0, MOST_CLASSES)) and len(set(self.ids)) == len(self.ids),
                f"a list of whole numbers from 0 to {MOST_CLASSES}, each one once: label files hold 16 bits",
            ),
            "ignore_index": (_whole(self.ignore_index, -MOST_CLASSES, MOST_CLASSES), f"a whole number, {_AT_MOST}"),
            "channels": (
                self.channels is None or _whole(self.channels, 1, MOST_CHANNELS),
                f"a whole number from 1 to {MOST_CHANNELS}, or null for RGB of 8 bits",
            ),
            "mean": (
                _each(self.mean, lambda v: _is_number(v, -widest, widest), number),
                f"{_NUMBERS.get(number, number)} numbers from {-widest:.0f} to {widest:.0f}",
            ),
            "std": (
                _each(self.std, lambda v: _is_number(v, 1e-6, widest), number),
                f"{_NUMBERS.get(number, number)} numbers above 0, from 1e-6 to {widest:.0f}",
            ),
            "shown": (
                self.shown is None or _each(self.shown, lambda v: _whole(v, 0, number - 1), 3),
                f"three channels of 0 to {number - 1}",
            ),
            "input_size": (_is_size(self.input_size, MOST_CLASSES), f"[height, width] {side}"),
            "eval_resize": (
                _is_size(self.eval_resize, LONGEST_RESIZE),
                f"[short side, long side] of whole numbers from 1 to {LONGEST_RESIZE}",
            ),
            "dataset": (self.dataset is None or _is_text(self.dataset), f"a name, {_TEXT}"),
            "data_origin": (self.data_origin is None or _is_text(self.data_origin), f"a text {_TEXT}"),
            "source": (self.source is None or _is_text(self.source, 2000), "a text without control characters"),
            "insert": (_is_insertion(self.insert), "attentions by place, as in {'layer3': ['fa']}"),
            "upsampling": (self.upsampling in UPSAMPLINGS, f"one of {', '.join(UPSAMPLINGS)}"),
            "part": (self.part in PARTS, f"one of {', '.join(PARTS)}"),
            "head": (self.head is None or _is_text(self.head), "a name, or null for the model's own"),
            "license": (self.license is None or _is_text(self.license), f"a name, {_TEXT}"),
            "miou": (self.miou is None or _is_number(self.miou, 0, 100), "a number of per cent, from 0 to 100"),
            "plugins": (_each(self.plugins, _is_text), "a list of files and modules"),
        }
        for name, (fits, kind) in rules.items():
            if not fits:
                raise UserError(f"model card: {name}={_short(getattr(self, name))} must be {kind}")
        for name in ("class_names", "palette", "ids"):
            have = len(getattr(self, name))
            if have not in (0, self.num_classes):
                raise UserError(
                    f"model card: {have} entries in '{name}' for num_classes={self.num_classes}; give one a class"
                )

    @property
    def in_channels(self) -> int:
        """How many channels the network takes."""
        return 3 if self.channels is None else self.channels

    @property
    def shown_channels(self) -> tuple[int, int, int]:
        """`shown`, or where it is None the first three channels, and of one or two the first alone."""
        return self.shown or ((0, 1, 2) if self.in_channels >= 3 else (0, 0, 0))

    def to_dict(self) -> dict[str, Any]:
        """Lists, strings, numbers and dictionaries only: JSON, and `torch.load(weights_only=True)`, take it."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            UserError: a key is unknown, one of model, attention, num_classes is missing, or a value is of the wrong
                kind.
        """
        if not isinstance(card, dict):
            raise UserError(f"model card: a {type(card).__name__} is not a card; is this file written by rtseg?")
        if not is_bounded(card, depth=8, entries=1_000_000):
            raise UserError("model card: it is nested too deeply, or holds more than a million entries")
        known = {f.name for f in dataclasses.fields(cls)}
        for key in card:
            if key not in known:
                raise UserError(f"model card: unknown key {_short(key)}.{suggest(key, known)}")
        missing = [key for key in ("model", "attention", "num_classes") if key not in card]
        if missing:
            raise UserError(f"model card: {', '.join(missing)} missing; is this file written by rtseg?")
        return cls(**card)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _frozen(entry) for key, entry in value.items()}
    return tuple(_frozen(entry) for entry in value) if isinstance(value, (tuple, list)) else value


def _each(values: Any, fits: Callable[[Any], bool], count: int | None = None) -> bool:
    return isinstance(values, tuple) and len(values) == (count or len(values)) and all(map(fits, values))


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_size(value: Any, most: int) -> bool:
    return value is None or _each(value, lambda side: _whole(side, 1, most), 2)


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_colour(value: Any) -> bool:
    return _each(value, lambda level: _whole(level, 0, 255), 3)


def _is_text(value: Any, longest: int = LONGEST_TEXT) -> bool:
    return isinstance(value, str) and len(value) <= longest and not _CONTROL.search(value)


def _is_insertion(value: Any) -> bool:
    fits = isinstance(value, Mapping) and all(map(_is_text, value))
    return fits and all(isinstance(texts, tuple) and texts and all(map(_is_text, texts)) for texts in value.values())


def _is_option(value: Any) -> bool:
    """Plain JSON of moderate size; its depth is known to be bounded."""
    if isinstance(value, Mapping):
        return all(_is_text(key) and _is_option(inner) for key, inner in value.items())
    if isinstance(value, tuple):
        return all(map(_is_option, value))
    if value is None or isinstance(value, (bool, float)):  # which floats are good the option itself says
        return True
    return _is_text(value) or _is_number(value, -1e18, 1e18)


def _short(value: Any) -> str:
    """A value of a message, on one line; it may be of any kind and size."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}…"
