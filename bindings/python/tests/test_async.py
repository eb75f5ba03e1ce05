"""The awaited calls, on each event loop that takes descriptors."""

import asyncio
import builtins
import gc
import inspect
import json
import os
import threading
import time

import pytest
import uvloop
from support import RESULT, Node, thread

import cnirt

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PODS = 100


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def run(request):
    """Runs a coroutine to its end, as asyncio.run does."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    node.network("fake")
    node.script("fake", f"echo '{json.dumps(RESULT)}'")
    return node


def entries(directory):
    return len(os.listdir(directory))


async def begun(node):
    """Returns when the hanging plugin runs."""
    await asyncio.get_running_loop().run_in_executor(None, node.wait_for_start)


def left(node):
    """What is recorded of pods."""
    cache = node.directory / "cache"
    return [path.name for path in (*cache.glob("results/*"), *cache.glob("cnirt/intents/*"))]


def test_the_methods_are_those_of_plugin():
    def shown(function):
        return inspect.signature(function), inspect.getdoc(function)

    plain = [name for name in vars(cnirt.Plugin) if not name.startswith("_")]
    assert "setup_pod" in plain
    for name in plain:
        assert inspect.iscoroutinefunction(getattr(cnirt.AsyncPlugin, name)), name
        assert shown(getattr(cnirt.AsyncPlugin, name)) == shown(getattr(cnirt.Plugin, name)), name


def test_every_operation(node, run):
    async def main():
        async with cnirt.AsyncPlugin(**node.options()) as plugin:
            assert plugin.name == "cni"
            assert (await plugin.status())["ready"] and (await plugin.reload())["ready"]
            assert await plugin.capabilities() == []
            assert await plugin.event("pod-cidr-change", {"pod-cidr": "10.9.0.0/16"}) is None
            assert (await plugin.status())["podCidr"] == "10.9.0.0/16"
            with pytest.raises(ValueError, match="NUL"):
                await plugin.event("\0")
            assert (await plugin.setup_pod({"id": "pod"}, netns=node.NETNS))["ips"] == ["10.9.8.7"]
            assert (await plugin.check_pod(id="pod"))["networks"][0]["checked"]
            assert (await plugin.pod_status(id="pod"))["pod"]["id"] == "pod"
            assert [pod["pod"]["id"] for pod in await plugin.list_pods()] == ["pod"]
            assert len((await plugin.teardown_pod(id="pod"))["networks"]) == 1
            assert (await plugin.gc(valid_pods=[]))["deleted"] == []
            assert "cnirt_operations_total" in await plugin.metrics()
        assert plugin.closed
        with pytest.raises(ValueError, match="closed"):
            await plugin.status()

    run(main())


def test_errors_are_those_of_plugin(node, run):
    node.script("fake", """echo '{"code": 11, "msg": "later"}'; exit 1""")

    async def main():
        async with cnirt.AsyncPlugin(**node.options()) as plugin:
            with pytest.raises(cnirt.RetryError) as caught:
                await plugin.setup_pod(id="pod", netns=node.NETNS)
            assert caught.value.rollback["done"]
            with pytest.raises(cnirt.InvalidArgumentError, match='unknown key "nme"'):
                await plugin.setup_pod({"id": "pod", "nme": "x"})

    run(main())


def test_many_pods_at_once(node, run):
    async def pod(plugin, number):
        name = f"pod{number}"
        assert (await plugin.setup_pod(id=name, netns=node.NETNS))["pod"]["id"] == name
        threads.append(entries("/proc/self/task"))
        return len((await plugin.teardown_pod(id=name))["networks"])

    async def main():
        async with cnirt.AsyncPlugin(**node.options(op_threads=4, durability="atomic")) as plugin:
            before = entries("/proc/self/fd")
            assert await asyncio.gather(*(pod(plugin, number) for number in range(PODS))) == [1] * PODS
            assert entries("/proc/self/fd") == before
            assert await plugin.list_pods() == []

    threads = [entries("/proc/self/task")]
    run(main())
    assert max(threads) <= threads[0] + 4


def test_cancelling_the_task_undoes_the_call_first(hanging, run):
    async def main():
        async with cnirt.AsyncPlugin(**hanging.options()) as plugin:
            before = entries("/proc/self/fd")
            # Calls that are in a plugin, and that wait for their pod.
            for again in (False, True):
                task = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=hanging.NETNS))
                await begun(hanging)
                waiting = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=hanging.NETNS))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await waiting
                assert isinstance(caught.value.__cause__, cnirt.CancelledError) and not task.done()
                task.cancel()
                if again:
                    await asyncio.sleep(0)
                    task.cancel("twice")
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                assert caught.value.__cause__.rollback == {"done": True, "errors": []}
                assert left(hanging) == []
            # And the library's own way to cancel is an error of the library's.
            task = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=hanging.NETNS))
            await begun(hanging)
            plugin.cancel("pod")
            with pytest.raises(cnirt.CancelledError):
                await task
            assert entries("/proc/self/fd") == before

    run(main())


def test_cancelling_what_waits_for_a_thread_ends_it_at_once(hanging, run):
    async def main():
        async with cnirt.AsyncPlugin(**hanging.options(op_threads=1)) as plugin:
            running = asyncio.ensure_future(plugin.setup_pod(id="a", netns=hanging.NETNS))
            await begun(hanging)
            waiting = asyncio.ensure_future(plugin.setup_pod(id="b", netns=hanging.NETNS))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not running.done()
            running.cancel()

    run(main())


def test_what_is_being_undone_goes_on_when_its_task_is_cancelled(node, run):
    for name in ("undoing", "go"):
        os.mkfifo(node.directory / name)
    undoing, go = node.directory / "undoing", node.directory / "go"
    node.script("fake", f"exit 1 ;;\nDEL) echo > {undoing}; read line < {go}")

    async def main():
        loop = asyncio.get_running_loop()
        async with cnirt.AsyncPlugin(**node.options()) as plugin:
            task = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=node.NETNS))
            await loop.run_in_executor(None, undoing.read_bytes)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            await loop.run_in_executor(None, go.write_text, "\n")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert isinstance(caught.value.__cause__, cnirt.PluginError)
            assert caught.value.__cause__.rollback["done"]
            assert left(node) == []

    run(main())


def test_a_timeout_is_asyncios_or_the_librarys(hanging, run):
    async def main():
        async with cnirt.AsyncPlugin(**hanging.options()) as plugin:
            async def late(limit):
                await begun(hanging)
                limit.reschedule(asyncio.get_running_loop().time())

            with pytest.raises(builtins.TimeoutError) as caught:
                async with asyncio.timeout(None) as limit:
                    _rescheduling = asyncio.ensure_future(late(limit))
                    await plugin.setup_pod(id="pod", netns=hanging.NETNS)
            assert not isinstance(caught.value, cnirt.Error)
            assert caught.value.__cause__.__cause__.rollback["done"]
            with pytest.raises(cnirt.TimeoutError):
                await plugin.setup_pod(id="pod", netns=hanging.NETNS, timeout_ms=300)
            # One that waits for its pod ends at its deadline, though nothing runs.
            held = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=hanging.NETNS))
            await asyncio.sleep(0)
            with pytest.raises(cnirt.TimeoutError, match="waiting for pod"):
                await plugin.setup_pod(id="pod", netns=hanging.NETNS, timeout_ms=20)
            held.cancel()
        assert left(hanging) == []

    run(main())


def test_a_call_that_was_done_when_its_task_was_cancelled_stays(node, run):
    async def main():
        async with cnirt.AsyncPlugin(**node.options()) as plugin:
            task = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=node.NETNS))
            await asyncio.sleep(0)
            # The loop does not see it, as it stands still.
            while left(node) != ["net-pod-eth0"]:
                time.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert caught.value.__cause__ is None
            assert len((await plugin.teardown_pod(id="pod"))["networks"]) == 1

    run(main())


def test_closing_ends_the_running_calls_while_the_loop_goes_on(hanging, run):
    async def main():
        plugin = cnirt.AsyncPlugin(**hanging.options(), log=lambda *line: None)
        task = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=hanging.NETNS))
        await begun(hanging)
        closing = asyncio.ensure_future(plugin.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert plugin._freed
        with pytest.raises(cnirt.CancelledError):
            await task
        # The plain way, with a call under way on this thread.
        with cnirt.AsyncPlugin(**hanging.options()) as plugin:
            task = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=hanging.NETNS))
            await begun(hanging)
        with pytest.raises(cnirt.CancelledError) as caught:
            await task
        assert caught.value.rollback["done"]

    run(main())


@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)
@pytest.mark.filterwarnings("ignore:coroutine method:RuntimeWarning")
def test_a_loop_that_is_closed_meanwhile_leaves_nothing(hanging, make):
    async def start():
        task = asyncio.ensure_future(plugin.setup_pod(id="pod", netns=hanging.NETNS))
        await begun(hanging)
        task._log_destroy_pending = False

    with cnirt.AsyncPlugin(**hanging.options()) as plugin:
        gc.collect()
        before = entries("/proc/self/fd")
        loop = make()
        loop.run_until_complete(start())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        del loop
        gc.collect()
        assert left(hanging) == []
        assert entries("/proc/self/fd") == before


def test_what_callbacks_raise_is_the_cause_of_their_own_call(node, run, unraisable):
    class Odd(Exception):
        pass

    seen = []

    def get_netns(pod):
        seen.append(threading.get_ident())
        raise Odd(pod["id"])

    async def pod(plugin, number):
        with pytest.raises(cnirt.Error) as caught:
            await plugin.setup_pod(id=f"pod{number}")
        assert isinstance(caught.value.__cause__, Odd) and str(caught.value.__cause__) == f"pod{number}"

    async def main():
        async with cnirt.AsyncPlugin(**node.options(), get_netns=get_netns) as plugin:
            await asyncio.gather(*(pod(plugin, number) for number in range(16)))

    run(main())
    assert threading.get_ident() not in seen
    assert unraisable == []


def test_a_callback_may_ask_the_loop(node, run):
    async def where():
        return node.NETNS

    async def main():
        loop = asyncio.get_running_loop()

        def get_netns(pod):
            return asyncio.run_coroutine_threadsafe(where(), loop).result(60)

        async with cnirt.AsyncPlugin(**node.options(), get_netns=get_netns) as plugin:
            assert (await plugin.setup_pod(id="pod"))["ips"] == ["10.9.8.7"]

    run(main())


def test_loops_on_two_threads_use_one_handle(node, run):
    async def pods(plugin, names):
        for name in names:
            await plugin.setup_pod(id=name, netns=node.NETNS)
        return len(await plugin.list_pods())

    with cnirt.AsyncPlugin(**node.options()) as plugin:
        with thread(run, pods(plugin, "abc")) as wait:
            run(pods(plugin, "def"))
            wait()
        assert run(pods(plugin, [])) == 6
