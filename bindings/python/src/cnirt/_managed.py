"""The one owner of a C handle: closed once, never used afterwards, whatever threads, signals and forks do."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_Self = TypeVar("_Self", bound="Managed")

#: Handles that may have calls under way when the interpreter ends.
_open: weakref.WeakSet[Managed] = weakref.WeakSet()


class Managed:
    """A handle with `close()`, `with` and, for what was forgotten, `__del__`.

    C forbids calls that begin after the handle was freed, so calls are counted and the handle goes when none is left:
    `close()` cancels the running ones and waits for them.
    """

    _pointer: Any | None = None
    _freed = True

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self._closed = False
        self._freed = False
        #: The thread that frees the handle.
        self._freeing: int | None = None
        self._pid = os.getpid()
        # Guards _pointer, _closed and _threads; never held while a plugin runs.
        self._changed = threading.Condition()
        # The threads of the calls under way, one entry a call.
        self._threads: list[int] = []
        _open.add(self)

    def _free(self, pointer: Any) -> None:
        """Ends the handle."""
        raise NotImplementedError

    def _cancel_all(self, pointer: Any) -> None:
        """Makes the calls under way end soon."""
        raise NotImplementedError

    def _in_callback(self) -> bool:
        """Whether this thread was called by the handle."""
        raise NotImplementedError

    @contextmanager
    def _in_use(self) -> Iterator[Any]:
        """Lends the pointer for one call."""
        if self._is_forked():
            if self._pointer is None:
                raise ValueError(f"{type(self).__name__} is closed")
            yield self._pointer  # the library refuses it, in its own words
            return
        thread = threading.get_ident()
        with self._changed:
            if self._closed:
                raise ValueError(f"{type(self).__name__} is closed")
            self._threads.append(thread)
        try:
            yield self._pointer
        finally:
            with self._changed:
                self._threads.remove(thread)
                self._changed.notify_all()
            if self._closed:
                self._release()

    def close(self) -> None:
        """Ends the handle: new calls raise ValueError, running ones are cancelled and waited for.

        What is attached stays attached. Called from a callback or a signal handler that interrupted a call of this
        handle, it does not wait: that call ends the handle. Closing twice is fine.
        """
        if self._freed:
            return
        if self._is_forked():
            # No lock: the thread that held it may not exist here.
            pointer, self._pointer, self._freed = self._pointer, None, True
            if pointer is not None:
                self._free(pointer)
            return
        with self._changed:
            self._closed = True
            wait = not self._in_callback() and threading.get_ident() not in self._threads
            while self._threads:
                # Again and again: a call may have been counted but not yet have reached the library.
                self._cancel_all(self._pointer)
                if not wait:
                    return
                self._changed.wait(0.05)
        self._release()
        with self._changed:
            # The last call may be freeing the handle on its own thread, which calls back once more.
            while wait and not self._freed and self._freeing != threading.get_ident():
                self._changed.wait()

    @property
    def closed(self) -> bool:
        """Whether `close()` was called."""
        return self._closed or self._pointer is None

    def _release(self) -> None:
        with self._changed:
            if self._threads:
                return
            pointer, self._pointer = self._pointer, None
            if pointer is None:
                return
            self._freeing = threading.get_ident()
        try:
            self._free(pointer)
        finally:
            with self._changed:
                self._freed = True
                self._changed.notify_all()

    def _is_forked(self) -> bool:
        return os.getpid() != self._pid

    def __enter__(self: _Self) -> _Self:
        if self.closed:
            raise ValueError(f"{type(self).__name__} is closed")
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} belongs to its process: it cannot be copied or pickled")


@atexit.register
def _close_all() -> None:
    # Daemon threads would otherwise come back from the library into an interpreter that is gone.
    for handle in list(_open):
        if not handle._is_forked():
            handle.close()
