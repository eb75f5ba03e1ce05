"""Rounds in which all sides take their turn, and what may be said of them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# What a side's turn measured, by what it is.
Turn = Callable[[], dict[str, list[float]]]


@dataclass
class Figure:
    """One line of a table: what each side took, and ratios with the middle half of the rounds' ratios."""

    name: str
    unit: str
    samples: dict[str, list[list[float]]]

    def median(self, side: str) -> float:
        return statistics.median(sum(self.samples[side], []))

    def p95(self, side: str) -> float:
        values = sorted(sum(self.samples[side], []))
        return values[min(len(values) - 1, int(len(values) * 0.95))]

    def ratio(self, side: str, to: str) -> tuple[float, float, float]:
        """`side` over `to`: median of the rounds' ratios, and their quartiles. Rounds, since what disturbs one side of a
        round disturbs the other."""
        pairs = zip(self.samples[side], self.samples[to], strict=True)
        ratios = [statistics.median(one) / statistics.median(other) for one, other in pairs]
        if len(ratios) < 2:
            return (ratios[0],) * 3
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return middle, low, high

    def to_json(self) -> dict[str, object]:
        sides = {
            side: {"median": self.median(side), "p95": self.p95(side), "runs": len(sum(self.samples[side], []))}
            for side in self.samples
        }
        first = next(iter(self.samples))
        others = [side for side in self.samples if side != first]
        ratios = {
            f"{first}/{side}": dict(zip(("ratio", "low", "high"), self.ratio(first, side), strict=True))
            for side in others
        }
        return {"name": self.name, "unit": self.unit, "sides": sides, "ratios": ratios}


def interleave(case: str, turns: Mapping[str, Turn], units: Mapping[str, str], rounds: int) -> list[Figure]:
    """Takes the sides in a new order each round; the first round, which finds nothing in caches, does not count."""
    figures = {what: Figure(f"{case}, {what}", unit, {side: [] for side in turns}) for what, unit in units.items()}
    for number in range(rounds + 1):
        order = list(turns)
        random.shuffle(order)
        for side in order:
            for what, values in turns[side]().items():
                if number and what in figures:
                    figures[what].samples[side].append(values)
    return list(figures.values())
