"""YAML that users write: read by one safe loader, with bounds, line numbers, and no key twice.

A few hundred bytes of aliases of aliases stand for gigabytes, a key that is given twice silently means the second, and
thousands of brackets end in the loader's own traceback. No tag runs code.
"""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rtseg.errors import UserError, first_line

_MOST_BYTES = 2**20
_MOST_VALUES = 20_000  # aliases written out
LISTS = 10  # times as much in a description of data, so that too many classes are counted before they are refused
_MOST_DEPTH = 50
_MOST_CHARACTERS = 10_000  # of one value
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(file: Path, times: int = 1) -> Any:
    """What a YAML file says.

    Args:
        times: how many times the bytes and values of settings it may have.

    Raises:
        UserError: it cannot be read, is too large, is not UTF-8, or see `parse_yaml`.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{file}: a folder, pipe or device, not a YAML file")
        if status.st_size > times * _MOST_BYTES:
            raise UserError(
                f"{file}: {status.st_size:,} bytes are too many for settings; at most {times * _MOST_BYTES:,} are read"
            )
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not valid YAML: byte {error.start} is not UTF-8; save it as UTF-8 text") from None
    return parse_yaml(text, str(file), times)


def parse_yaml(text: str, name: str, times: int = 1) -> Any:
    """What a YAML text says: dictionaries, lists, strings, numbers, booleans, dates and None.

    Args:
        name: of the file, for errors.
        times: as `read_yaml` takes it.

    Raises:
        UserError: it is not valid, or see `check_yaml`.
    """
    try:
        check_yaml(text, name, times)
        return yaml.load(text, _Loader)  # a SafeLoader
    except UserError:
        raise
    except yaml.MarkedYAMLError as error:
        context = f"{error.context}{_line(error.context_mark)}: " if error.context else ""
        where = _line(error.problem_mark or error.context_mark)
        raise UserError(f"{name}{where}: not valid YAML: {context}{error.problem or 'error'}") from None
    except Exception as error:  # what int() and datetime() say of a value, too
        raise UserError(f"{name}: not valid YAML: {first_line(error)}") from None


def check_yaml(text: str, name: str, times: int = 1) -> None:
    """Checks the bounds of a text before another loader reads it.

    Raises:
        UserError: too many or too long values, too deep, an alias that holds itself, or a key twice in one place.
        yaml.YAMLError: it is not valid.
    """
    if len(text) > times * _MOST_BYTES:
        raise UserError(
            f"{name}: {len(text):,} characters are too many for settings; at most {times * _MOST_BYTES:,} are read"
        )
    _check_size(text, name, times * _MOST_VALUES)
    for node in _nodes(yaml.compose(text, _Loader)):
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, name)


def _check_size(text: str, name: str, most: int) -> None:
    """By the parser's events, so that nothing is built."""
    values = 0
    parents: list[tuple[str | None, int]] = []  # anchor, and the values before it
    sizes: dict[str | None, int] = {}  # anchor -> values that it stands for
    for event in yaml.parse(text, _Loader):
        line = f"{name}{_line(event.start_mark)}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise UserError(f"{line}: *{event.anchor} stands for nothing, or for what it is part of")
            values += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            sizes[event.anchor] = 1
            if len(event.value) > _MOST_CHARACTERS:
                raise UserError(f"{line}: a value of {len(event.value):,} characters; at most {_MOST_CHARACTERS:,}")
        elif isinstance(event, yaml.CollectionStartEvent):
            parents.append((event.anchor, values))
            values += 1
            if len(parents) > _MOST_DEPTH:
                raise UserError(f"{line}: more than {_MOST_DEPTH} levels of brackets or indents")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = parents.pop()
            sizes[anchor] = values - before
        if values > most:
            raise UserError(f"{line}: more than {most:,} values, aliases written out")


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Each once, however many aliases stand for it."""
    waiting: list[yaml.Node] = [root] if root else []
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check_keys(mapping: yaml.MappingNode, name: str) -> None:
    first: dict[tuple[str, str], str] = {}
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if before := first.get((key.tag, key.value)):
                raise UserError(f"{name}{_line(key.start_mark)}: '{key.value}' stands here again{before}; keep one")
            first[key.tag, key.value] = f", after{_line(key.start_mark)[1:]}"


def _line(mark: Any) -> str:
    return f", line {mark.line + 1}" if mark else ""
