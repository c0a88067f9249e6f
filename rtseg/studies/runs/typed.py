"""Rows of insertions as they are typed, and what is wrong with them before torch is imported."""

import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from rtseg import plugins
from rtseg.errors import UserError
from rtseg.registry import UnknownNameError, suggest
from rtseg.studies.runs.task import TASKS, Task
from rtseg.studies.runs.variant import PLAIN

_REGISTERED = re.compile(r'^@register_attention\("([^"]+)"', re.M)
_ALIKE = 0.7  # "tabel1" is like "table1", and "layer3" is not like "table3"


def check_typed(texts: Sequence[str], task: Task) -> None:
    """Looks at all rows.

    Raises:
        UserError: a row that is neither a table of the task nor places with attentions, one that is given twice, or an
            unknown attention.
    """
    seen: set[str] = set()
    for text in texts:
        if text not in task.tables:
            for attention in sum(read_typed(text, task).values(), ()):
                check_attention(attention, f"--insert '{text}': ")
        plain = " ".join(text.split())
        if plain in seen and plain != PLAIN:
            raise UserError(f"--insert {shlex.quote(text)} is given twice; leave one")
        seen.add(plain)


def check_attention(text: str, before: str) -> None:
    """Looks at the names in "fa:basis=64" or "gfa+ca"; the rest of it takes torch to understand.

    Args:
        before: what the message begins with.

    Raises:
        UnknownNameError: neither rtseg nor a plug-in can have it.
    """
    for branch in text.split("+"):
        name = branch.partition(":")[0]
        if name and name not in attention_names() and not plugins.some_given():
            raise UnknownNameError(f"{before}unknown attention '{name}'", f".{suggest(name, attention_names())}")


@cache
def attention_names() -> tuple[str, ...]:
    """Names that rtseg's own files register, as they are written there: to import the files would import torch."""
    files = sorted((Path(__file__).parents[2] / "attention").glob("*.py"))
    return tuple(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))


def read_typed(text: str, task: Task) -> dict[str, tuple[str, ...]]:
    """A row that is not a table: place or pattern -> attentions. Raises: UserError where it is not written so."""
    words = text.split()
    if words == [PLAIN]:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for word in words or [text]:
        place, equals, attention = word.partition("=")
        if not (place and equals and attention):
            raise UserError(f"--insert {shlex.quote(text)}: {_wrong(word, len(words) == 1, task)}")
        found[place] = (*found.get(place, ()), attention)
    return found


def _wrong(word: str, alone: bool, task: Task) -> str:
    """What to say of a word that is not a place with an attention."""
    others = " or ".join(f"`{other.compare}`" for other in TASKS if word in other.tables)
    if word in task.tables or word == PLAIN:
        return f"'{word}' is a row of its own; give it as --insert {word}"
    tables = ", ".join(task.tables)
    if others:
        return f"the networks of {word} are those of {others}; here there are {tables}"
    near = get_close_matches(word, [*task.tables, PLAIN], n=1, cutoff=_ALIKE)
    if alone and (near or word.startswith("table")):
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"there is no table '{word}'.{hint} Known: {tables}; or write {task.example}"
    place = word.strip("=")
    hint = f"did you mean {place}=fa?" if place and not word.startswith("=") else f"write {task.example}"
    return f"'{word}' is not PLACE=ATTENTION; {hint} There are also {PLAIN}, {tables}"
