"""Hosts that find and run the real plugins themselves, and hosts that are slow to answer."""

import subprocess
import threading
from pathlib import Path

import host

import cnirt


def runs_plugins_itself(directory):
    """As children of its own, which it alone waits for."""
    host.has_children()
    its = host.Host(directory)
    ran = []

    def find(call):
        paths = [Path(directory, call["type"]) for directory in call["dirs"]]
        return next((path for path in paths if path.exists()), None)

    def execute(call):
        environment = dict(line.split("=", 1) for line in call["env"])
        ran.append(environment["CNI_COMMAND"])
        process = subprocess.run([call["path"]], env=environment, input=call["stdin"].encode(), capture_output=True)
        assert process.returncode == 0, process
        return process.stdout

    with its.guest(find_plugin=find, exec_plugin=execute) as plugin:
        for _ in range(3):
            its.pod(plugin)
    assert {"ADD", "CHECK", "DEL"} <= set(ran)


def answers_slowly(directory):
    """Only the pod that is asked about waits; its limit is the call's, once the answer has come."""
    its = host.Host(directory)
    asked, answer = threading.Event(), threading.Event()

    def get_netns(pod):
        if pod["id"] != "slow":
            return its.directory / pod["id"]
        asked.set()
        assert answer.wait(60)
        return its.directory / "ns"

    def late(plugin):
        try:
            plugin.setup_pod(id="slow", timeout_ms=100)
        except cnirt.TimeoutError:
            return
        raise AssertionError("in time")

    with its.netns("ns"), its.guest(get_netns=get_netns) as plugin, its.on_thread(late, plugin):
        try:
            assert asked.wait(60)
            its.pod(plugin)
            with its.netns("asked"):
                plugin.setup_pod(id="asked")
                plugin.teardown_pod(id="asked")
        finally:
            answer.set()
