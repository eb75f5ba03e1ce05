"""The network plugin for asyncio: the same calls, awaited."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar, cast

from . import _answers as answers
from ._ffi import text_in
from ._op import start
from ._plugin import NetworkPlugin, Plugin, call_id_of, finish
from ._requests import GcRequest, PodRequest, dumps, to_object

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Self = TypeVar("_Self", bound="AsyncPlugin")

_call_numbers = itertools.count(1)


class AsyncPlugin(NetworkPlugin):
    """`Plugin` for asyncio (and uvloop): the same options, callbacks, methods and exceptions; the methods are awaited.

    A call takes no thread while it is awaited; the library runs at most `op_threads` at once, and the others wait. Any
    number of tasks, loops and threads may use one object, one after another for one pod.

    Cancelling a task, as `asyncio.timeout` does, cancels its call: the plugin is stopped, and what was begun is undone
    before asyncio.CancelledError goes on, whose `__cause__` is the library's error, with its `rollback`. Without a
    `__cause__` the call had succeeded by then, and its effect stays: tear the pod down. A `timeout_ms` has the library
    watch the clock, and raises cnirt.TimeoutError.

    Callbacks run on the library's threads: hand what needs the loop to `asyncio.run_coroutine_threadsafe`.

    Use it in `async with`, or end it by `await aclose()`. `close()` does the same without asyncio: the loop stands
    still until the running calls are undone.
    """

    async def setup_pod(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodResult:
        return cast(answers.PodResult, await self._with_request("setup_pod", request, keywords))

    async def teardown_pod(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodAttachments:
        return cast(answers.PodAttachments, await self._with_request("teardown_pod", request, keywords))

    async def check_pod(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodChecks:
        return cast(answers.PodChecks, await self._with_request("check_pod", request, keywords))

    async def pod_status(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodStatus:
        return cast(answers.PodStatus, await self._with_request("pod_status", request, keywords))

    async def list_pods(self) -> list[answers.KnownPod]:
        return cast("list[answers.KnownPod]", await self._ask("list_pods"))

    async def status(self) -> answers.Status:
        return cast(answers.Status, await self._ask("plugin_status"))

    async def reload(self) -> answers.Status:
        return cast(answers.Status, await self._ask("plugin_reload"))

    async def capabilities(self) -> list[str]:
        return cast("list[str]", await self._ask("plugin_capabilities"))

    async def gc(self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[GcRequest]) -> answers.Collected:
        return cast(answers.Collected, await self._with_request("plugin_gc", request, keywords))

    async def event(self, name: str, details: Mapping[str, Any] | None = None) -> None:
        text_in("name", name)
        await self._ask("plugin_event", to_object({"name": name}, {"details": details}))

    async def metrics(self) -> str:
        return await self._text("plugin_metrics", None)

    async def aclose(self) -> None:
        """Ends the handle as `close()` does, while the loop goes on; a task that is cancelled meanwhile still waits."""
        import asyncio

        # No task of its own: asyncio.run cancels all that it finds.
        ended, cancelled = asyncio.get_running_loop().run_in_executor(None, self.close), None
        while not ended.done():
            try:
                await asyncio.shield(ended)
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
        if cancelled is not None:
            raise cancelled
        ended.result()

    async def __aenter__(self: _Self) -> _Self:
        return self.__enter__()

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _with_request(
        self, operation: str, request: Mapping[str, Any] | None, keywords: Mapping[str, Any]
    ) -> Any:
        made = to_object(request, keywords)
        if self._host.functions:
            # Callbacks come on other threads: by its name they find the call that has to raise what they raise. No
            # pod's id has a colon.
            made.setdefault("callId", f"py:{next(_call_numbers)}")
        return await self._ask(operation, made)

    async def _ask(self, operation: str, request: Mapping[str, Any] | None = None) -> Any:
        return json.loads(await self._text(operation, request))

    async def _text(self, operation: str, request: Mapping[str, Any] | None) -> str:
        text, cancelled = None if request is None else dumps(request).encode(), None
        with self._host.watch(call_id_of(request or {})) as raised:
            with self._in_use() as pointer:
                rc, out, op = start(pointer, operation, text)
            if op:
                with closing(op):
                    cancelled = await op.wait()
                    rc, out = op.finish()
        try:
            answer = finish(rc, out, raised)
        except Exception as error:
            if cancelled is not None:
                raise cancelled from error
            raise
        if cancelled is not None:
            raise cancelled
        return answer


for _name, _method in vars(Plugin).items():
    if not _name.startswith("_"):
        getattr(AsyncPlugin, _name).__doc__ = _method.__doc__
