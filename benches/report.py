"""docs/performance.md, of one run: what was to be reached, tables, plots."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import matplotlib
from measure import Figure

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

DOCS = pathlib.Path("docs")
PLOTS = DOCS / "performance"
TOLERANCE = 0.1

Found = dict[str, Figure]


def number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def interval(ratio: tuple[float, float, float]) -> str:
    return "{:.2f} × ({:.2f}–{:.2f})".format(*ratio)


def verdict(ratio: tuple[float, float, float], reached: Callable[[float], bool]) -> str:
    """Whether a ratio is good enough: the middle half of the rounds has to be on one side for a yes or a no."""
    _, low, high = ratio
    if reached(low) != reached(high):
        return "the spread does not say"
    return "yes" if reached(low) else "no"


def at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def goals(found: Found) -> list[tuple[str, str, str, str]]:
    """What was to be reached, what is, and whether."""
    rows = []

    def goal(what: str, aim: str, ratio: tuple[float, float, float], reached: Callable[[float], bool]) -> None:
        rows.append((what, aim, interval(ratio), verdict(ratio, reached)))

    one, five = found["one plugin, cache on tmpfs, ADD"], found["five plugins, cache on tmpfs, ADD"]
    goal("one plugin, ADD, over the floor (durability `atomic`)", "≤ 1.3 ×", one.ratio("cnirt", "floor"), at_most(1.3))
    disk = found["one plugin, cache on disk, ADD"]
    rows.append(("the same with `full`, cache on disk", "shown", interval(disk.ratio("cnirt, full", "floor")), "–"))
    rows.append(("libcni, one plugin, ADD, over the floor", "shown", interval(one.ratio("libcni", "floor")), "–"))
    goal("five plugins, ADD, faster than libcni", "≥ 2.5 ×", five.ratio("libcni", "cnirt"), at_least(2.5))
    for threads in (8, 32):
        throughput = found[f"{threads} at a time, ADD"]
        goal(f"plugins started a second, {threads} at a time, to libcni", "≥ 4 ×", throughput.ratio("cnirt", "libcni"), at_least(4))
        rows.append(("the floor there, to libcni: the most that this machine gives", "shown", interval(throughput.ratio("floor", "libcni")), "–"))
    fds, memory = found["open descriptors, ADD"], found["MiB touched by the host, ADD"]
    goal("19 000 open descriptors against none", "≤ 1.3 ×", fds.ratio("cnirt, 19000", "cnirt, 0"), at_most(1.3))
    rows.append(("libcni there", "shown", interval(fds.ratio("libcni, 19000", "libcni, 0")), "–"))
    goal("4 GiB touched against none", "≤ 1.1 ×", memory.ratio("cnirt, 4096", "cnirt, 0"), at_most(1 + TOLERANCE))
    added = found["memory added by, 1 000 ADD and DEL"]
    ours, libcnis = added.median("cnirt"), added.median("libcni")
    rows.append(("memory added by 1 000 calls", "< 1 MB", f"{ours:.2f} MB (libcni {libcnis:.1f} MB)", "yes" if ours < 1 else "no"))
    goal("loopback, built in, faster than libcni and its plugin", "≥ 13 ×", found["loopback, ADD"].ratio("libcni", "cnirt"), at_least(13))
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figures_table(figures: list[Figure]) -> str:
    """One table for figures with the same sides."""
    sides = list(figures[0].samples)
    head = [f"{figures[0].unit}"] + [f"{side}, median (p95)" for side in sides]
    if len(sides) > 1:
        head += [f"{sides[0]} / {side}" for side in sides[1:]]
    rows = []
    for figure in figures:
        values = [f"{number(figure.median(side))} ({number(figure.p95(side))})" for side in sides]
        ratios = [interval(figure.ratio(sides[0], side)) for side in sides[1:]]
        rows.append([figure.name, *values, *ratios])
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
        {side: [found["open descriptors, ADD"].median(f"{side}, {count}") for count in amounts] for side in ("cnirt", "libcni")},
    )  # fmt: skip
    return {"plugins": adds, "concurrency": throughput, "descriptors": descriptors}


SECTIONS = {
    "plugins": ("One plugin and five", lambda name: "plugin" in name and "cache on" in name),
    "concurrency": ("At the same time", lambda name: "at a time" in name),
    "descriptors": ("Hosts with many descriptors", lambda name: name.startswith("open descriptors")),
    "touched": ("Hosts with much memory", lambda name: name.startswith("MiB touched")),
    "languages": ("Called from C, Go and Python", lambda name: name.startswith("called from")),
    "memory": ("What a host gets with the library", lambda name: name.startswith(("memory", "size", "time to load"))),
    "real": ("Real plugins", lambda name: name.startswith(("loopback", "bridge"))),
}

INTRODUCTION = """# Performance

Made by `scripts/bench`. In each round all sides of a table take their turn, in a new order, with new containers; what the first
round measures does not count. A ratio is the median of the rounds' ratios, with the middle half of them in
parentheses; a goal counts as reached, or missed, only where all of that half is on one side of it.

*cnirt* is a C host of `cni_runtime_add` and `cni_runtime_del` with durability `atomic`, which is what libcni does and no less
than it promises; *libcni* is a Go program with libcni v1.3.1; *floor* is a C program that starts the same plugin by
`vfork` and `exec`, with a pipe in and a pipe out, and nothing else. *full* syncs files and directories; *pod* is
`cni_setup_pod` and `cni_teardown_pod`, with lock, intent and rollback. The plugin is a static C program that reads its
configuration and prints a small result.

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
