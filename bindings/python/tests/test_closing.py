"""A handle ends once, and is never used afterwards."""

import copy
import gc
import signal
import threading
import weakref
from pathlib import Path

import pytest
from support import Node, python, thread

import cnirt
from cnirt import _callbacks

CALLS = {
    "setup_pod": lambda plugin: plugin.setup_pod(id="pod"),
    "teardown_pod": lambda plugin: plugin.teardown_pod(id="pod"),
    "check_pod": lambda plugin: plugin.check_pod(id="pod"),
    "pod_status": lambda plugin: plugin.pod_status(id="pod"),
    "list_pods": lambda plugin: plugin.list_pods(),
    "status": lambda plugin: plugin.status(),
    "reload": lambda plugin: plugin.reload(),
    "capabilities": lambda plugin: plugin.capabilities(),
    "event": lambda plugin: plugin.event("x"),
    "metrics": lambda plugin: plugin.metrics(),
    "name": lambda plugin: plugin.name,
    "cancel": lambda plugin: plugin.cancel(),
    "with": lambda plugin: plugin.__enter__(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_handle_is_a_value_error(call):
    plugin = cnirt.Plugin(plugin="noop")
    assert not plugin.closed
    plugin.close()
    assert plugin.closed
    with pytest.raises(ValueError, match="Plugin is closed"):
        call(plugin)
    plugin.close()


def test_with_closes_after_an_exception():
    with pytest.raises(KeyError), cnirt.Plugin(plugin="noop") as plugin:
        raise KeyError
    assert plugin.closed


def test_what_is_forgotten_is_freed():
    known = len(_callbacks._hosts)
    plugin = cnirt.Plugin(plugin="noop", get_netns=lambda pod: None)
    assert len(_callbacks._hosts) == known + 1
    gone = weakref.ref(plugin)
    del plugin
    gc.collect()
    assert gone() is None
    assert len(_callbacks._hosts) == known


def test_a_handle_that_was_not_made_leaves_nothing():
    known = len(_callbacks._hosts)
    with pytest.raises(cnirt.InvalidArgumentError):
        cnirt.Plugin(plugin="x", get_netns=lambda pod: None)
    assert len(_callbacks._hosts) == known


def test_cannot_be_copied():
    with cnirt.Plugin(plugin="noop") as plugin, pytest.raises(TypeError, match="cannot be copied"):
        copy.copy(plugin)


def test_closing_cancels_the_running_calls(hanging):
    plugin = cnirt.Plugin(**hanging.options())
    with thread(plugin.setup_pod, id="pod", netns=hanging.NETNS) as wait:
        hanging.wait_for_start()
        plugin.close()
        with pytest.raises(cnirt.CancelledError) as caught:
            wait()
    assert caught.value.rollback["done"]


def test_cancelling_names_the_call(hanging):
    with cnirt.Plugin(**hanging.options()) as plugin:
        for name in ("c1", "pod", None):
            with thread(plugin.setup_pod, id="pod", netns=hanging.NETNS, call_id="c1") as wait:
                hanging.wait_for_start()
                plugin.cancel("other")
                plugin.cancel(name)
                with pytest.raises(cnirt.CancelledError):
                    wait()


def test_closing_from_a_callback_lets_the_call_end(tmp_path):
    known = len(_callbacks._hosts)

    def get_netns(pod):
        plugin.close()
        with pytest.raises(ValueError, match="closed"):
            plugin.status()
        return Node.NETNS

    node = Node(tmp_path)
    node.network("fake")
    node.script("fake", "false")
    plugin = cnirt.Plugin(**node.options(), get_netns=get_netns)
    with pytest.raises(cnirt.Error):
        plugin.setup_pod(id="pod")
    assert plugin.closed
    assert len(_callbacks._hosts) == known


def test_closing_from_a_signal_handler_does_not_hang(hanging):
    """The handler runs when the library has returned, and the call still counts."""
    main = threading.get_ident()

    def interrupt():
        hanging.wait_for_start()
        signal.pthread_kill(main, signal.SIGUSR1)

    plugin = cnirt.Plugin(**hanging.options())
    before = signal.signal(signal.SIGUSR1, lambda *_: plugin.close())
    try:
        with thread(interrupt), pytest.raises(cnirt.TimeoutError):
            plugin.setup_pod(id="pod", netns=hanging.NETNS, timeout_ms=2000)
        assert plugin.closed
        assert plugin._pointer is None, "not freed"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_interpreter_ends_with_a_call_under_way_on_a_daemon_thread(hanging):
    program = """if True:
        import sys, threading, cnirt, pathlib
        sys.path.insert(0, sys.argv[2])
        from support import Node
        node = Node.__new__(Node); node.directory = pathlib.Path(sys.argv[1])
        plugin = cnirt.Plugin(**node.options(), log=lambda *line: None)
        def call():
            try:
                plugin.setup_pod(id="pod", netns=node.NETNS)
            except cnirt.CancelledError:
                print("cancelled", flush=True)
        threading.Thread(target=call, daemon=True).start()
        node.wait_for_start()
        print("running", flush=True)
    """
    printed = python("-c", program, hanging.directory, Path(__file__).parent)
    # The thread may not get so far as to say more, or all of it.
    assert printed.startswith("running\n") and "running\ncancelled\n".startswith(printed)
