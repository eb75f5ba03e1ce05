"""Hosts that fork without executing."""

import os
import signal

import host
from children import PR_SET_CHILD_SUBREAPER

import cnirt


def _child(work):
    """A forked process; its status is 0 where work returns."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(60)
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def _status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _is_refused(plugin):
    for call in (plugin.status, plugin.list_pods, lambda: plugin.setup_pod(id="x"), plugin.cancel):
        try:
            call()
        except cnirt.ForkedError:
            continue
        raise AssertionError("a child uses its parent's handle")


def _refused_then_closed(plugin):
    _is_refused(plugin)
    plugin.close()
    plugin.close()


def forks_at_any_moment(directory):
    """Children end at once, use and close the handle, set up a pod of their own, or stay with what they inherited."""
    host.has_children()
    its = host.Host(directory)
    staying = []

    def own_pod(plugin, number):
        _refused_then_closed(plugin)
        with its.plugin() as own:
            its.pod(own, f"child{number}")

    def stay(plugin):
        _is_refused(plugin)
        while True:
            signal.pause()

    def fork(number, plugin):
        assert _status(_child(lambda: None)) == 0
        assert _status(_child(lambda: _refused_then_closed(plugin))) == 0
        if number % 10 == 0:
            assert _status(_child(lambda: own_pod(plugin, number))) == 0
            staying.append(_child(lambda: stay(plugin)))

    with its.guest() as plugin:
        with its.slow_setup(plugin):
            for number in range(3):
                fork(number, plugin)
        with its.repeating(its.pod, plugin):
            for number in range(20):
                fork(number, plugin)
        for pid in staying:
            os.kill(pid, signal.SIGKILL)
            assert _status(pid) == -signal.SIGKILL
        its.pod(plugin)


def forks_children_that_fork(directory):
    """A grandchild that outlives its parent comes to the host, a subreaper; nothing of the library's does."""
    host.has_children()
    its = host.Host(directory)
    host.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def leave_a_child(plugin):
        _is_refused(plugin)
        _child(lambda: _refused_then_closed(plugin))
        plugin.close()

    with its.guest() as plugin, its.slow_setup(plugin):
        child = _child(lambda: leave_a_child(plugin))
        found = dict(os.waitpid(-1, 0) for _ in range(2))
        assert child in found and set(found.values()) == {0}, (child, found)
