"""Hosts that mind their children in some way: they hear no SIGCHLD of the library's, and find no child."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import warnings
from multiprocessing import resource_tracker

import host
import state
from state import LIBC

PR_SET_CHILD_SUBREAPER = 36
SA_NOCLDWAIT = 2


def _pod_unnoticed(directory):
    """Pods, also beside a plugin that leaves a child, while another thread looks for children all the while."""
    its = host.Host(directory)
    with its.repeating(host.expect_no_child), its.guest() as plugin:
        its.pod(plugin)
        with its.slow_setup(plugin):
            its.pod(plugin)


def plain(directory):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _pod_unnoticed(directory)


def ignores_sigchld(directory):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _pod_unnoticed(directory)


def has_sa_nocldwait(directory):
    """Nobody could wait for a child of its."""
    action = state.Sigaction()
    assert LIBC.sigaction(signal.SIGCHLD, None, ctypes.byref(action)) == 0
    action.flags |= SA_NOCLDWAIT
    assert LIBC.sigaction(signal.SIGCHLD, ctypes.byref(action), None) == 0
    _pod_unnoticed(directory)


def handles_sigchld(directory):
    heard = []
    signal.signal(signal.SIGCHLD, lambda *which: heard.append(which))
    _pod_unnoticed(directory)
    assert not heard
    subprocess.run(["true"], check=True)
    assert heard, "the handler does not work"


def _has_nothing_to_read(read):
    try:
        raise AssertionError(f"heard {read()}")
    except BlockingIOError:
        pass


def has_a_wakeup_fd(directory):
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer.fileno())
    _pod_unnoticed(directory)
    _has_nothing_to_read(lambda: reader.recv(100))
    subprocess.run(["true"], check=True)
    assert reader.recv(100) == bytes([signal.SIGCHLD])


def has_a_signalfd(directory):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    # Bit n - 1 is signal n, in more bytes than any sigset_t has.
    mask = (1 << (signal.SIGCHLD - 1)).to_bytes(256, sys.byteorder)
    fd = LIBC.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0, ctypes.get_errno()
    _pod_unnoticed(directory)
    _has_nothing_to_read(lambda: os.read(fd, 128))
    subprocess.run(["true"], check=True)
    assert os.read(fd, 128)[0] == signal.SIGCHLD


def is_a_subreaper(directory):
    host.prctl(PR_SET_CHILD_SUBREAPER, 1)
    _pod_unnoticed(directory)


def is_pid_1(directory):
    assert os.getpid() == 1
    _pod_unnoticed(directory)


def _status_is_its_own():
    for status in (0, 7, 255):
        assert subprocess.run(["sh", "-c", f"exit {status}"]).returncode == status
    assert subprocess.run(["cat"], input=b"words", stdout=subprocess.PIPE).stdout == b"words"


def has_subprocesses(directory):
    host.has_children()
    its = host.Host(directory)
    with its.guest() as plugin, its.repeating(_status_is_its_own), its.slow_setup(plugin):
        for _ in range(3):
            its.pod(plugin)


def _watchers():
    """Those that this Python still has, each in its own way to learn of a child's end."""
    yield None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in ("PidfdChildWatcher", "ThreadedChildWatcher", "SafeChildWatcher"):
            if hasattr(asyncio, name) and hasattr(asyncio, "set_child_watcher"):
                yield getattr(asyncio, name)()


async def _subprocesses_beside(watcher, work):
    loop = asyncio.get_running_loop()
    if hasattr(watcher, "attach_loop"):
        watcher.attach_loop(loop)
    working = loop.run_in_executor(None, work)
    rounds = 0
    while not working.done() or rounds < 3:
        rounds += 1
        processes = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {status}") for status in range(4)]
        assert await asyncio.gather(*(process.wait() for process in processes)) == [0, 1, 2, 3]
    await working


def has_asyncio_subprocesses(directory):
    host.has_children()
    its = host.Host(directory)
    for watcher in _watchers():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if watcher is not None:
                asyncio.set_child_watcher(watcher)
            # What asyncio makes or changes once is no doing of the library's.
            asyncio.run(_subprocesses_beside(watcher, lambda: None))
            state.wait_for_threads(1)
            with its.guest() as plugin:
                asyncio.run(_subprocesses_beside(watcher, lambda: its.pod(plugin)))
            if watcher is not None:
                watcher.close()
                asyncio.set_child_watcher(None)


def _pod_of_a_process(directory, name):
    """In a process of multiprocessing's, with a handle of its own."""
    its = host.Host.__new__(host.Host)
    its.directory, its.failures = host.Path(directory), []
    with its.plugin() as plugin:
        its.pod(plugin, name)


def _has_processes(directory, method):
    host.has_children()
    its = host.Host(directory)
    context = multiprocessing.get_context(method)
    with its.unchanged():
        with its.plugin() as plugin, its.slow_setup(plugin):
            processes = [context.Process(target=_pod_of_a_process, args=(directory, f"pod{n}")) for n in range(3)]
            for process in processes:
                process.start()
            its.pod(plugin)
            for process in processes:
                process.join()
                assert process.exitcode == 0
                process.close()
        # A process that multiprocessing, too, keeps for others to come.
        resource_tracker._resource_tracker._stop()


def has_forked_processes(directory):
    _has_processes(directory, "fork")


def has_spawned_processes(directory):
    _has_processes(directory, "spawn")
