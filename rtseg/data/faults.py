"""What is wrong with many things, counted by kind and named: one message for a whole data set."""

import re
from collections import defaultdict
from typing import Any, Literal

Broken = Literal["refuse", "skip"]
"""What to do with what cannot be used: stop, or leave it out and count it."""

_NAMED = 5  # examples of each fault in a message


class Faults:
    """What is wrong, by kind, with the names of what it is wrong with. A kind begins with a plural in s."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, name: Any) -> None:
        self.found[kind].append(str(name)[:80])

    def __str__(self) -> str:
        """A line for each kind."""
        lines = []
        for kind, names in self.found.items():
            noun, _, rest = kind.partition(" ")
            if len(names) == 1:
                noun, rest = noun.removesuffix("s"), re.sub("^that are ", "that is ", rest)
            lines.append(f"\n  {len(names)} {noun} {rest} ({', '.join(names[:_NAMED])}{', …' * (len(names) > _NAMED)})")
        return "".join(lines)
