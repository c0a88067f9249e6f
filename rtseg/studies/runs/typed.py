"""Rows of insertions as they are typed, and what is wrong with them before torch is imported."""

import shlex
from collections.abc import Sequence
from difflib import get_close_matches

from rtseg.errors import UserError
from rtseg.studies.runs.task import TASKS, Task
from rtseg.studies.runs.variant import PLAIN

_ALIKE = 0.7  # "tabel1" is like "table1", and "layer3" is not like "table3"


def check_typed(texts: Sequence[str], task: Task) -> None:
    """Looks at all rows.

    Raises:
        UserError: a row that is neither a table of the task nor places with attentions, or one that is given twice.
    """
    seen: set[str] = set()
    for text in texts:
        if text not in task.tables:
            read_typed(text, task)
        plain = " ".join(text.split())
        if plain in seen and plain != PLAIN:
            raise UserError(f"--insert {shlex.quote(text)} is given twice; leave one")
        seen.add(plain)


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
