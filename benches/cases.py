"""What is measured. Each case answers figures; it runs in network and mount namespaces of the benchmark's own."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from measure import Figure, Turn, interleave
from sides import BUILT, Network, Side, Sides

ADD_DEL = {"ADD": "µs", "DEL": "µs", "CPU of ADD and DEL": "µs"}
FIVE = Network(plugins=[{"type": "plugin"}] * 5)
REAL = "/usr/lib/cni"


@dataclass(frozen=True)
class Effort:
    """How often."""

    rounds: int
    calls: int
    # Of plugins that take tens of milliseconds.
    real_calls: int
    # The most pods that are attached beside.
    pods: int


QUICK = Effort(rounds=7, calls=15, real_calls=2, pods=0)
NORMAL = Effort(rounds=31, calls=30, real_calls=3, pods=100)
FULL = replace(NORMAL, pods=1000)


def micro(nanoseconds: list[int]) -> list[float]:
    return [value / 1000 for value in nanoseconds]


def add_and_del(side: Side, calls: int) -> Turn:
    def turn() -> dict[str, list[float]]:
        added, deleted = side.calls("add", calls), side.calls("del", calls)
        cpu = (added.cpu + deleted.cpu) / calls / 1000
        return {"ADD": micro(added.each), "DEL": micro(deleted.each), "CPU of ADD and DEL": [cpu]}

    return turn


def each_in_turn(sides: dict[str, Side], calls: int) -> dict[str, Turn]:
    return {name: add_and_del(side, calls) for name, side in sides.items()}


def all_sides(effort: Effort, directory: pathlib.Path, network: Network, name: str) -> list[Figure]:
    with Sides(directory) as sides:
        turns = {
            "cnirt": sides.runtime(network),
            "libcni": sides.libcni(network),
            "floor": sides.floor(network),
            "cnirt, full": sides.runtime(network, "full"),
            "pod, atomic": sides.pod(network),
            "pod, full": sides.pod(network, "full"),
        }
        return interleave(name, each_in_turn(turns, effort.calls), ADD_DEL, effort.rounds)


@contextlib.contextmanager
def on(kind: str) -> Iterator[pathlib.Path]:
    """A directory for caches on the disk that the build is on, or in memory."""
    where = "/dev/shm" if kind == "tmpfs" else str(BUILT)
    with tempfile.TemporaryDirectory(dir=where) as directory:
        yield pathlib.Path(directory)


def plugins(effort: Effort) -> Iterator[Figure]:
    for kind in ("tmpfs", "disk"):
        for network, what in ((Network(), "one plugin"), (FIVE, "five plugins")):
            with on(kind) as directory:
                yield from all_sides(effort, directory, network, f"{what}, cache on {kind}")


def concurrency(effort: Effort) -> Iterator[Figure]:
    def turn(side: Side, threads: int) -> Turn:
        def measure() -> dict[str, list[float]]:
            number = max(effort.calls, 2 * threads)
            return {
                command: [number / side.calls(command.lower(), number, threads).wall * 1e9] for command in ("ADD", "DEL")
            }

        return measure

    for threads in (1, 2, 8, 32):
        with on("tmpfs") as directory, Sides(directory) as sides:
            network = Network()
            turns = {
                "cnirt": turn(sides.runtime(network), threads),
                "libcni": turn(sides.libcni(network), threads),
                "floor": turn(sides.floor(network), threads),
            }
            yield from interleave(f"{threads} at a time", turns, {"ADD": "1/s", "DEL": "1/s"}, effort.rounds)


def host(effort: Effort, command: str, amounts: tuple[int, ...], name: str) -> Iterator[Figure]:
    """Hosts that have more and more of something, each against its own kind that has nothing."""
    with on("tmpfs") as directory, Sides(directory) as sides:
        network = Network()
        turns, pairs = {}, []
        for who, make in (("cnirt", sides.runtime), ("libcni", sides.libcni), ("floor", sides.floor)):
            for amount in amounts:
                side = make(network)
                side.ask(f"{command} {amount}")
                turns[f"{who}, {amount}"] = add_and_del(side, effort.calls)
                if amount:
                    pairs.append((f"{who}, {amount}", f"{who}, 0"))
        yield from interleave(name, turns, {"ADD": "µs"}, effort.rounds, pairs)


def descriptors(effort: Effort) -> Iterator[Figure]:
    yield from host(effort, "fds", (0, 1000, 10_000, 19_000), "open descriptors")


def available() -> int:
    """Bytes of memory that programs can have without swapping."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def touched(effort: Effort) -> Iterator[Figure]:
    """Of three hosts that have it at the same time, 1 GiB and 4 GiB."""
    needed, free = 16, available() >> 30
    if free < needed:
        print(f"touched: skipped, it needs {needed} GiB of free memory, not {free}")
        return
    yield from host(effort, "touch", (0, 1024, 4096), "MiB touched by the host")


def languages(effort: Effort) -> Iterator[Figure]:
    with on("tmpfs") as directory, Sides(directory) as sides:
        network = Network()
        turns = {
            "C": sides.runtime(network),
            "Go": sides.libcni(network, "cnirt-go"),
            "libcni": sides.libcni(network),
            "C, pod": sides.pod(network),
            "Python, pod": sides.python(network),
        }
        pairs = [("C", "libcni"), ("Go", "libcni"), ("Go", "C"), ("Python, pod", "C, pod")]
        yield from interleave("called from", each_in_turn(turns, effort.calls), ADD_DEL, effort.rounds, pairs)


def memory(effort: Effort) -> Iterator[Figure]:
    """What the library costs a host that has it, and what 1 000 calls add, ours and libcni's."""

    def growth(make: Callable[[Sides], Side]) -> Turn:
        def measure() -> dict[str, list[float]]:
            with on("tmpfs") as directory, Sides(directory) as sides:
                side, without = make(sides), sides.floor(Network())
                before = side.ask("memory")["private"]
                loaded = before - without.ask("memory")["private"]
                side.calls("add", 1000)
                side.calls("del", 1000)
                after = side.ask("memory")["private"]
                return {"1 000 ADD and DEL": [(after - before) / 1e6], "the library with a handle": [loaded / 1e6]}

        return measure

    turns = {
        "cnirt": growth(lambda sides: sides.runtime(Network())),
        "libcni": growth(lambda sides: sides.libcni(Network())),
        "floor": growth(lambda sides: sides.floor(Network())),
    }
    added, with_library = interleave(
        "memory added by",
        turns,
        {"1 000 ADD and DEL": "MB", "the library with a handle": "MB"},
        max(3, effort.rounds // 5),
        [],
    )
    yield added
    # A Go program has libcni and its runtime in one.
    yield replace(with_library, samples={"cnirt": with_library.samples["cnirt"]})


def library(effort: Effort) -> Iterator[Figure]:
    path = BUILT / "stage/lib/libcnirt.so.0"
    yield Figure("size of the library", "MB", {"cnirt": [[path.stat().st_size / 1e6]]}, [])
    runs = [
        int(subprocess.run([str(BUILT / "load"), str(path)], check=True, capture_output=True, text=True).stdout)
        for _ in range(effort.rounds * 5)
    ]
    yield Figure("time to load the library", "µs", {"cnirt": [micro(runs)]}, [])


def namespaces(number: int) -> None:
    for at in range(number):
        path = pathlib.Path(f"/run/netns/p{at}")
        if not path.exists():
            subprocess.run(["ip", "netns", "add", path.name], check=True)


def loopback(effort: Effort) -> Iterator[Figure]:
    calls = max(4, effort.calls // 4)
    namespaces(calls * (effort.rounds + 1))
    network = Network([{"type": "loopback"}], REAL, "/run/netns/p%ld", "lo")
    with on("tmpfs") as directory, Sides(directory) as sides:
        turns = {"cnirt": sides.pod(network, loopback=True), "libcni": sides.libcni(network)}
        yield from interleave("loopback", each_in_turn(turns, calls), ADD_DEL, effort.rounds)


def bridge(first: str, last: str, data: str, masquerade: bool) -> dict[str, object]:
    """All on one bridge, with addresses that do not meet."""
    ipam = {
        "type": "host-local",
        "subnet": "10.88.0.0/16",
        "rangeStart": first,
        "rangeEnd": last,
        "gateway": "10.88.0.1",
        "dataDir": data,
    }
    return {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": masquerade, "ipam": ipam}


def real(effort: Effort) -> Iterator[Figure]:
    calls = effort.real_calls
    rounds = max(5, effort.rounds // 3)
    namespaces(max(calls * (rounds + 1), effort.pods))
    with on("tmpfs") as directory, Sides(directory) as others:
        small = Network([bridge("10.88.1.0", "10.88.1.255", f"{directory}/a", False)], REAL, "/run/netns/p%ld")
        large = replace(
            small,
            plugins=[
                bridge("10.88.2.0", "10.88.2.255", f"{directory}/b", True),
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
            ports=True,
        )
        plugin = bridge("10.88.128.0", "10.88.255.0", f"{directory}/c", False)
        beside = others.runtime(Network([plugin], REAL, "/run/netns/p%ld", "eth9"))
        attached = 0
        for pods in (0, 100, 1000):
            if pods > effort.pods:
                break
            if pods:
                beside.calls("add", pods - attached)
                attached = pods
            for network, what in ((small, "bridge + host-local"), (large, "bridge with ipMasq + host-local + portmap")):
                with Sides(directory / f"{pods} {what}") as sides:
                    turns = {"cnirt": sides.runtime(network), "libcni": sides.libcni(network)}
                    # Pods of the benchmark ask for no host port.
                    if not network.ports:
                        turns["pod, full"] = sides.pod(network, "full")
                    name = f"{what}, {pods} pods attached"
                    yield from interleave(name, each_in_turn(turns, calls), ADD_DEL, rounds)


CASES: dict[str, Callable[[Effort], Iterator[Figure]]] = {
    "plugins": plugins,
    "concurrency": concurrency,
    "descriptors": descriptors,
    "touched": touched,
    "languages": languages,
    "memory": memory,
    "library": library,
    "loopback": loopback,
    "real": real,
}


def save(figures: list[Figure], path: pathlib.Path, machine: dict[str, str]) -> None:
    path.write_text(json.dumps({"machine": machine, "figures": [figure.to_json() for figure in figures]}, indent=1) + "\n")
