"""What the demo shows: its function, digits side by side, and what it all comes to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from unigrad.cli.demo.agreement import Probe
from unigrad.cli.demo.loss import loss
from unigrad.cli.demo.objective import Model, Vector
from unigrad.cli.demo.study import Check, Study
from unigrad.registry import backends

__all__ = [
    "figures",
    "show_digits",
    "show_function",
    "show_missing",
    "show_study",
    "show_verdict",
]

AGREEMENT = 1e-12
ORACLE = 1e-10

REFUSED = "refused (S12)"
LABELS = 17
SHADES = " ░▒▓█"

Row = tuple[str, Sequence[float | str | None]]
"""A label, and for each backend a number, a word, or ``None`` for what it refused."""


def show_function(console: Console) -> None:
    """The source of the loss, as it runs."""
    code = Syntax(inspect.getsource(loss).rstrip(), "python", theme="ansi_dark", word_wrap=True)
    console.print(Panel(code, title="one function for every backend", title_align="left"))


def figures(numbers: Sequence[float], width: int) -> list[str]:
    """The numbers with as many digits as fit into the width, the same for all, 16 at most.

    >>> figures([0.1, 1 / 3], 8)
    ['0.100000', '0.333333']
    """
    texts = [f"{x:.1g}" for x in numbers]
    for digits in range(2, 17):
        longer = [f"{x:#.{digits}g}" for x in numbers]
        if max(map(len, longer)) > width:
            break
        texts = longer
    return texts


def _show_table(
    console: Console, title: str, names: Sequence[str], groups: Mapping[str, Sequence[Row]]
) -> None:
    """Rows under headings, one column for each backend; equal digits are green."""
    versions = backends()
    # A column takes two more than its width, and the box one at each end.
    width = max(8, min(20, (console.width - LABELS - 3) // len(names) - 2))
    console.print(title, style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True, min_width=LABELS)
    for name in names:
        version = (versions[name].version or "").partition("+")[0]
        heading = Text.assemble((name, "bold"), "\n", (version, "dim"))
        table.add_column(heading, no_wrap=True, width=width)
    for title_of_group, rows in groups.items():
        table.add_section()
        table.add_row(Text(title_of_group, style="bold cyan"))
        for label, entries in rows:
            table.add_row(label, *_cells(entries, width))
    console.print(table)


def _cells(entries: Sequence[float | str | None], width: int) -> list[Text]:
    numbers = [x for x in entries if isinstance(x, float)]
    texts = iter(figures(numbers, width)) if numbers else iter(())
    first: str | None = None
    cells = []
    for x in entries:
        if x is None:
            cells.append(Text(REFUSED if width >= len(REFUSED) else "refused", style="yellow"))
        elif isinstance(x, str):
            cells.append(Text(x))
        else:
            text = next(texts)
            first = text if first is None else first
            same = _common(first, text)
            cells.append(Text.assemble((text[:same], "green"), (text[same:], "yellow")))
    return cells


def _common(first: str, second: str) -> int:
    """How many characters the two start with in common."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def show_study(console: Console, study: Study, held_out: tuple[Vector, Vector]) -> None:
    """Everything found about one model, a column for each backend."""
    names = list(study.answers)
    runs = [study.runs[name] for name in names]
    ends = [run.path[-1] for run in runs]
    images, labels = held_out
    read = [float(np.mean(study.model.predict(end.p, images) == labels)) for end in ends]
    last = len(study.answers[names[0]]) - 1
    eigenvalues = [study.eigenvalues[name] for name in names]
    groups: dict[str, list[Row]] = {
        "at the start": _probe_rows([study.answers[n][0] for n in names]),
        f"at {names[0]}'s step {last}": [
            *_probe_rows([study.answers[n][last] for n in names]),
            ("largest λ of H", eigenvalues),
        ],
        f"at all {last + 1} points": [
            ("differs by", ["–", *(f"{study.parting(names[0], n):.1e}" for n in names[1:])])
        ],
        "by itself": [
            ("method", [run.method for run in runs]),
            ("steps", [str(len(run.path) - 1) for run in runs]),
            ("calls for g", [str(end.gradients) for end in ends]),
            ("calls for H v", [str(end.products) for end in ends]),
            ("final loss", [end.loss for end in ends]),
            ("read right", [f"{share:.1%}" for share in read]),
            ("seconds", [f"{run.seconds:.2f}" for run in runs]),
        ],
    }
    if len(names) == 1:
        del groups[f"at all {last + 1} points"]
    sizes = " – ".join(map(str, study.model.sizes))
    title = f"{study.model.name}: {sizes}, {study.model.start.size:,} parameters"
    console.print()
    _show_table(console, title, names, groups)
    if len(names) > 1:
        console.print(
            "Above, every backend answers at the same points. By itself, each one trains: a solver "
            "amplifies rounding, so that the final losses may part in late digits.",
            style="dim",
        )
    _show_checks(console, names[0], study.checks)


def _probe_rows(probes: Sequence[Probe]) -> list[Row]:
    """The numbers of one point as rows of a table."""
    return [
        ("loss", [p.loss for p in probes]),
        ("|g|", [float(np.linalg.norm(p.gradient)) for p in probes]),
        (
            "|H v|",
            [None if p.product is None else float(np.linalg.norm(p.product)) for p in probes],
        ),
        ("vᵀ H v", [p.curvature for p in probes]),
    ]


def _show_checks(console: Console, name: str, checks: Sequence[Check]) -> None:
    console.print("The last point again without derivative code, by Cauchy's integral formula:")
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", f"unigrad on {name}", "from 32 losses", "difference"):
        table.add_column(heading, no_wrap=True, min_width=LABELS if not heading else 0)
    for check in checks:
        got, expected = _cells([check.expected, check.got], 20)[::-1]
        table.add_row(check.name, got, expected, f"{check.difference:.1e}")
    console.print(table)


def show_digits(console: Console, model: Model, p: Vector, held_out: tuple[Vector, Vector]) -> None:
    """Some held-out digits in characters, and how the model reads each."""
    images, labels = held_out
    guesses = model.predict(p, images)
    count = max(3, min(12, console.width // 11))
    wrong = np.flatnonzero(guesses != labels)[:2]  # a newcomer should see these too
    chosen = np.concatenate([np.arange(count - len(wrong)), wrong])
    images, labels, guesses = images[chosen], labels[chosen], guesses[chosen]
    console.print(f"Held-out digits as the {model.name} reads them, its mistakes last:\n")
    shade = np.rint(images.reshape(count, 4, 2, 8).mean(axis=2) * (len(SHADES) - 1))
    for row in range(4):
        line = "   ".join("".join(SHADES[int(s)] for s in shade[i, row]) for i in range(count))
        console.print(line, markup=False, no_wrap=True)
    reading = Text()
    for guess, label in zip(guesses, labels, strict=True):
        right = bool(guess == label)
        note = f"  = {guess}" if right else f" {guess}, not {label}"
        reading.append(f"{note:<11}", style="green" if right else "red")
    console.print(reading, no_wrap=True)


def show_verdict(console: Console, studies: Sequence[Study], seconds: float) -> bool:
    """Whether everything agrees, in words."""
    names = list(studies[0].answers)
    fine = True
    pairs = [(study.parting(*pair), pair) for study in studies for pair in combinations(names, 2)]
    if pairs:
        gap, (one, two) = max(pairs, key=lambda found: np.nan_to_num(found[0], nan=np.inf))
        fine = gap <= AGREEMENT
        line = (
            f"{len(names)} backends: every loss, gradient and Hessian-vector product at the "
            f"{len(studies[0].points)} shared points of each model. Largest relative difference of "
            f"two backends: {gap:.1e} ({one} and {two}); allowed: {AGREEMENT:.0e}."
        )
        _say(console, fine, line)
    departure = float(np.max([check.difference for study in studies for check in study.checks]))
    right = departure <= ORACLE
    line = (
        f"{names[0]} and the numbers made without derivative code. Largest relative difference: "
        f"{departure:.1e}; allowed: {ORACLE:.0e}."
    )
    _say(console, right, line)
    console.print(f"{seconds:.0f} seconds in all.")
    return fine and right


def _say(console: Console, fine: bool, line: str) -> None:
    word = Text("agree   " if fine else "DIFFER  ", style="bold green" if fine else "bold red")
    console.print(Text.assemble(word, line))


def show_missing(console: Console, missing: Mapping[str, str]) -> None:
    """The backends that could run here too, and why each does not."""
    if missing:
        console.print("\nThe same function runs on more, where they are installed:", style="bold")
    for name, reason in missing.items():
        why, _, command = reason.rpartition("; type: ")
        line = Text.assemble((f"{name:<12}", "bold"), (command or why, "cyan"))
        console.print(line, soft_wrap=True)
