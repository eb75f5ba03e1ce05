"""Measures the cases that are named, or all: see scripts/bench."""

from __future__ import annotations

import argparse
import pathlib

import cases
import machine
import report
from measure import Figure
from sides import BUILT, Network, Sides, environment


def check() -> None:
    """Every driver does its work once."""
    with cases.on("tmpfs") as directory, Sides(directory) as sides:
        network = Network()
        loopback = Network(netns="/proc/self/ns/net", if_name="lo")
        made = [
            sides.floor(network), sides.libcni(network), sides.libcni(network, "cnirt-go"), sides.runtime(network),
            sides.pod(network), sides.pod(loopback, loopback=True), sides.python(network),
        ]  # fmt: skip
        for side in made:
            assert len(side.calls("add", 2).each) == 2 == len(side.calls("del", 2).each)
            if side.name != "python":
                assert side.ask("memory")["private"] > 0
                assert side.ask("fds 1") == side.ask("touch 1") == {}
    assert list(cases.library(cases.Effort(1, 1, 1, 0)))
    print(f"{len(made)} passed, 0 failed")


def show(figure: Figure) -> None:
    sides = ", ".join(f"{side} {figure.median(side):.4g}" for side in figure.samples)
    ratios = ["{0}/{1} {2:.2f} [{3:.2f}, {4:.2f}]".format(*pair, *figure.ratio(*pair)) for pair in figure.pairs]
    print(f"{figure.name} [{figure.unit}]: {sides}; {', '.join(ratios)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="fewer rounds")
    how.add_argument("--full", action="store_true", help="up to 1 000 pods attached, in place of 100")
    how.add_argument("--check", action="store_true", help="only try every driver, without cases")
    parser.add_argument("case", nargs="*", choices=[[], *cases.CASES])
    arguments = parser.parse_args()
    if arguments.check and arguments.case:
        parser.error("--check takes no cases")
    environment()
    pathlib.Path("/run/netns").mkdir(exist_ok=True)
    if arguments.check:
        return check()
    effort = cases.QUICK if arguments.quick else cases.FULL if arguments.full else cases.NORMAL
    figures = []
    for name in arguments.case or cases.CASES:
        for figure in cases.CASES[name](effort):
            show(figure)
            figures.append(figure)
    here = machine.describe(BUILT)
    cases.save(figures, BUILT / "results.json", here)
    if not arguments.case and not arguments.quick:
        report.write(figures, here)


if __name__ == "__main__":
    main()
