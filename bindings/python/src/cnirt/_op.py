"""One call in the background, awaited on the running asyncio loop."""

from __future__ import annotations

from ctypes import byref
from typing import TYPE_CHECKING, Any

from ._errors import TimeoutError as NotDoneError
from ._ffi import OpPointer, Text, lib

if TYPE_CHECKING:
    import asyncio


def start(handle: Any, operation: str, request: bytes | None) -> tuple[int, Text, Op | None]:
    """Begins a call, or answers as one that failed."""
    pointer, error = OpPointer(), Text()
    rc = lib.cni_plugin_start(handle, operation.encode(), request, byref(pointer), byref(error))
    return rc, error, Op(pointer) if pointer else None


class Op:
    """A call that has begun. It outlives the handle, whose end cancels it."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer

    async def wait(self) -> asyncio.CancelledError | None:
        """Returns when the call is done; a task that is cancelled cancels it, and still waits for its roll back.

        Answers why the task was cancelled, if it was.
        """
        # Whoever is here has loaded it; programs without coroutines do without.
        import asyncio

        cancelled = None
        while not self._is_done():
            try:
                await self._readable(asyncio.get_running_loop())
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                lib.cni_op_cancel(self._pointer)
        return cancelled

    def _is_done(self) -> bool:
        # The descriptor may also say that the deadline of a call in the queue passed: asking ends that one.
        rc: int = lib.cni_op_wait(self._pointer, 0)
        return rc != NotDoneError.rc

    async def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        readable, fd = loop.create_future(), lib.cni_op_fd(self._pointer)

        def wake() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(fd, wake)
        try:
            await readable
        finally:
            if not loop.is_closed():
                loop.remove_reader(fd)

    def finish(self) -> tuple[int, Text]:
        """The call's answer, for which it waits."""
        out = Text()
        pointer, self._pointer = self._pointer, OpPointer()
        return lib.cni_op_finish(pointer, byref(out)), out

    def close(self) -> None:
        """Ends a call that nobody waits for any more, as its loop is gone: cancels it, and waits for its roll back."""
        if self._pointer:
            lib.cni_op_cancel(self._pointer)
            self.finish()
