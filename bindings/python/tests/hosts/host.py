"""What every host has in common: a node with real plugins, pods on it, and what must be so afterwards."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import state

import cnirt

WALL = 0x40000000


class Host:
    """A node in a directory, in network and mount namespaces of its own."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.failures = []
        # With its first thread the C library takes a signal for itself.
        threads = state.threads()
        with self.on_thread(lambda: None):
            pass
        state.wait_for_threads(threads)
        for name in ("conf", "bin"):
            (self.directory / name).mkdir()
        for name in ("running", "go"):
            os.mkfifo(self.directory / name)
        ipam = {"type": "host-local", "dataDir": str(self.directory / "ipam"), "ranges": [[{"subnet": "10.77.0.0/24"}]]}
        bridge = {"type": "bridge", "bridge": "bridge0", "ipam": ipam}
        network = {"cniVersion": "1.0.0", "name": "net", "plugins": [bridge]}
        (self.directory / "conf" / "net.conflist").write_text(json.dumps(network))
        # It hears no TERM, waits for a word, and leaves a child.
        self._script(
            "slow",
            "sleep 1000 < /dev/null > /dev/null 2>&1 &\ntrap '' TERM\n"
            f"echo > {self.directory}/running\nread line < {self.directory}/go",
        )
        self._script("hang", f"echo >> {self.directory}/hanging\nexec sleep 1000")
        self._looking_script()

    def _script(self, name, on_add):
        path = self.directory / "bin" / name
        path.write_text(
            f"#!/bin/sh\ncat > /dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\n{on_add}\n"
            'echo \'{"cniVersion":"1.0.0"}\'\n'
        )
        path.chmod(0o755)

    def _looking_script(self):
        """What a plugin finds: only what it inherited, save for the descriptor that ls reads the directory by.

        Not for a shell, which clears its mask.
        """
        path = self.directory / "bin" / "look"
        seen = f'"{self.directory}/seen"'
        path.write_text(f"""#!{shutil.which("awk")} -f
            BEGIN {{
                if (ENVIRON["CNI_COMMAND"] != "ADD") exit
                while ((getline line < "/proc/self/status") > 0)
                    if (line ~ /^(Sig[PBI]|ShdPnd)/) print line > {seen}
                close({seen})
                system("ls /proc/self/fd >> " {seen})
                system("env > {self.directory}/environment")
                system("readlink /proc/self/cwd > {self.directory}/cwd")
                print "{{\\"cniVersion\\":\\"1.0.0\\"}}"
                exit
            }}
        """)
        path.chmod(0o755)

    def plugin(self, module=cnirt, **options):
        directories = [self.directory / "bin", "/opt/cni/bin", "/usr/lib/cni"]
        return module.Plugin(
            conf_dir=self.directory / "conf",
            cache_dir=self.directory / "cache",
            bin_dirs=directories,
            # So that loopback is a process, too.
            builtin=[],
            **{"timeout_ms": 60000, "kill_grace_ms": 200, **options},
        )

    @staticmethod
    def beside(*types):
        """The networks of a request: the node's own, and one of each of these plugins."""
        configs = [{"config": {"cniVersion": "1.0.0", "name": name, "type": name}} for name in types]
        return [{"name": "net"}, *configs]

    @contextlib.contextmanager
    def netns(self, name):
        path = self.directory / name
        call(cnirt.create_netns, path)
        try:
            yield path
        finally:
            call(cnirt.remove_netns, path)

    @contextlib.contextmanager
    def attached(self, plugin, name, **request):
        """A pod from its set-up to its teardown."""
        with self.netns(name) as netns:
            answer = call(plugin.setup_pod, id=name, netns=netns, **request)
            assert answer["ips"][0].startswith("10.77.0."), answer
            yield answer
            removed = call(plugin.teardown_pod, id=name)
            assert "net" in [network["network"] for network in removed["networks"]], removed

    def pod(self, plugin, name="pod", **request):
        """A pod's whole life."""
        with self.attached(plugin, name, **request):
            assert call(plugin.check_pod, id=name)["networks"][0]["checked"]
            assert call(plugin.pod_status, id=name)["source"] == "netlink"

    def slow_runs(self):
        assert (self.directory / "running").read_bytes(), "the slow plugin runs"

    def slow_goes(self):
        (self.directory / "go").write_text("\n")

    @contextlib.contextmanager
    def slow_setup(self, plugin):
        """A set-up on another thread that is within its second network's plugin meanwhile."""
        with self.netns("slow") as netns:
            request = {"id": "slow", "netns": netns, "networks": self.beside("slow")}
            with self.on_thread(plugin.setup_pod, request):
                self.slow_runs()
                try:
                    yield
                finally:
                    self.slow_goes()
            assert len(plugin.teardown_pod(id="slow")["networks"]) == 2

    @contextlib.contextmanager
    def on_thread(self, function, *arguments):
        """Runs it beside the block; what it raises fails the host."""

        def run():
            try:
                function(*arguments)
            except BaseException as error:
                self.failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield thread
        finally:
            thread.join()

    @contextlib.contextmanager
    def repeating(self, function, *arguments):
        """Runs it again and again beside the block, once at least."""
        over = threading.Event()

        def loop():
            function(*arguments)
            while not over.is_set():
                function(*arguments)

        with self.on_thread(loop):
            try:
                yield
            finally:
                over.set()

    @contextlib.contextmanager
    def unchanged(self):
        """What is within leaves the process as it was, no child of any kind, and nothing on the node."""
        before = state.state()
        yield
        self.expect_no_failure()
        self.expect_nothing_left()
        state.expect_same(before)
        expect_no_child(WALL)

    @contextlib.contextmanager
    def guest(self, **options):
        """A handle in a host that is unchanged by it."""
        with self.unchanged(), self.plugin(**options) as plugin:
            yield plugin
            assert call(plugin.list_pods) == []

    def expect_no_failure(self):
        for error in self.failures:
            raise error

    def expect_nothing_left(self):
        devices = Path("/proc/self/net/dev").read_text().splitlines()
        left = [line for line in devices if line.strip().startswith("veth")]
        left += self.directory.glob("ipam/net/10.*")
        left += self.directory.glob("cache/results/*")
        left += self.directory.glob("cache/cnirt/intents/*")
        left += self.directory.glob("cache/cnirt/tmp-*")
        assert not left, f"left behind: {left}"


def call(function, *arguments, **request):
    """A synchronous call, which leaves no thread of the library's, though its handle lives on."""
    try:
        return function(*arguments, **request)
    finally:
        state.expect_no_thread("cnirt-")


def has_children():
    """For hosts with children of their own, whose SIGCHLD is no doing of the library's."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def expect_no_child(options=0):
    try:
        found = os.waitpid(-1, os.WNOHANG | options)
    except ChildProcessError:
        return
    raise AssertionError(f"waitpid(-1) found {found}")


def prctl(option, value):
    assert state.LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0
