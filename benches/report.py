"""docs/performance.md, of one run: what was to be reached, tables, plots."""

from __future__ import annotations

import math
import pathlib

import matplotlib
from measure import Figure, Interval

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

DOCS = pathlib.Path("docs")
PLOTS = DOCS / "performance"

Found = dict[str, Figure]


def number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def interval(ratio: Interval) -> str:
    return "{:.2f} × ({:.2f}–{:.2f})".format(*ratio)


def verdict(measured: Interval, least: float, most: float) -> str:
    """Only what holds for all of the interval is said."""
    _, low, high = measured
    if least <= low and high <= most:
        return "yes"
    return "no" if high < least or low > most else "the spread does not say"


def goals(found: Found) -> list[tuple[str, str, str, str]]:
    """What was to be reached, what is, and whether."""
    rows = []

    def goal(what: str, aim: str, ratio: Interval, least: float = -math.inf, most: float = math.inf) -> None:
        rows.append((what, aim, interval(ratio), verdict(ratio, least, most)))

    def shown(what: str, ratio: Interval) -> None:
        rows.append((what, "shown", interval(ratio), "–"))

    one, five = found["one plugin, cache on tmpfs, ADD"], found["five plugins, cache on tmpfs, ADD"]
    goal("one plugin, ADD, over the floor (`atomic`, cache on tmpfs)", "≤ 1.3 ×", one.ratio("cnirt", "floor"), most=1.3)
    shown("the same with `full`", one.ratio("cnirt, full", "floor"))
    disk = found["one plugin, cache on disk, ADD"]
    shown("the same on disk, `atomic`", disk.ratio("cnirt", "floor"))
    shown("the same on disk, `full`", disk.ratio("cnirt, full", "floor"))
    shown("libcni, one plugin, ADD, over the floor, cache on tmpfs", one.ratio("libcni", "floor"))
    goal("five plugins, ADD, faster than libcni", "≥ 2.5 ×", five.ratio("libcni", "cnirt"), least=2.5)
    shown("the floor, five times, faster than libcni: no library can be faster", five.ratio("libcni", "floor"))
    for threads in (8, 32):
        throughput = found[f"{threads} at a time, ADD"]
        what = f"plugins started a second, {threads} at a time"
        goal(f"{what}, against libcni", "≥ 4 ×", throughput.ratio("cnirt", "libcni"), least=4)
        shown(f"{what}, the floor against libcni: no library can be faster", throughput.ratio("floor", "libcni"))
    fds = found["open descriptors, ADD"]
    goal("19 000 open descriptors against none", "≤ 1.3 ×", fds.ratio("cnirt, 19000", "cnirt, 0"), most=1.3)
    shown("19 000 open descriptors against none, libcni", fds.ratio("libcni, 19000", "libcni, 0"))
    if memory := found.get("MiB touched by the host, ADD"):
        goal("4 GiB touched against none", "0.9–1.1 ×", memory.ratio("cnirt, 4096", "cnirt, 0"), least=0.9, most=1.1)
    added = found["memory added by, 1 000 ADD and DEL"]
    ours, libcnis = added.typical("cnirt"), added.typical("libcni")
    words = "{:.2f} MB ({:.2f}–{:.2f}); libcni {:.1f} MB".format(*ours, libcnis[0])
    rows.append(("memory added to a host by 1 000 ADD and 1 000 DEL", "< 1 MB", words, verdict(ours, -math.inf, 1)))
    ratio = found["loopback, ADD"].ratio("libcni", "cnirt")
    goal("loopback, built in, faster than libcni and its plugin", "≥ 13 ×", ratio, least=13)
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figures_table(figures: list[Figure]) -> str:
    """One table for figures with the same sides."""
    first = figures[0]
    head = [first.unit, *(f"{side}, median ({first.bad_end})" for side in first.samples)]
    head += [f"{one} / {other}" for one, other in first.pairs]
    rows = []
    for figure in figures:
        bad = {side: figure.bad(side) for side in figure.samples}
        values = [
            number(figure.median(side)) + ("" if worse is None else f" ({number(worse)})") for side, worse in bad.items()
        ]
        rows.append([figure.name, *values, *(interval(figure.ratio(*pair)) for pair in figure.pairs)])
    return table(head, rows)


def chart(name: str, title: str, unit: str, groups: list[str], bars: dict[str, list[float]]) -> str:
    plt.rcParams.update({"svg.hashsalt": "cnirt", "font.size": 9, "svg.fonttype": "none"})
    drawing, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    width = 0.8 / len(bars)
    for at, (side, values) in enumerate(bars.items()):
        places = [group + (at - (len(bars) - 1) / 2) * width for group in range(len(groups))]
        axes.bar_label(axes.bar(places, values, width, label=side), fmt=lambda value: number(value), fontsize=7)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    PLOTS.mkdir(exist_ok=True)
    drawing.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close(drawing)
    return f"![{title}](performance/{name}.svg)\n"


def plots(found: Found) -> dict[str, str]:
    sides = ("cnirt", "libcni", "floor")
    numbers = [f"{what} plugin{'s' * (what != 'one')}, cache on {kind}" for kind in ("tmpfs", "disk") for what in ("one", "five")]
    adds = chart(
        "add", "ADD, median", "µs", numbers,
        {side: [found[f"{name}, ADD"].median(side) for name in numbers] for side in (*sides, "cnirt, full")},
    )  # fmt: skip
    threads = ("1", "2", "8", "32")
    throughput = chart(
        "throughput", "ADDs a second, by calls at a time", "1/s", list(threads),
        {side: [found[f"{count} at a time, ADD"].median(side) for count in threads] for side in sides},
    )  # fmt: skip
    amounts = ("0", "1000", "10000", "19000")
    descriptors = chart(
        "descriptors", "ADD, by descriptors that the host has open", "µs", list(amounts),
        {side: [found["open descriptors, ADD"].median(f"{side}, {count}") for count in amounts] for side in sides},
    )  # fmt: skip
    return {"plugins": adds, "concurrency": throughput, "descriptors": descriptors}


SECTIONS = {
    "plugins": ("One plugin and five", lambda name: "plugin" in name and "cache on" in name),
    "concurrency": ("At the same time", lambda name: "at a time" in name),
    "descriptors": ("Hosts with many descriptors", lambda name: name.startswith("open descriptors")),
    "touched": ("Hosts with much memory", lambda name: name.startswith("MiB touched")),
    "languages": ("Called from C, Go and Python", lambda name: name.startswith("called from")),
    "memory": ("Memory, size, loading", lambda name: name.startswith(("memory", "size", "time to load"))),
    "real": ("Real plugins", lambda name: name.startswith(("loopback", "bridge"))),
}

INTRODUCTION = """# Performance

Made by `scripts/bench`. In each round all sides of a table take their turn, in a new order, with new containers; what the first
round measures does not count. A ratio is the median of the rounds' ratios; in parentheses is where the true median lies in
95 of 100 cases. A goal counts as reached, or missed, only where all of that interval is on one side of it.

*cnirt* is a C host of `cni_runtime_add` and `cni_runtime_del` with durability `atomic`: a temporary file and a rename,
without fsync. *libcni* is a Go program with libcni v1.3.1, which writes the file in place, without fsync too. *floor* is a C
program that starts the same plugin by `vfork` and `exec`, with a pipe in and a pipe out, and nothing else. *full*, which is
the library's default, syncs files and directories; *pod* is `cni_setup_pod` and `cni_teardown_pod`, with lock, intent and
rollback. The plugin is a static C program that reads its configuration and prints a small result. Processor time is that of
the host and of its children.

"""


def write(figures: list[Figure], machine: dict[str, str]) -> None:
    found = {figure.name: figure for figure in figures}
    drawn = plots(found)
    text = INTRODUCTION
    text += table(["machine", ""], [[key, value] for key, value in machine.items()])
    text += "\n## Goals\n\n" + table(["what", "goal", "measured", "reached"], [list(row) for row in goals(found)])
    profile = DOCS / "performance/profile.md"
    if profile.exists():
        text += "\n" + profile.read_text()
    for key, (title, belongs) in SECTIONS.items():
        text += f"\n## {title}\n\n" + drawn.get(key, "") + ("\n" if key in drawn else "")
        kinds: dict[tuple[str, ...], list[Figure]] = {}
        for figure in figures:
            if belongs(figure.name):
                kinds.setdefault((figure.unit, *figure.samples), []).append(figure)
        text += "\n".join(figures_table(kind) for kind in kinds.values())
    (DOCS / "performance.md").write_text(text)
