"""The processes that are measured: ours, libcni's, and the floor, each obeying lines on its standard input."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

BUILT = pathlib.Path("target/bench")
LIST = {"cniVersion": "1.0.0", "name": "bench"}


@dataclass
class Calls:
    """What a driver says of some calls, in nanoseconds."""

    each: list[int]
    wall: int
    cpu: int


class Side:
    """A running driver."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, line: str) -> dict[str, Any]:
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(line + "\n")
        answer = process.stdout.readline()
        if not answer:
            raise SystemExit(f"the driver {self.name} has ended at {line!r} with {process.wait()}")
        return json.loads(answer)

    def calls(self, command: str, number: int, threads: int = 1) -> Calls:
        said = self.ask(f"{command} {number} {threads}")
        return Calls(said["ns"], said["wall"], said["cpu"])

    def close(self, must_be_well: bool) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        if self._process.wait() and must_be_well:
            raise SystemExit(f"the driver {self.name} has failed")


@dataclass
class Network:
    """What all sides are given: a network list, where its plugins are, and each container's namespace."""

    plugins: list[dict[str, Any]] = field(default_factory=lambda: [{"type": "plugin"}])
    binaries: str = str(BUILT.absolute())
    # "%ld" becomes the container's number.
    netns: str = "/proc/self/ns/net"
    if_name: str = "eth0"
    # Whether each container asks for a host port, of which its number makes one.
    ports: bool = False

    @property
    def text(self) -> str:
        return json.dumps(LIST | {"plugins": self.plugins})


class Sides:
    """Starts drivers, each with a cache of its own, below a directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._count = itertools.count()
        self._running: list[Side] = []

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for side in self._running:
            # A first failure is the one to be told.
            side.close(kind is None)

    def _fresh(self, name: str) -> str:
        path = self._directory / f"{name}{next(self._count)}"
        path.mkdir(parents=True)
        return str(path)

    def _start(self, name: str, *arguments: str) -> Side:
        side = Side(name, *arguments)
        self._running.append(side)
        return side

    def floor(self, network: Network) -> Side:
        return self._start("floor", str(BUILT / "floor"), str(BUILT / "plugin"), str(len(network.plugins)))

    def libcni(self, network: Network, binary: str = "libcni-go") -> Side:
        netns = network.netns.replace("%ld", "%d")
        cache = self._fresh(binary)
        return self._start(
            binary, str(BUILT / binary), network.binaries, cache, network.text, netns, network.if_name
        )

    def runtime(self, network: Network, durability: str = "atomic") -> Side:
        """A C host of `cni_runtime_*`, which does just what libcni does."""
        options = {"binDirs": [network.binaries], "cacheDir": self._fresh("runtime"), "durability": durability}
        rt: dict[str, Any] = {"containerID": "c%ld", "netns": network.netns, "ifName": network.if_name}
        if network.ports:
            rt["capabilityArgs"] = {"portMappings": [{"hostPort": "PORT", "containerPort": 80, "protocol": "tcp"}]}
        text = json.dumps(rt).replace('"PORT"', "2%04ld")
        return self._start("runtime", str(BUILT / "cnirt"), "runtime", json.dumps(options), network.text, text)

    def _pod(self, network: Network, durability: str, loopback: bool) -> tuple[str, str]:
        directory = self._fresh("pod")
        conf = pathlib.Path(directory) / "net.d"
        conf.mkdir()
        (conf / "10-bench.conflist").write_text(network.text)
        options = {
            "confDir": str(conf),
            "binDirs": [network.binaries],
            "cacheDir": f"{directory}/cache",
            "durability": durability,
            "loopback": loopback,
        }
        request: dict[str, Any] = {"id": "c%ld", "netns": network.netns}
        if loopback:
            request["networks"] = []
        return json.dumps(options), json.dumps(request)

    def pod(self, network: Network, durability: str = "atomic", loopback: bool = False) -> Side:
        """A C host of `cni_setup_pod`: locks, intents, rollback; with `loopback` nothing but the built-in plugin."""
        options, request = self._pod(network, durability, loopback)
        return self._start("pod", str(BUILT / "cnirt"), "pod", options, "", request)

    def python(self, network: Network) -> Side:
        options, request = self._pod(network, "atomic", False)
        return self._start("python", sys.executable, "benches/drivers/host.py", options, request)


def environment() -> None:
    """What the drivers find."""
    stage = BUILT.absolute() / "stage"
    os.environ["LD_LIBRARY_PATH"] = str(stage / "lib")
    os.environ["CNIRT_LIBRARY"] = str(stage / "lib/libcnirt.so")
    os.environ["PYTHONPATH"] = str(pathlib.Path("bindings/python/src").absolute())
    os.environ.pop("CNIRT_SPAWN", None)
