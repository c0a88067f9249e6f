"""`model.loss` of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from rtseg.checks import check_above, check_at_least, check_below, check_fraction
from rtseg.errors import UserError
from rtseg.registry import suggest


@dataclass(frozen=True)
class LossConfig:
    """What the network is trained to lower.

    Attributes:
        aux_weight: weight of the loss of output "aux"; null: the model's own. 0: it teaches nothing.
        ohem: learn from hard pixels only (online hard example mining).
        ohem_threshold: a pixel is hard while its true class has at most this probability.
        ohem_min_pixels: how many of the hardest pixels of a batch are kept in any case.
        top_fraction: average only this fraction of all pixels, those with the largest loss; 1 means all.
        class_weights: one factor a class, or none; by the names of the classes, or as a list in their order. "auto":
            from the training masks; `rtseg fit` puts the weights in its place.
        jaccard_weight: weight of the Jaccard loss of the main head; 0 for none.
        weights: the same as `aux_weight` for outputs by name, e.g. {"aux": 0.4}; that of "main" is 1 unless named.
    """

    aux_weight: float | None = None
    ohem: bool = False
    ohem_threshold: float = 0.7
    ohem_min_pixels: int = 10000
    top_fraction: float = 1.0
    class_weights: tuple[float, ...] | dict[str, float] | Literal["auto"] | None = None
    jaccard_weight: float = 0.0
    weights: dict[str, float] | None = None

    def __post_init__(self) -> None:
        asked = {f"loss.weights.{name}": weight for name, weight in (self.weights or {}).items()}
        if self.aux_weight is not None:
            asked["loss.aux_weight"] = self.aux_weight
        by_class = () if self.class_weights is None or isinstance(self.class_weights, str) else self.class_weights
        named = by_class if isinstance(by_class, Mapping) else dict(enumerate(by_class))
        asked |= {f"loss.class_weights[{name}]": weight for name, weight in named.items()}
        for name, weight in {**asked, "loss.jaccard_weight": self.jaccard_weight}.items():
            check_at_least(name, weight, 0, "0 switches it off")
        if named and not any(named.values()):
            raise UserError("loss.class_weights are all 0, and nothing is learnt: give one above 0, or null for none")
        check_above("loss.ohem_threshold", self.ohem_threshold, 0, "it is a probability, as 0.7")
        check_below("loss.ohem_threshold", self.ohem_threshold, 0, 1, "it is a probability, as 0.7")
        check_fraction("loss.top_fraction", self.top_fraction)
        if self.ohem and self.top_fraction < 1:
            raise UserError("loss.ohem and loss.top_fraction both choose hard pixels: use one of them")
        if self.aux_weight is not None and "aux" in (self.weights or {}):
            raise UserError("loss.aux_weight and loss.weights.aux both give the weight of output 'aux': leave one out")

    def for_classes(self, names: Sequence[str]) -> Self:
        """The same with class weights as a list.

        Args:
            names: of class 0..K-1.

        Raises:
            UserError: a class has none, or they are weights of other classes, so of another data set; or "auto".
        """
        weights = self.class_weights
        if not isinstance(weights, Mapping):
            self.listed_weights(len(names))
            return self
        unknown = [name for name in weights if name not in names]
        missing = [name for name in names if name not in weights]
        if missing and not unknown:
            raise UserError(
                f"model.loss.class_weights lacks {_some(missing)}: give each class a weight, 1 leaves it as it is"
            )
        if unknown:
            told = [f"{what} {_some(found)}" for what, found in (("it names", unknown), ("it lacks", missing)) if found]
            raise UserError(
                f"model.loss.class_weights belongs to other classes than the data set's {len(names)}: "
                f"{' and '.join(told)}. Give one weight for each of these classes, or none: "
                "--model.loss.class_weights null"
            )
        return replace(self, class_weights=tuple(float(weights[name]) for name in names))

    def listed_weights(self, classes: int) -> tuple[float, ...] | None:
        """The class weights, which must be a list by now; None: there are none.

        Raises:
            UserError: they are not as many as the classes, or no list yet.
        """
        weights = self.class_weights
        if weights is None:
            return None
        if isinstance(weights, (str, Mapping)):
            raise UserError(
                "model.loss.class_weights by name or `auto` are for the command line `rtseg fit`; give a list"
            )
        if len(weights) != classes:
            raise UserError(
                f"model.loss.class_weights has {len(weights)} entries for {classes} classes; give one each, or "
                "--model.loss.class_weights=auto (from the masks), or none: --model.loss.class_weights null"
            )
        return weights

    def weight_of(self, outputs: Mapping[str, float]) -> dict[str, float]:
        """Output -> the weight of its loss.

        Args:
            outputs: output -> the model's own weight.

        Raises:
            UserError: a weight for an output that the model does not have.
        """
        asked = {**(self.weights or {}), **({} if self.aux_weight is None else {"aux": self.aux_weight})}
        for name in asked:
            if name not in outputs:
                key = "aux_weight" if name not in (self.weights or {}) else f"weights.{name}"
                raise UserError(f"loss.{key}: the model has no output '{name}'.{suggest(name, outputs)}")
        return {**outputs, **asked}


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
