"""Rounds in which all sides take their turn, and what may be said of them."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# What a side's turn measured, by what it is.
Turn = Callable[[], dict[str, list[float]]]


Interval = tuple[float, float, float]


def median_of(values: list[float]) -> Interval:
    """The median, and the two values between which the true one lies in 95 of 100 cases, whatever the distribution."""
    ordered, number = sorted(values), len(values)
    # So many from either end leave out less than 2.5 % of how `number` coins may fall.
    left_out, tail = 0, 1 / 2**number
    while tail <= 0.025:
        left_out += 1
        tail += math.comb(number, left_out) / 2**number
    at = max(0, left_out - 1)
    return statistics.median(ordered), ordered[at], ordered[number - 1 - at]


@dataclass
class Figure:
    """One line of a table: what each side took in each round, and which sides are compared."""

    name: str
    unit: str
    samples: dict[str, list[list[float]]]
    pairs: list[tuple[str, str]]

    def all(self, side: str) -> list[float]:
        return sum(self.samples[side], [])

    def median(self, side: str) -> float:
        return statistics.median(self.all(side))

    @property
    def bad_end(self) -> str:
        return "p5" if self.unit == "1/s" else "p95"

    def bad(self, side: str) -> float | None:
        """What one in twenty is worse than; of fewer values nothing can be said."""
        values = sorted(self.all(side), reverse=self.bad_end == "p5")
        return values[math.ceil(len(values) * 0.95) - 1] if len(values) >= 20 else None

    def typical(self, side: str) -> Interval:
        return median_of([statistics.median(values) for values in self.samples[side]])

    def ratio(self, side: str, to: str) -> Interval:
        """`side` over `to`, of the rounds' ratios: what disturbs one side of a round disturbs the other."""
        pairs = zip(self.samples[side], self.samples[to], strict=True)
        return median_of([statistics.median(one) / statistics.median(other) for one, other in pairs])

    def to_json(self) -> dict[str, object]:
        ours = next(iter(self.samples))
        ratios = {
            f"{one}/{other}": dict(zip(("ratio", "low", "high"), self.ratio(one, other), strict=True))
            for one, other in self.pairs
        }
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.median(ours),
            "libcni": self.median("libcni") if "libcni" in self.samples else None,
            "floor": self.median("floor") if "floor" in self.samples else None,
            "ratio": ratios.get(f"{ours}/libcni"),
            "runs": len(self.all(ours)),
            "sides": {side: {"median": self.median(side), self.bad_end: self.bad(side)} for side in self.samples},
            "ratios": ratios,
        }


def interleave(
    case: str,
    turns: Mapping[str, Turn],
    units: Mapping[str, str],
    rounds: int,
    pairs: list[tuple[str, str]] | None = None,
) -> list[Figure]:
    """Takes the sides in a new order each round; the first round, which finds nothing in caches, does not count.
    Without `pairs` the first side is compared with each other one."""
    first, *others = turns
    pairs = [(first, other) for other in others] if pairs is None else pairs
    figures = {what: Figure(f"{case}, {what}", unit, {side: [] for side in turns}, pairs) for what, unit in units.items()}
    for number in range(rounds + 1):
        order = list(turns)
        random.shuffle(order)
        for side in order:
            for what, values in turns[side]().items():
                if number and what in figures:
                    figures[what].samples[side].append(values)
    return list(figures.values())
