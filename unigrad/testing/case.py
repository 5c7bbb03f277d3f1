"""Everything that is run, one case at a time: scenario x operator x transformer, and negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unigrad.testing.checks import ORDERS, operators_of
from unigrad.testing.negatives import NEGATIVES
from unigrad.testing.scenario import Negative, Scenario
from unigrad.testing.scenarios import SCENARIOS
from unigrad.testing.transformers import TRANSFORMERS

__all__ = ["Case", "cases"]


@dataclass(frozen=True)
class Case:
    """One thing to run on one backend.

    Attributes:
        operator: of `unigrad`, or ``"raises"`` for a wrong use.
        order: of differentiation: that of the operator, plus what the function contains.
        transformer: its name, or ``""``.
    """

    scenario: Scenario | Negative
    operator: str
    order: int
    transformer: str = ""

    @property
    def name(self) -> str:
        """The scenario's name, with the transformer's in parentheses."""
        suffix = f" ({self.transformer})" if self.transformer else ""
        return f"{self.scenario.name}{suffix}"

    @property
    def id(self) -> str:
        """``family/name (transformer):operator``, unique; known gaps are patterns of these."""
        return f"{self.scenario.family}/{self.name}:{self.operator}"


def cases(
    scenarios: Sequence[Scenario | Negative] | None = None,
    *,
    ops: Sequence[str] | None = None,
    orders: Sequence[int] | None = None,
) -> list[Case]:
    """The cases of these scenarios, by default all.

    Args:
        ops: families to keep.
        orders: orders of differentiation to keep.
    """
    found: list[Case] = []
    every: tuple[Scenario | Negative, ...] = (*SCENARIOS, *NEGATIVES)
    for scenario in every if scenarios is None else scenarios:
        if isinstance(scenario, Negative):
            found.append(Case(scenario, "raises", scenario.order))
            continue
        for operator in operators_of(scenario):
            own = 0 if operator == "value" else ORDERS[operator]
            found.append(Case(scenario, operator, max(1, own + scenario.depth)))
        for name, transformer in TRANSFORMERS.items():
            if transformer.applies(scenario):
                found += [
                    Case(scenario, operator, order + scenario.depth, name)
                    for operator, order in transformer.orders.items()
                    if scenario.operators is None or operator in scenario.operators
                ]
    return [
        case
        for case in found
        if (ops is None or case.scenario.family in ops) and (orders is None or case.order in orders)
    ]
