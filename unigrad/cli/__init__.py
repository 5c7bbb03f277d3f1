"""The program ``unigrad``: what is installed, whether it is right, and a demonstration."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from unigrad import __version__
from unigrad.cli import conformance, demo, tables
from unigrad.cli.console import UsageError, make_console

__all__ = ["main"]

EXAMPLES = """\
examples:
  unigrad demo                                  see it work, on all that is installed
  unigrad conformance                           check all that is installed
  unigrad conformance --backend torch --order 2 --html report.html
  unigrad backends                              what is installed, and what to type for the rest

exit codes: 0 all is well, 1 a check failed, 2 the command line is wrong
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments, by default those of the process; the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = _parser().parse_args(argv)
    console = make_console()
    try:
        if options.command == "backends":
            return tables.print_backends(console)
        if options.command == "demo":
            return demo.run(console, options.backend, options.plot)
        selection = conformance.Selection(
            options.backend, options.op, options.order, options.known_gaps
        )
        return conformance.run(console, selection, html=options.html, json=options.json)
    except UsageError as error:
        make_console(stderr=True).print(
            f"[bold red]unigrad:[/] {escape(str(error))}", soft_wrap=True
        )
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unigrad",
        description="The same derivatives, exactly, on NumPy, PyTorch, TensorFlow, JAX and MXNet.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"unigrad {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    commands.add_parser("backends", help="what is installed, what it can do, what to type")

    check = commands.add_parser(
        "conformance",
        help="check every backend against known derivatives and against each other",
        description="Check every installed backend against known derivatives and each other.",
    )
    _add_backend(check)
    check.add_argument(
        "--op",
        action="append",
        metavar="OP",
        help="only scenarios of this family or name, such as linalg; may be repeated",
    )
    check.add_argument(
        "--order",
        action="append",
        type=int,
        choices=(1, 2, 3),
        help="only derivatives of this order; may be repeated",
    )
    check.add_argument(
        "--known-gaps",
        type=Path,
        metavar="FOLDER",
        help="files <backend>.toml of 'pattern of cases' = 'why it fails'",
    )
    check.add_argument("--html", type=Path, metavar="FILE", help="write a report to read")
    check.add_argument("--json", type=Path, metavar="FILE", help="write a report for programs")

    show = commands.add_parser(
        "demo",
        help="train on real digits with exact second derivatives, in under a minute",
        description="Train on real digits with Newton steps, on every installed backend, and "
        "compare all derivatives digit by digit.",
    )
    _add_backend(show)
    show.add_argument("--plot", type=Path, metavar="FILE", help="draw the losses (matplotlib)")
    return parser


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        action="append",
        metavar="NAME",
        help="only this backend; may be repeated (default: all that are installed)",
    )
