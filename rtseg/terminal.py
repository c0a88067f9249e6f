"""The one way to the terminal: what comes from files is shown there, and never sent to it.

A file name, a class name or an error of another library may hold what a terminal obeys (colours, titles, the bell,
text that runs backwards) or cannot write. Such characters are shown as Python writes them: `\\x1b`, `\\u202e`.
"""

import re
import sys
from collections.abc import Iterable
from typing import IO, Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_OBEYED = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but for tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line separators, and what turns the direction of text
    "\ud800-\udfff\ufffe\uffff"  # no characters: bytes of a file name that are not UTF-8 are read as the first
    "]"
)
_MOST = 4000  # characters of an error: one that quotes a whole file is not read


def visible(text: str) -> str:
    """The text with each character that a terminal or a page would obey written as an escape."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def say(*parts: Any, stderr: bool = False) -> None:
    """`print`, at once, and nothing but text."""
    print(visible(" ".join(map(str, parts))), file=sys.stderr if stderr else sys.stdout, flush=True)


class Console(rich.console.Console):
    """rich's, to which a text is a text: no markup, no highlighting, no emoji, no control characters.

    Args:
        stderr: write there instead of to the standard output.
        width: in characters; None for the terminal's.
        file: write there instead.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None, file: IO[str] | None = None) -> None:
        super().__init__(file=file, stderr=stderr, width=width, markup=False, highlight=False, emoji=False)

    def render_str(self, text: str, **style: Any) -> Text:
        """Before rich drops some control characters unseen."""
        return super().render_str(visible(text), **style)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """rich's own control codes are marked as such, and stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))

    def error(self, message: str) -> None:
        """In red; a long message is cut."""
        more = len(message) - _MOST
        self.print(message[:_MOST] + f" … ({more} characters more)" * (more > 0), style="red", soft_wrap=True)


def counted(count: int, noun: str, plural: str = "s") -> str:
    """'1 image', '2 images'; with plural="es" '2 classes'."""
    return f"{count} {noun}{plural * (count != 1)}"
