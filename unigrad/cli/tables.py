"""What there is: the table of `unigrad backends`, and the same as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unigrad import __version__
from unigrad.backend import Capabilities
from unigrad.cli.console import numpy_first
from unigrad.registry import BackendInfo, backends, specs

__all__ = ["capability_table", "print_backends"]

COLUMNS: dict[str, Callable[[Capabilities], bool]] = {
    "second order": lambda c: c.second_order,
    "complex": lambda c: c.complex,
    "float32": lambda c: c.float32,
    "jit": lambda c: c.jit,
    "custom rules": lambda c: c.custom_vjp,
    "models": lambda c: c.models,
    "zero size": lambda c: c.zero_size,
    "threads": lambda c: c.threads,
}
"""Headings and what they show of the `Capabilities`."""


def capability_table() -> str:
    """The capabilities of every known backend, installed or not, as a Markdown table.

    >>> from unigrad.cli.tables import capability_table
    >>> print(capability_table().splitlines()[0][:26])
    | backend | second order |
    """
    rows = [["backend", *COLUMNS, "to install"], ["---", *["---"] * len(COLUMNS), "---"]]
    known = specs()
    for name in numpy_first(known):
        marks = _marks(known[name].capabilities)
        rows.append([f"`{name}`", *marks, f"`{known[name].install}`"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def print_backends(console: Console) -> int:
    """The table of `unigrad backends`; 0, the exit code."""
    known = backends()
    infos = [known[name] for name in numpy_first(known)]
    console.print(f"Backends known to unigrad {__version__}", style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("backend", style="bold", no_wrap=True)
    table.add_column("installed", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading.replace(" ", "\n"), justify="center", no_wrap=True)
    for info in infos:
        style = "" if info.installed else "dim"
        table.add_row(info.name, _version(info), *_marks(info.capabilities), style=style)
    console.print(table)
    console.print(
        "second order: exact hvp and hessian · jit: ug.jit compiles · custom rules: "
        "ug.custom_vjp · models: ug.functional",
        style="dim",
    )
    for info in infos:
        if info.reason is not None:
            reason, _, command = info.reason.rpartition("; ")
            line = Text.assemble((info.name, "bold"), f": {reason}; type: ", (command, "bold cyan"))
            console.print(line, soft_wrap=True)
    return 0


def _version(info: BackendInfo) -> Text:
    if not info.installed:
        return Text("no", style="yellow")
    return Text(info.version or "yes", style="green")


def _marks(capabilities: Capabilities) -> list[str]:
    return ["yes" if show(capabilities) else "–" for show in COLUMNS.values()]
