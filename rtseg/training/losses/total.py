"""The sum that a training lowers: each output's loss times its weight."""

from collections.abc import Mapping

from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import MAIN, Auxiliary
from rtseg.training.losses.base import LossContext, get_loss
from rtseg.training.losses.config import LossConfig


class TotalLoss:
    """(logits by output, mask) -> scalar.

    Args:
        auxiliary: what the backbone wants learnt beside the class map, `Backbone.outputs`.
        config: whose weights hold where it names some.

    Raises:
        UserError: an unknown loss, or a weight for an output that is not there.
    """

    def __init__(self, auxiliary: Mapping[str, Auxiliary], config: LossConfig) -> None:
        self.config = config
        weights = config.weight_of({MAIN: 1.0, **{name: output.weight for name, output in auxiliary.items()}})
        # name of the term -> (loss, output whose logits it gets, weight)
        self.terms = {MAIN: ("cross_entropy", MAIN, weights[MAIN])}
        for name, output in auxiliary.items():
            self.terms[name] = (output.loss, MAIN if output.map is None else name, weights[name])
        if config.jaccard_weight:
            self.terms["jaccard_of_main"] = ("jaccard", MAIN, config.jaccard_weight)
        self.losses = {name: get_loss(name) for name, _, _ in self.terms.values()}

    def __call__(self, outputs: Mapping[str, Tensor], mask: Tensor, *, ignore_index: int = 255) -> Tensor:
        """The weighted sum; see `weighted`."""
        terms = list(self.weighted(outputs, mask, ignore_index=ignore_index).values())
        return sum(terms[1:], terms[0])

    def weighted(self, outputs: Mapping[str, Tensor], mask: Tensor, *, ignore_index: int = 255) -> dict[str, Tensor]:
        """Each term of the sum, by its output; the Jaccard loss is called "jaccard_of_main".

        Args:
            outputs: `Segmenter.forward_train`'s.
            mask: (B, H, W) int64.
            ignore_index: the label of pixels that teach nothing.

        Raises:
            UserError: a loss does not fit its output, or is not a scalar.
        """
        context = LossContext(outputs, self.config, ignore_index)
        # With a weight of 0 as well: DistributedDataParallel waits for a gradient of every parameter.
        return {
            term: weight * self._value(loss, outputs[name], mask, context)
            for term, (loss, name, weight) in self.terms.items()
        }

    def _value(self, loss: str, logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
        value = self.losses[loss](logits, mask, context)
        if not isinstance(value, Tensor) or value.ndim:
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            raise UserError(
                f"loss '{loss}' returned a {type(value).__name__}{shape}: return a scalar tensor, as `losses.mean()` "
                "gives it"
            )
        return value
