"""A hostile input: what it is called, the call that meets it, and what that call must not do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.torture.worker import Answer, command


def no_fault(answer: Answer) -> str | None:
    """Whatever ends in order will do."""
    return None


def must_refuse(answer: Answer) -> str | None:
    """A file that cannot mean anything is refused by a function, or ends a command with status 2."""
    refused = answer.kind == "refused" or answer.status == 2
    return None if refused else f"is not refused: {answer.kind} {answer.status}, {answer.said}"


@dataclass(frozen=True)
class Case:
    """One input, whose file is there when the case is handed out.

    Attributes:
        function: called in the worker with `arguments`.
        fault: what is wrong with an answer that ended in order, or None.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple
    fault: Callable[[Answer], str | None] = no_fault


def command_case(name: str, *arguments: object, fault: Callable[[Answer], str | None] = no_fault) -> Case:
    """A case that is `rtseg` with these arguments."""
    return Case(name, command, tuple(map(str, arguments)), fault)
