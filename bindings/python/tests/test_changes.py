"""The descriptor that tells of changes, in Python's event loops."""

import asyncio
import selectors

import pytest
from support import Node
from test_fork import in_child

import cnirt


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    node.script("fake", ":")
    return node


def test_a_selector_takes_the_plugin(node):
    with cnirt.Plugin(**node.options()) as plugin, selectors.DefaultSelector() as selector:
        selector.register(plugin, selectors.EVENT_READ)
        assert selector.select(0), "a loop begins by asking"
        assert not plugin.status()["ready"]
        assert not selector.select(0)
        node.network("fake")
        assert selector.select(60)
        assert plugin.status()["defaultNetwork"] == "net"
        assert not selector.select(0)
        selector.unregister(plugin)


def test_asyncio_waits_for_a_node_that_becomes_ready(node):
    async def until_ready(plugin):
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def changed():
            if plugin.status()["ready"]:
                ready.set()
            else:
                loop.call_soon(node.network, "fake")

        loop.add_reader(plugin, changed)
        try:
            await asyncio.wait_for(ready.wait(), 60)
        finally:
            loop.remove_reader(plugin)

    with cnirt.Plugin(**node.options()) as plugin:
        asyncio.run(until_ready(plugin))


def test_where_there_is_none(node):
    log = []
    with cnirt.Plugin(plugin="noop", log=lambda *line: log.append(line)) as noop:
        with pytest.raises(OSError, match="no descriptor"):
            noop.fileno()
        assert "kubernetes.io/no-op" in str(log)
    with pytest.raises(ValueError, match="closed"):
        noop.fileno()

    def forked():
        with pytest.raises(cnirt.ForkedError):
            plugin.fileno()

    with cnirt.Plugin(**node.options()) as plugin:
        assert plugin.fileno() == plugin.fileno() > 2
        assert in_child(forked) == 0
