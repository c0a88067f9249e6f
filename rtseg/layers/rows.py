"""The order in which a block's modules run, so that deployment can fold BatchNorm without knowing the block's class."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class HasRows(Protocol):
    """A block whose BatchNorms fold in deployment. A block without `rows` works, but its own BatchNorms stay.

    An `nn.Sequential` is a row by itself, alone or within one.
    """

    def rows(self) -> Iterable[Sequence[nn.Module]]:
        """Modules of this block that run one after the other in evaluation.

        In a row nothing else happens between two neighbours, and nothing but the second one reads what the first one
        gives: no ReLU that is a function, no sum, no second use. Both are used only here.
        """
        ...


@runtime_checkable
class HasCombined(Protocol):
    """A module with BatchNorms that other work is combined with, as an activation, in modules of another library."""

    def separate(self) -> None:
        """Puts a BatchNorm and what follows it, as a sequence, in the place of each; results stay the same."""
        ...
