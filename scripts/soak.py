"""Plots the samples of scripts/soak: soak.py SAMPLES.csv PLOT.svg."""

import csv
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

ROWS = [
    ("resident_kib", "resident memory, KiB"),
    ("descriptors", "descriptors"),
    ("threads", "threads"),
    ("mappings", "mappings"),
]


def main(samples: str, plot: str) -> None:
    with open(samples, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    calls = [int(row["calls"]) for row in rows]
    # The same samples make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "soak"
    figure, axes = pyplot.subplots(len(ROWS), sharex=True, figsize=(8, 7), layout="constrained")
    for axis, (key, name) in zip(axes, ROWS, strict=True):
        values = [int(row[key]) for row in rows]
        axis.plot(calls, values, linewidth=1)
        axis.set_ylim(0, max(values) * 1.25)
        axis.set_ylabel(name)
        axis.axvline(1000, color="grey", linewidth=0.5, linestyle="dotted")
        axis.annotate(f"{min(values)}–{max(values)}", (1, 0.06), xycoords="axes fraction", ha="right")
    seconds = float(rows[-1]["seconds"])
    axes[0].set_title(f"One process, {calls[-1]:,} set-ups and teardowns in {seconds:,.0f} s")
    axes[-1].set_xlabel("pods set up and torn down")
    figure.savefig(plot, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
