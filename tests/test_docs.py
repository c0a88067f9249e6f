"""The documents and docstrings are in plain words: a sentence a line, the field's terms, links that lead somewhere."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    file.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/results/*.md", "pretrain/*.md", "tests/golden/*.md")
    for file in sorted(ROOT.glob(pattern))
]
MADE = "docs/licences.md"  # written by tools/licences.py
PROSE = [page for page in PAGES if page != MADE]
LONGEST_LINE, LONGEST_CELL = 120, 160
ABBREVIATIONS = re.compile(r"\b(et al|e\.g|i\.e|vs)\.")
NEXT_SENTENCE = re.compile(r"[.?!][)*\"]* +[*(\"]*[A-Z]")
FIELDS_WORDS = {  # what is not written -> what is
    r"held (to|against)\b": "compared with",
    r"\b(goes|going|gone) on\b": "resumes, continues",
    r"\bpictures?\b": "image",
    r"(?<!there )\b(is|are|was|were|holds?) no (?!longer\b|more\b|less\b|fewer\b)": "does not, has no",
}


def lines(page: str, *, tables: bool = False) -> Iterator[tuple[int, str]]:
    """The lines that people write: no code blocks, no tables unless wanted, nothing between a program's marks.

    Links are cut to their text.
    """
    in_code = made = False
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = line.lstrip().startswith("```")
        in_code ^= fence
        if line.startswith("<!--"):
            made = not re.search(r"\bends?\b", line)
        table = line.lstrip().startswith("|")
        if not (in_code or fence or made or line.startswith("<!--")) and (tables or not table):
            yield number, re.sub(r"\]\([^)]*\)|<?https?://\S+", "]", line)


def words(line: str) -> str:
    """A line without the number or the bold label of a list's entry, and without what is written as code in it."""
    return re.sub(r"`[^`]*`", "`x`", re.sub(r"^ *(\d+\.|- \*\*[^*]*\*\*) ", "", line))


@pytest.mark.parametrize("page", PROSE)
def test_lines_are_short(page: str) -> None:
    assert [f"{page}:{n}: {len(line)}" for n, line in lines(page) if len(line) > LONGEST_LINE] == []


@pytest.mark.parametrize("page", PROSE)
def test_one_sentence_a_line(page: str) -> None:
    found = [
        f"{page}:{n}: {line.strip()}"
        for n, line in lines(page)
        if NEXT_SENTENCE.search(ABBREVIATIONS.sub("", words(line).replace("`x`", "X")))
    ]
    assert found == []


@pytest.mark.parametrize("page", PROSE)
def test_cells_of_tables_hold_words(page: str) -> None:
    found = [
        f"{page}:{n}: {cell.strip()}"
        for n, line in lines(page, tables=True)
        if line.startswith("|")
        for cell in line.split("|")
        if len(words(cell)) > LONGEST_CELL
    ]
    assert found == [], "put it below the table"


@pytest.mark.parametrize("page", PROSE)
def test_words_are_the_fields(page: str) -> None:
    found = [
        f"{page}:{n}: '{match[0]}', write {better}"
        for n, line in lines(page, tables=True)
        for pattern, better in FIELDS_WORDS.items()
        if (match := re.search(pattern, words(line), re.I))
    ]
    assert found == []


@pytest.mark.parametrize("page", [page for page in PROSE if re.fullmatch(r"docs/[^/]+\.md", page)])
def test_a_page_begins_with_what_it_is_for(page: str) -> None:
    title, empty, first = (ROOT / page).read_text().splitlines()[:3]
    assert title.startswith("# ")
    assert empty == ""
    assert first.endswith((".", "?")), "one sentence that says what the page is for"


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    plain = [re.sub(r"\]\([^)]*\)", "]", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(file), f"{page}: {target}; {sorted(anchors(file))}"


def test_docstrings_name_the_thing() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}"
        for folder in ("rtseg", "pretrain", "tools", "benchmarks")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and (text := ast.get_docstring(node) or "").startswith("Of ")
    ]
    assert found == []
