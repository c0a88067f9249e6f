"""What a weight file says of itself: enough to rebuild the network, feed it right and name its classes."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rtseg.errors import UserError
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD
from rtseg.registry import suggest

PARTS = ("segmenter", "backbone", "classifier")


@dataclass(frozen=True)
class ModelCard:
    """The description that travels with weights, as `config.json` or inside a checkpoint; plain JSON types once through
    `to_dict`.

    Attributes:
        model, attention, options: what `create_model` was called with; attention "none" of a model that has none.
        class_names, palette: of class 0..K-1; RGB 0..255.
        ids: class k is written ids[k] in the data set's own label files.
        ignore_index: of the training masks.
        mean, std: normalisation of RGB in 0..1.
        input_size: (height, width) that it was trained at, if known.
        eval_resize: (short side, long side) that the data set's evaluation resizes pictures to before the network, if
            it does; a deployed network does the same.
        dataset, source: where the classes and the weights come from.
        plugins: what must be loaded to rebuild the network, as `rtseg.plugins.loaded_plugins` calls them.
        head: of a segmenter; None: the model's own.
        part: what the weights are of, one of `PARTS`. The classes of a backbone are those of the classification that it
            was trained for.
    """

    model: str
    attention: str
    num_classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ids: tuple[int, ...] = ()
    ignore_index: int = 255
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_size: tuple[int, int] | None = None
    eval_resize: tuple[int, int] | None = None
    dataset: str | None = None
    source: str | None = None
    part: str = "segmenter"
    plugins: tuple[str, ...] = ()
    head: str | None = None

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # JSON's lists become tuples, so that a card equals the one that was saved
            object.__setattr__(self, f.name, _frozen(getattr(self, f.name)))
        rules = {
            "model": (isinstance(self.model, str), "a name"),
            "attention": (isinstance(self.attention, str), "a text such as 'gfa+ca'"),
            "num_classes": (_is_length(self.num_classes), "a whole number of at least 1"),
            "options": (isinstance(self.options, Mapping), "options by name"),
            "class_names": (_each(self.class_names, lambda name: isinstance(name, str)), "a list of names"),
            "palette": (_each(self.palette, _is_colour), "a list of [red, green, blue], each 0..255"),
            "ids": (_each(self.ids, _whole), "a list of whole numbers"),
            "ignore_index": (_whole(self.ignore_index), "a whole number"),
            "mean": (_each(self.mean, _is_number, 3), "three numbers"),
            "std": (_each(self.std, lambda v: _is_number(v) and v > 0, 3), "three numbers above 0"),
            "input_size": (self.input_size is None or _each(self.input_size, _is_length, 2), "[height, width]"),
            "eval_resize": (
                self.eval_resize is None or _each(self.eval_resize, _is_length, 2),
                "[short side, long side]",
            ),
            "part": (self.part in PARTS, f"one of {', '.join(PARTS)}"),
            "head": (self.head is None or isinstance(self.head, str), "a name, or null for the model's own"),
            "plugins": (_each(self.plugins, lambda name: isinstance(name, str)), "a list of files and modules"),
        }
        for name, (fits, kind) in rules.items():
            if not fits:
                raise UserError(f"model card: {name}={getattr(self, name)!r} must be {kind}")
        for name in ("class_names", "palette", "ids"):
            have = len(getattr(self, name))
            if have not in (0, self.num_classes):
                raise UserError(
                    f"model card: {have} entries in '{name}' for num_classes={self.num_classes}; give one a class"
                )

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
        if not isinstance(card, Mapping):
            raise UserError(f"model card: a {type(card).__name__} is no card; is this file written by rtseg?")
        known = {f.name for f in dataclasses.fields(cls)}
        for key in card:
            if key not in known:
                raise UserError(f"model card: unknown key '{key}'.{suggest(key, known)}")
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


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_length(value: Any) -> bool:
    return _whole(value) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_colour(value: Any) -> bool:
    return _each(value, lambda level: _whole(level) and 0 <= level <= 255, 3)
