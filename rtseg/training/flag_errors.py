"""What a command line of settings says of a bad one: the key, the value, what is wanted, and an example to type."""

import json
import re
import shlex
import sys
import types
from argparse import Action
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from rtseg.training.typed import RESUME

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
_MANY = {int: "whole numbers", float: "numbers", bool: "of true and false", str: "texts"}
_EXAMPLES = {int: 1, float: 0.5, bool: True, str: "text"}
_SHOWN = 60  # characters of a bad value
_INSERT = "model.insert"


def settings(parser: ArgumentParser) -> dict[str, Action]:
    """Everything that configs and flags may name, subcommands' included, by key."""
    found: dict[str, Action] = {}
    for action in parser._actions:
        found[action.dest] = action
        for subparser in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            found |= settings(subparser)
    return found


def explain(message: str, known: Mapping[str, Action]) -> str:
    """The parser's message, in words that say what to type.

    Args:
        known: `settings` of the parser.
    """
    if match := re.search(r"does not accept option '([\w.]+)'|unrecognized arguments: --([\w.]+)", message):
        return _unknown_key(match[1] or match[2], known)
    if match := re.search(r"arguments are required: (.*)", message):
        flags = [f"--{key.strip().removeprefix(f'{_command()}.')}" for key in match[1].split(",")]
        return f"{' and '.join(flags)} must be given, or a --config that says {'them' if flags[1:] else 'it'}"
    if match := re.search(r'Parser key "config": File does not exist: (.*)', message):
        return f"--config: there is no file {match[1]}"
    if match := re.search(r"unrecognized arguments: (\S+\.ya?ml)(?: |$)", message):
        return f"a configuration is a flag: give it as --config {match[1]}"
    if match := re.search(r"unrecognized arguments: (.*)", message):
        return f"'{match[1]}' belongs to no flag. Of a flag a list is one word: {_flag('data.crop_size', [512, 1024])}"
    if (match := re.search(r"argument --([\w.]+): expected one argument", message)) and match[1] in known:
        return f"--{match[1]} needs a value: {_wanted(known[match[1]])}, as {_example(known[match[1]], '')}"
    keys = [key for key in re.findall(r'Parser key "([\w.]+)"', message) if key in known]
    if not keys:
        return message
    key = keys[-1]
    if "Unable to load config" in message:
        single = next((known[name] for name in known if name.startswith(f"{key}.")), None)
        beside = f"; its keys are given one by one, as {_example(single, '')}" if single else ""
        return f"{key} is a YAML file of its settings, and that one cannot be read: {' '.join(message.split())}{beside}"
    value = re.findall(r"(?:Got|Given) value: (.*)", message)
    if not value:
        return message
    short = value[-1] if len(value[-1]) <= _SHOWN else f"{value[-1][: _SHOWN - 4]} ..."
    return f"{key}={short} must be {_wanted(known[key])}, as {_example(known[key], value[-1])}"


def _command() -> str:
    return sys.argv[1] if sys.argv[1:] else ""


def _unknown_key(key: str, known: Mapping[str, Action]) -> str:
    if key in RESUME:
        return f"unknown key '{key}'; to resume a training: --ckpt_path RUN/last.ckpt"
    namesakes = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    longer = sorted((k for k in known if k.startswith(key)), key=len)
    if namesakes:
        near = get_close_matches(key, namesakes, n=1, cutoff=0)
    else:
        near = longer or get_close_matches(key, known, n=1, cutoff=0.5)
    siblings = sorted(k for k in known if k.rpartition(".")[0] == key.rpartition(".")[0])
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown key '{key}'.{hint} Beside it stand: {', '.join(siblings) or 'no keys'}."


def _wanted(action: Action) -> str:
    if action.dest == _INSERT:
        return "an attention for each place (`rtseg list places` prints the places)"
    hint = getattr(action, "_typehint", None)
    return kind(hint if hint is not None else action.type or type(action.default))


def kind(hint: Any) -> str:
    """A type in plain words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        choices = [choice for one in inner if get_origin(one) is Literal for choice in get_args(one)]
        parts = [kind(one) for one in inner if get_origin(one) is not Literal]
        choices = list(dict.fromkeys(map(str, choices)))
        if len(choices) == 1:
            return " or ".join([*(part for part in parts if part != "null"), choices[0], *{"null"} & {*parts}])
        return " or ".join(([f"one of {', '.join(choices)}"] if choices else []) + parts)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)} {_many(inner[0])}"
    if origin in (tuple, list, Sequence):
        return f"a list of {_many(inner[0])}"
    if origin in (dict, Mapping):
        return "names with a value each" if inner[1] is Any else f"names with {kind(inner[1])} each"
    return _WORDS.get(hint, "a text" if hint is Any else f"a {getattr(hint, '__name__', hint)}")


def _many(hint: Any) -> str:
    return _MANY.get(hint, f"{getattr(hint, '__name__', hint)}s")


def _example(action: Action, bad: str) -> str:
    """A flag that would do: the bad value put right where that is plain, else the default, else one of its type."""
    if action.dest == _INSERT:
        return _inserted(bad)
    hint, default = getattr(action, "_typehint", None), action.default
    if (meant := _meant(action.dest, hint, bad)) is not None:
        return _flag(action.dest, meant)
    if isinstance(default, (int, float, str, list, tuple, dict)) and default not in ((), [], {}, "=="):
        return _flag(action.dest, default)
    return _flag(action.dest, _of_type(hint))


def _inserted(bad: str) -> str:
    """The flag of `layer3=fa:basis=64`, or of an attention that was given without a place."""
    words = bad.split()
    place, _, attention = words[0].partition("=") if words else ("", "", "")
    if not attention or ":" in place:
        place, attention = "PLACE", words[0] if words else "fa"
    return shlex.quote(f"--{_INSERT}.{place}={attention}")


def _meant(key: str, hint: Any, bad: str) -> list[float] | None:
    """[64, 64] of `--data.crop_size 64 64` and of `64,64`, where a list of so many numbers is wanted."""
    lists = [one for one in (hint, *get_args(hint)) if get_origin(one) in (tuple, list)]
    words = bad.replace(",", " ").split()
    if f"--{key}" in sys.argv:
        following = sys.argv[sys.argv.index(f"--{key}") + 1 :]
        own = next((k for k, word in enumerate(following) if word.startswith("-")), len(following))
        words = max(words, following[:own], key=len)
    try:
        numbers = [json.loads(word) for word in words]
    except ValueError:
        return None
    for one in lists:
        fixed = len(get_args(one)) if Ellipsis not in get_args(one) and get_origin(one) is tuple else len(numbers)
        if len(numbers) == fixed > 1 and all(type(number) in (int, float) for number in numbers):
            return numbers
    return None


def _of_type(hint: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return next((found for one in inner if (found := _of_type(one)) is not None), None)
    if origin is Literal:
        return inner[0]
    if origin is tuple and Ellipsis not in inner:
        return [512, 1024] if inner == (int, int) else [_of_type(one) for one in inner]  # two of them are a size
    if origin in (tuple, list):
        return None if (one := _of_type(inner[0])) is None else [one, one]
    if origin is dict:
        return {"name": 1.0 if inner[1] is Any else _of_type(inner[1])}
    return _EXAMPLES.get(hint)


def _flag(key: str, value: Any) -> str:
    """As it is typed in a shell."""
    if isinstance(value, str):
        return f"--{key}={shlex.quote(value)}"
    text = json.dumps(value, separators=(",", ":"))
    return f"--{key}='{text}'" if text[0] in "[{" else f"--{key}={text}"
