"""Hosts that load the library again and again, and more than once."""

import _ctypes
import contextlib
import ctypes
import importlib
import os
import shutil
import sys
import threading

import host
import state

import cnirt


def _copy(its, name):
    """To the loader it is another library."""
    path = its.directory / name
    shutil.copy(os.environ["CNIRT_LIBRARY"], path)
    return path


def _load_use_unload(path):
    library = ctypes.CDLL(str(path))
    library.cni_version.restype = ctypes.c_char_p
    assert library.cni_version().decode() == cnirt.version()
    plugin, out = ctypes.c_void_p(), ctypes.c_void_p()
    assert library.cni_plugin_new(b'{"plugin": "noop"}', None, ctypes.byref(plugin), ctypes.byref(out)) == 0
    assert library.cni_setup_pod(plugin, b'{"id": "pod"}', ctypes.byref(out)) == 0
    library.cni_string_free(out)
    library.cni_plugin_free(plugin)
    _ctypes.dlclose(library._handle)


def loads_and_unloads(directory):
    """1 000 times, from a thread that is a new one each time."""
    its = host.Host(directory)
    path = _copy(its, "again.so")
    with its.unchanged():
        for round in range(1000):
            with its.on_thread(_load_use_unload, path):
                pass
            if round == 10:
                before = state.mappings()
        assert state.mappings() < before + 100, (before, state.mappings())


def _package(path):
    """The package once more, on another library."""
    known = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "cnirt"}
    library = os.environ["CNIRT_LIBRARY"]
    os.environ["CNIRT_LIBRARY"] = str(path)
    try:
        return importlib.import_module("cnirt")
    finally:
        os.environ["CNIRT_LIBRARY"] = library
        sys.modules.update(known)


def has_two_copies(directory):
    """They see each other's pods as two processes would, and the end of one is none of the other's."""
    its = host.Host(directory)
    other = _package(_copy(its, "other.so"))
    assert other.Plugin is not cnirt.Plugin
    with its.unchanged():
        with its.plugin() as first:
            with its.plugin(other) as second:
                with its.repeating(its.pod, first, "first"):
                    for _ in range(3):
                        its.pod(second, "second")
                with its.attached(first, "shared"):
                    assert [pod["pod"]["id"] for pod in second.list_pods()] == ["shared"]
                    with contextlib.suppress(other.ExistsError):
                        second.setup_pod(id="shared", netns=its.directory / "shared")
                        raise AssertionError("one pod twice")
                with its.slow_setup(first):
                    _waits_for_the_other(its, other, second)
            its.pod(first)


def _waits_for_the_other(its, other, plugin):
    """A pod's lock holds between the copies."""
    try:
        plugin.teardown_pod(id="slow", timeout_ms=300)
    except other.TimeoutError:
        return
    raise AssertionError("the other copy has the pod")


def is_used_from_many_threads_at_the_first_time(directory):
    """The library is loaded, and makes what it makes once, on all of them at the same time."""
    its = host.Host(directory)
    path = _copy(its, "fresh.so")
    together = threading.Barrier(16)

    def use():
        together.wait(60)
        _load_use_unload(path)

    with its.unchanged(), contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(its.on_thread(use))
