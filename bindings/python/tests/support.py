"""What several tests use."""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
HEADER = ROOT / "include" / "cnirt.h"
DEBUG_LIBRARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "libcnirt.so"


def python(*arguments, **options):
    """Runs Python with this package's sources; what it printed is in the failure."""
    return run(sys.executable, *arguments, **options)


def on_a_node(*command):
    """The command on a node of its own: nothing meets the machine's network."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", "--net", "--mount", *user, "--", *map(str, command)]


def run(*command, timeout=120, **environment):
    """Runs a command to its end; None takes a variable out of its environment."""
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE / "src"), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    command = [str(word) for word in command]
    # Not the caller's directory: "python -m" would look there first.
    done = subprocess.run(command, env=variables, cwd="/", timeout=timeout, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Node:
    """A directory with everything that a network plugin needs, and plugins that are shell scripts or callbacks."""

    #: A namespace that is always there. Nothing in it is touched: no loopback, and the plugins are ours.
    NETNS = "/proc/self/ns/net"

    def __init__(self, directory):
        self.directory = directory
        for name in ("conf", "bin"):
            (directory / name).mkdir()

    def options(self, **others):
        paths = {"conf_dir": self.directory / "conf", "bin_dirs": [self.directory / "bin"]}
        return {**paths, "cache_dir": self.directory / "cache", "loopback": False, "kill_grace_ms": 100, **others}

    def network(self, *types, name="net"):
        plugins = [{"type": plugin_type} for plugin_type in types]
        text = json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
        (self.directory / "conf" / f"{name}.conflist").write_text(text)

    def script(self, plugin_type, add):
        """A plugin that does this on ADD, tells its version, and takes the rest as done."""
        path = self.directory / "bin" / plugin_type
        version = json.dumps(VERSION)
        path.write_text(f"#!/bin/sh -e\ncase $CNI_COMMAND in\nADD)\n{add}\n;;\nVERSION) echo '{version}' ;;\nesac\n")
        path.chmod(0o755)

    def hanging_script(self, plugin_type):
        """A plugin that tells `wait_for_start` that it runs, and hangs."""
        fifo = self.directory / "started"
        os.mkfifo(fifo)
        self.script(plugin_type, f"echo > {fifo}\nexec sleep 600")

    def wait_for_start(self):
        """Returns when the hanging plugin runs."""
        with open(os.open(self.directory / "started", os.O_RDONLY | os.O_NONBLOCK), "rb") as fifo:
            assert select.select([fifo], [], [], 60)[0], "the plugin does not run"


VERSION = {"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}
#: What a plugin prints on ADD.
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": Node.NETNS}],
    "ips": [{"address": "10.9.8.7/24", "interface": 0}],
}


@contextlib.contextmanager
def thread(function, *arguments, **keywords):
    """Runs a function on a thread; yields a function that waits for its result or raises what it raised."""
    outcome = {}

    def target():
        try:
            outcome["result"] = function(*arguments, **keywords)
        except BaseException as error:
            outcome["error"] = error

    def wait(timeout=60):
        worker.join(timeout)
        assert not worker.is_alive(), "still running"
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    worker = threading.Thread(target=target, daemon=True)
    worker.start()
    try:
        yield wait
    finally:
        worker.join(60)
