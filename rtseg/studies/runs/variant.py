"""A network among others of the same model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """What sets one network apart from the others of a study.

    Attributes:
        attention: "low+high", or one name for both.
        options: of the model.
    """

    attention: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Unique in a study: the attention, and the options where there are any."""
        return " ".join([self.attention, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def slug(self) -> str:
        """The name as a file's: "ea:ratio=0.25" -> "ea-ratio0.25"."""
        return re.sub(r"[^\w.+-]", "-", self.name.replace("=", ""))
