"""Hosts that are odd in one way each, with real plugins: the library works in them, and they do not notice.

Each is the program `hosts` in network and mount namespaces of its own; what it does, and finds afterwards, is there.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from support import on_a_node, python, run

HOSTS = Path(__file__).parent / "hosts"
MARKER = "CNIRT_TEST_MARKER"
#: Without an address of its own a bridge takes another one with each pod, and those beside it fail their check.
WITH_BRIDGE = ("sh", "-c", 'ip link add bridge0 address 02:00:00:00:00:01 type bridge && exec "$@"', "sh")

KINDS = """
plain ignores_sigchld has_sa_nocldwait handles_sigchld has_a_wakeup_fd has_a_signalfd is_a_subreaper has_subprocesses
has_asyncio_subprocesses has_forked_processes has_spawned_processes
blocks_and_ignores_signals is_signalled_with_its_group
has_no_stdio has_20_000_descriptors runs_out_of_descriptors
has_umask_0777 has_lost_its_directory is_chrooted keeps_its_memory changes_its_environment
has_small_stacks has_a_thread_elsewhere collects_garbage closes_amid_calls
forks_at_any_moment forks_children_that_fork
loads_and_unloads has_two_copies is_used_from_many_threads_at_the_first_time
runs_plugins_itself answers_slowly
""".split()
AS_NOBODY = ["has_no_rights", "is_rootless", "may_start_no_process"]
IN_PID_NAMESPACE = ["is_pid_1"]


def host(kind, *unshare, owner=None):
    """The host is silent and ends well, and no process is left that has its marker."""
    # Not below a directory that only its owner may enter, as pytest's are.
    with tempfile.TemporaryDirectory() as directory:
        if owner is not None:
            os.chown(directory, owner, owner)
        node = on_a_node(*WITH_BRIDGE, sys.executable, "-W", "error", "-W", "ignore:.*use of fork:DeprecationWarning")
        command = [node[0], *unshare, *node[1:], HOSTS, kind, directory]
        assert run(*command, **{MARKER: directory}) == ""
        assert marked(directory) == []


def marked(directory):
    """The processes with the host's marker in their environment: nannies, plugins, their children."""
    marker = f"{MARKER}={directory}".encode()
    return [line for process in Path("/proc").glob("[0-9]*") for line in _command_line(process, marker)]


def _command_line(process, marker):
    try:
        if marker in (process / "environ").read_bytes().split(b"\0"):
            yield process.name, (process / "cmdline").read_bytes()
    except OSError:
        # It has ended meanwhile, or is somebody else's.
        return


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_that(kind):
    host(kind)


@pytest.mark.parametrize("kind", IN_PID_NAMESPACE)
def test_a_host_in_a_pid_namespace_that(kind):
    host(kind, "--pid", "--fork", "--mount-proc")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("kind", AS_NOBODY)
def test_a_host_of_nobody_that(kind):
    host(kind, owner=65534)


def test_every_host_has_a_test():
    program = "import runpy, sys; print(*runpy.run_path(sys.argv[1])['KINDS'])"
    assert set(python("-c", program, HOSTS).split()) == {*KINDS, *AS_NOBODY, *IN_PID_NAMESPACE}
