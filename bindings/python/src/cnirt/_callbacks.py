"""The host's functions in Python: how the library's questions reach them, and what becomes of what they raise.

The C functions are made once and live as long as this module; `data` is a number that leads to the handle's callables.
So nothing that the library may still call is ever freed, whenever and wherever a handle ends.

A callable that raises fails the call, and the exception is the `__cause__` of the call's. A cnirt.Error is an answer:
the library gets its class, code, msg and details. Any other exception that no call can report (the call succeeded all
the same, or it came from `log`) goes to sys.unraisablehook. KeyboardInterrupt and SystemExit leave the call as they
are.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional, TypedDict, Union

from ._errors import Error
from ._ffi import ASK, DATA_FREE, LOG, cni_callbacks, lib
from ._requests import Path, PortMapping, dumps


class _PodQuestion(TypedDict):
    id: str
    namespace: str
    name: str
    uid: str


class PodQuestion(_PodQuestion, total=False):
    """What get_netns and get_pod_port_mappings are told."""

    callId: str


class _FindQuestion(TypedDict):
    type: str
    dirs: list[str]


class FindQuestion(_FindQuestion, total=False):
    """What find_plugin is told."""

    callId: str


class _ExecQuestion(TypedDict):
    path: str
    env: list[str]
    stdin: str


class ExecQuestion(_ExecQuestion, total=False):
    """What exec_plugin is told: env has NAME=value, timeoutMs is absent where there is no limit."""

    callId: str
    timeoutMs: int


#: Where a pod's namespace is; None where it has none any more.
GetNetns = Callable[[PodQuestion], Optional[Path]]
GetPodPortMappings = Callable[[PodQuestion], Optional[Sequence[PortMapping]]]
#: Where a plugin is; None where it is nowhere.
FindPlugin = Callable[[FindQuestion], Optional[Path]]
#: What the plugin printed, as text or as the value that the text stands for; None is nothing.
ExecPlugin = Callable[[ExecQuestion], Union[str, bytes, Mapping[str, Any], None]]
#: Level (1 error … 5 tracing), target, message, fields.
Log = Callable[[int, str, str, dict[str, Any]], object]

_ANSWERS: dict[str, Callable[[Any], bytes]] = {
    "get_netns": lambda path: os.fsencode(path or ""),
    "get_pod_port_mappings": lambda mappings: dumps(mappings or []).encode(),
    "find_plugin": lambda path: os.fsencode(path or ""),
    "exec_plugin": lambda printed: _printed(printed),
}


def _printed(printed: str | bytes | Mapping[str, Any] | None) -> bytes:
    if printed is None:
        return b""
    if isinstance(printed, bytes):
        return printed
    return (printed if isinstance(printed, str) else dumps(printed)).encode()


class Watch:
    """One call under way, and what its callbacks raised."""

    def __init__(self, call_id: str | None) -> None:
        self.call_id = call_id
        self.thread = threading.get_ident()
        self.raised: list[BaseException] = []


class Host:
    """One handle's callables."""

    def __init__(self, functions: Mapping[str, Callable[..., Any] | None]) -> None:
        self.functions = {name: function for name, function in functions.items() if function is not None}
        # The calls under way, the newest last. Appending, removing and copying are atomic.
        self.watches: list[Watch] = []
        self.inside = threading.local()

    def to_c(self) -> cni_callbacks | None:
        """The C struct, which keeps this object alive until the library frees its data; None without callables."""
        if not self.functions:
            return None
        data = next(_numbers)
        _hosts[data] = self
        table = cni_callbacks(size=ctypes.sizeof(cni_callbacks), data=data, data_free=_data_free)
        for name in self.functions:
            setattr(table, name, _thunks[name])
        return table

    @contextmanager
    def watch(self, call_id: str | None) -> Iterator[list[BaseException]]:
        """Collects what callbacks raise during a call."""
        if not self.functions:
            yield []
            return
        watch = Watch(call_id)
        self.watches.append(watch)
        try:
            yield watch.raised
        finally:
            self.watches.remove(watch)

    def is_inside(self) -> bool:
        """Whether this thread is in a callback of the handle."""
        return getattr(self.inside, "depth", 0) > 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        self.inside.depth = getattr(self.inside, "depth", 0) + 1
        try:
            yield
        finally:
            self.inside.depth -= 1

    def blame(self, error: BaseException, call_id: str | None) -> None:
        """Tells the call that asked. Usually that is this thread's; the library may ask from another one."""
        watches = list(reversed(self.watches))
        mine = [watch for watch in watches if watch.thread == threading.get_ident()]
        named = [watch for watch in watches if call_id is not None and watch.call_id == call_id]
        for found in (mine, named, watches if len(watches) == 1 else []):
            if found:
                found[0].raised.append(error)
                return
        report(error)


def report(error: BaseException) -> None:
    """Hands an exception that no caller can catch to sys.unraisablehook, unless the library was told all of it."""
    if not isinstance(error, Error):
        # ctypes does that with what a C callback raises; Python has no function for it.
        def callback() -> None:
            raise error

        ctypes.CFUNCTYPE(None)(callback)()


_numbers = itertools.count(1)
#: The handles that the library may call. An entry goes when the library frees its data.
_hosts: dict[int, Host] = {}


def _thunk(name: str) -> Any:
    def thunk(data: int, argument: bytes, reply: Any) -> int:
        host = _hosts[data]
        call_id = None
        try:
            question = json.loads(argument)
            call_id = question.get("callId")
            with host.entered():
                rc, answer = 0, _ANSWERS[name](host.functions[name](question))
        except BaseException as error:
            host.blame(error, call_id)
            if isinstance(error, Error):
                rc, answer = error.rc, dumps(error.object).encode()
            else:
                rc, answer = -1, f"{type(error).__name__}: {error}".encode(errors="replace")
        refused: int = lib.cni_reply_set(reply, answer, len(answer))
        return rc or refused

    thunk.__name__ = name
    return ASK(thunk)


def _log(data: int, level: int, target: bytes, message: bytes, fields: bytes) -> None:
    host = _hosts[data]
    try:
        with host.entered():
            host.functions["log"](level, target.decode(), message.decode(), json.loads(fields))
    except Exception:
        raise  # to sys.unraisablehook: a log line cannot fail a call
    except BaseException as error:
        host.blame(error, None)


def _forget(data: int) -> None:
    _hosts.pop(data, None)


_data_free = DATA_FREE(_forget)
_thunks: dict[str, Any] = {**{name: _thunk(name) for name in _ANSWERS}, "log": LOG(_log)}
