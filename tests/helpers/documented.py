"""The commands that README, docs and the end of `make demo` show, as their reader would type them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^( *)```bash\n(.*?)^\1```$", re.M | re.S)
_FENCED = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)
_INLINE = re.compile(r"`((?:rtseg|make|python|pytest) [^`\n]+)`")
_SAID = re.compile(r'^\t@echo "  (rtseg .*)"$', re.M)
_END = re.compile(r"^(&&|\|\|?|;|>.*|#.*)$")


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
        page: its path from the repository's root.
        words: the program and its arguments.
    """

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def blocks(page: Path) -> list[str]:
    """The code blocks of a page that are marked as bash, each a script."""
    return [re.sub(rf"^{indent}", "", script, flags=re.M) for indent, script in _BLOCK.findall(page.read_text())]


def commands() -> Iterator[Command]:
    """Every command of every page, in a code block or within a sentence, and those that the Makefile says."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        inline = _INLINE.findall(_FENCED.sub("", page.read_text()))
        lines = [line for script in blocks(page) for line in script.replace("\\\n", " ").splitlines()]
        for line in (re.sub(r"\$\(.*?\)", "...", line) for line in [*lines, *inline]):
            for words in _split(line):
                yield Command(name, words)
    for line in _SAID.findall((ROOT / "Makefile").read_text()):
        yield Command("Makefile", tuple(shlex.split(line)))


def _split(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line, without comments, redirections and assignments."""
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), ";"]:
        if not _END.match(word):
            words.append(word)
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield tuple(words)
        words = []
