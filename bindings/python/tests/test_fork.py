"""A handle belongs to the process that made it."""

import os
import signal
import traceback

import pytest
from support import Node, thread

import cnirt

#: A child that hangs ends so, and its parent sees it.
LIMIT = 60


def in_child(function):
    """The child's exit status: 0 where function returns."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIMIT)
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def use_and_close(plugin):
    with pytest.raises(cnirt.ForkedError) as caught:
        plugin.status()
    assert caught.value.class_name == "CNI_E_FORKED"
    with pytest.raises(cnirt.ForkedError):
        plugin.setup_pod(id="pod")
    with pytest.raises(cnirt.ForkedError):
        plugin.cancel()
    plugin.close()
    with pytest.raises(ValueError, match="closed"):
        plugin.status()
    # A handle of its own works.
    with cnirt.Plugin(plugin="noop") as other:
        other.setup_pod(id="pod")


def test_a_child_may_only_close():
    with cnirt.Plugin(plugin="noop", get_netns=lambda pod: None) as plugin:
        assert in_child(lambda: use_and_close(plugin)) == 0
        assert plugin.setup_pod(id="pod")["ips"] == []


def test_a_child_closes_while_its_parent_is_in_a_call(tmp_path):
    node = Node(tmp_path)
    node.network("hang")
    node.hanging_script("hang")
    with cnirt.Plugin(**node.options()) as plugin, thread(plugin.setup_pod, id="pod", netns=node.NETNS) as wait:
        node.wait_for_start()
        # The fork happens with every lock of the handle held, as in the worst case.
        with plugin._changed:
            status = in_child(lambda: use_and_close(plugin))
        assert status == 0
        plugin.cancel("pod")
        with pytest.raises(cnirt.CancelledError):
            wait()
