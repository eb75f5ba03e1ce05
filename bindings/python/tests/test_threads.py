"""One handle, many threads."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from support import RESULT, Node, thread

import cnirt
from cnirt import _requests

THREADS = 8


def test_eight_threads_use_one_handle(tmp_path):
    node = Node(tmp_path)
    node.network("fake")
    node.script("fake", f"echo '{_requests.dumps(RESULT)}'")
    together = Barrier(THREADS)

    def pod(number):
        together.wait(60)
        name = f"pod{number}"
        assert plugin.setup_pod(id=name, netns=node.NETNS)["pod"]["id"] == name
        assert plugin.status()["ready"]
        return len(plugin.teardown_pod(id=name)["networks"])

    with cnirt.Plugin(**node.options()) as plugin, ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(pod, range(THREADS))) == [1] * THREADS
        assert plugin.list_pods() == []


def test_a_plugin_that_hangs_stops_no_other_thread(tmp_path):
    node = Node(tmp_path)
    node.network("hang", name="0-default")
    node.network("fake", name="other")
    node.hanging_script("hang")
    node.script("fake", f"echo '{_requests.dumps(RESULT)}'")
    with cnirt.Plugin(**node.options()) as plugin:
        begun = time.monotonic()
        with thread(plugin.setup_pod, id="one", netns=node.NETNS, timeout_ms=3000) as wait:
            node.wait_for_start()
            answer = plugin.setup_pod(id="two", netns=node.NETNS, networks=[{"name": "other"}])
            assert answer["ips"] == ["10.9.8.7"]
            assert time.monotonic() - begun < 3, "it waited for the one that hangs"
            with pytest.raises(TimeoutError) as caught:
                wait()
        assert isinstance(caught.value, cnirt.TimeoutError)
        assert caught.value.rollback["done"]
