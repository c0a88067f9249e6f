"""A network among others of the same study."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLAIN = "none"  # the name of a network in which nothing is inserted
_LONGEST = 120  # characters of a slug, which becomes a part of a folder's name


@dataclass(frozen=True)
class Variant:
    """What sets one network apart from the others of a study.

    Attributes:
        attention: "low+high", or one name for both; "none" for a network without one.
        options: of the model.
        insert: place or pattern -> attentions that are inserted there, in a study of insertions; {} inserts nothing.
            None leaves the configuration's own.
        model: the network's name, where a study has several; None for the study's.
    """

    attention: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    insert: Mapping[str, tuple[str, ...]] | None = field(default=None, hash=False)
    model: str | None = None

    @property
    def name(self) -> str:
        """Unique in a study: the model where there are several, then the attention or what is inserted, then the
        options where there are any.
        """
        what = self.attention if self.insert is None else written(self.insert)
        options = (f"{key}={value}" for key, value in self.options.items())
        return " ".join([*([self.model] if self.model else []), what, *options])

    @property
    def slug(self) -> str:
        """The name as a file's, unique in a study: "ea:ratio=0.25" -> "ea-ratio0.25". What would be too long, or like
        another ("stage?" and "stage*" are both "stage-"), ends in a digest of the name.
        """
        slug = re.sub(r"[^\w.+-]", "-", self.name.replace("=", ""))
        if len(slug) <= _LONGEST and not {"?", "["} & {*self.name}:
            return slug
        return f"{slug[:_LONGEST]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


def written(insert: Mapping[str, tuple[str, ...]]) -> str:
    """An insertion as users write it: "layer3=fa fpn.*=fa", or "none"."""
    return " ".join(f"{place}={text}" for place, texts in insert.items() for text in texts) or PLAIN
