"""Where the commands print: a terminal with colours and a moving bar, or a plain log.

A log gets no control codes, a fixed width, and at most ten lines of progress.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from unigrad.errors import BackendError
from unigrad.registry import backends, get_backend

__all__ = [
    "LOG_WIDTH",
    "ProgressBar",
    "UsageError",
    "available",
    "make_console",
    "numpy_first",
    "refuse",
]

LOG_WIDTH = 120


class UsageError(Exception):
    """The command line asks for something that does not exist: exit code 2."""


def refuse(message: str) -> NoReturn:
    """End the command with this message.

    Raises:
        UsageError: always.
    """
    raise UsageError(message)


def make_console(*, stderr: bool = False) -> Console:
    """A console on standard output or error."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a log in ASCII must not end the run
    console = Console(file=stream, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(file=stream, highlight=False, width=LOG_WIDTH)
    return console


def numpy_first(names: Iterable[str]) -> list[str]:
    """The names of backends in the order in which they are shown."""
    return sorted(names, key=lambda name: (name != "numpy", name))


def available(names: list[str] | None) -> tuple[list[str], dict[str, str]]:
    """The backends of these names, or all that load, NumPy first; and why the others do not.

    Raises:
        UsageError: where a backend that was named is unknown or does not load.
    """
    known = backends()
    chosen: list[str] = []
    missing: dict[str, str] = {}
    for name in names or numpy_first(known):
        reason = known[name].reason if name in known and not names else None
        if reason is not None:
            why, _, command = reason.rpartition("; ")
            missing[name] = f"{why}; type: {command}"
            continue
        try:
            get_backend(name)
        except BackendError as error:
            if names:
                refuse(str(error))
            missing[name] = str(error)
        else:
            if name not in chosen:
                chosen.append(name)
    return chosen, missing


class ProgressBar:
    """A bar with the name of what is running; in a log, a line for every tenth.

    It is called with the number done, the number in all, and what is running now.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenths = 0
        self._bar = Progress(
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def __call__(self, done: int, total: int, name: str) -> None:
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, total=total, description=name)
        elif total and 10 * done // total > self._tenths:
            self._tenths = 10 * done // total
            self._console.print(f"{10 * self._tenths:3d} %  {name}", markup=False)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
