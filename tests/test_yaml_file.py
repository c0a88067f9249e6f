"""YAML of users: bounded, one key once, no code; each refusal is a sentence with file and line."""

import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.errors import UserError
from rtseg.yaml_file import parse_yaml, read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD = {
    LAUGHS: "line 5: more than 20,000 values, aliases written out",
    "a: &a [*a]": r"line 1: \*a stands for nothing, or for what it is part of",
    "a: " + "[" * 5000: "line 1: more than 50 levels",
    "a: " + "{a: " * 5000 + "}" * 5000: "line 1: more than 50 levels",
    "a: [" + "c," * 30_000 + "]": "line 1: more than 20,000 values",
    "a: " + "x" * 20_000: "line 1: a value of 20,000 characters",
    "a: 1\nb: 2\na: 3": "line 3: 'a' stands here again, after line 1",
    "a: {b: 1, 'b': 2}": "line 1: 'b' stands here again",
    "a: !!python/object/apply:os.system [exit]": "line 1: not valid YAML: could not determine a constructor",
    "a:\n\t- b": "line 2: not valid YAML: while scanning for the next token, line 2: found character",
    "a: [b": "not valid YAML",
    "[1]: 2": "line 1: not valid YAML: while constructing a mapping, line 1: found unhashable key",
    "a: 2001-13-45": "not valid YAML: month must be in 1..12",
    "a: " + "9" * 5000: "not valid YAML: Exceeds the limit",
    "a: 1\n---\nb: 2": "line 2: not valid YAML: expected a single document in the stream, line 1: but found",
    "a: \0": "not valid YAML",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_is_refused_with_file_and_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=BAD[text]) as refusal:
        read_yaml(file)
    assert str(refusal.value).startswith(str(file))
    assert len(str(refusal.value)) < len(str(file)) + 200


def test_files_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for data, message in ((bytes(range(256)), "byte 128 is not UTF-8"), ("a: b".encode("utf-16"), "not UTF-8")):
        file.write_bytes(data)
        with pytest.raises(UserError, match=message):
            read_yaml(file)
    with file.open("wb") as opened:
        opened.truncate(2**40)
    with pytest.raises(UserError, match="1,099,511,627,776 bytes are too many for settings"):
        read_yaml(file)
    with pytest.raises(UserError, match="a folder, pipe or device"):
        read_yaml(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        read_yaml(tmp_path / "b.yaml")


def test_what_is_right_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: &x {b: 1}\nc: {<<: *x, d: *x}\n1: yes\ne: 2001-01-02\n'1': no\n")
    assert read_yaml(file) == {
        "a": {"b": 1},
        "c": {"b": 1, "d": {"b": 1}},
        1: True,
        "e": datetime.date(2001, 1, 2),
        "1": False,
    }
    assert parse_yaml("", "") is None


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False)
TEXTS = st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXTS, part, max_size=3), max_leaves=8
)


@settings(max_examples=15, deadline=None)
@given(VALUES)
def test_what_is_written_is_read(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value), "") == value


@settings(max_examples=60, deadline=None)
@given(st.text("ab01:-[]{}&*!|>'\"#%@ \n\t,?\x00é~", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_yaml(text, "a.yaml")
    except UserError as error:
        assert "a.yaml" in str(error)  # noqa: PT017
