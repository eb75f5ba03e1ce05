"""Hosts with threads: small stacks, other namespaces, a collector under pressure, and an end amid calls."""

import gc
import os
import threading

import host
from state import LIBC

import cnirt

CLONE_NEWNET = 0x40000000


def _on_stack(its, plugin, size, name):
    threading.stack_size(size)
    try:
        with its.on_thread(_deep_pod, its, plugin, name):
            pass
    finally:
        threading.stack_size(0)


def _deep_pod(its, plugin, name):
    """Its request is nested nearly as deep as one may be, which needs the most stack."""
    deep = []
    for _ in range(110):
        deep = [deep]
    its.pod(plugin, name, capabilityArgs={"deep": deep})


def has_small_stacks(directory):
    """Python's smallest is 32 KiB."""
    its = host.Host(directory)
    with its.guest() as plugin:
        for size in (32 << 10, 64 << 10, 256 << 10):
            _on_stack(its, plugin, size, f"pod{size}")


def _has_veth(thread):
    return "veth" in host.Path(f"/proc/{thread}/net/dev").read_text()


def has_a_thread_elsewhere(directory):
    """A thread in a network namespace of its own stays there, and its plugins work there; the others stay here."""
    its = host.Host(directory)
    moved, done = threading.Event(), threading.Event()

    def elsewhere():
        try:
            assert LIBC.unshare(CLONE_NEWNET) == 0
            own = os.readlink("/proc/thread-self/ns/net")
            assert own != os.readlink("/proc/self/ns/net")
            with its.plugin() as plugin, its.attached(plugin, "elsewhere"):
                assert _has_veth("thread-self") and not _has_veth("self")
            assert os.readlink("/proc/thread-self/ns/net") == own
        finally:
            moved.set()
        assert done.wait(60)

    with its.on_thread(elsewhere):
        try:
            assert moved.wait(60)
            with its.guest() as plugin, its.attached(plugin, "here"):
                assert _has_veth("self")
        finally:
            done.set()
    its.expect_no_failure()


def collects_garbage(directory):
    """A collection at each allocation and all the while; callbacks are among what is looked at."""
    its = host.Host(directory)
    lines = []
    gc.set_threshold(1, 1, 1)
    with its.guest(log=lambda *line: lines.append(line)) as plugin, its.repeating(gc.collect):
        with its.slow_setup(plugin):
            for _ in range(3):
                its.pod(plugin)
    assert lines


def closes_amid_calls(directory):
    """64 pods that hang in their second network."""
    its = host.Host(directory)
    cancelled = []

    def call(plugin, number):
        try:
            plugin.setup_pod(id=f"pod{number}", netns=its.directory / "ns", networks=_named(its, number))
        except cnirt.CancelledError as error:
            cancelled.append(error)

    with its.netns("ns"), its.unchanged():
        plugin = its.plugin()
        threads = [threading.Thread(target=call, args=(plugin, number)) for number in range(64)]
        for thread in threads:
            thread.start()
        while not (its.directory / "hanging").exists() or len((its.directory / "hanging").read_bytes()) < 64:
            assert any(thread.is_alive() for thread in threads)
        plugin.close()
        for thread in threads:
            thread.join()
    assert len(cancelled) == 64
    assert all(error.rollback["done"] for error in cancelled), [error.rollback for error in cancelled]


def _named(its, number):
    """One namespace serves all: each pod's interface has a name of its own."""
    ours, hanging = its.beside("hang")
    return [{**ours, "ifName": f"eth{number}"}, {**hanging, "ifName": f"hang{number}"}]
