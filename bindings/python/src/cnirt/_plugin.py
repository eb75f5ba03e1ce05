"""The network plugin of a node: attaches pods to networks, knows which are attached, detaches them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ctypes import byref, pointer
from typing import TYPE_CHECKING, Any, cast

from . import _answers as answers
from ._callbacks import ExecPlugin, FindPlugin, GetNetns, GetPodPortMappings, Host, Log, report
from ._errors import ForkedError, from_answer
from ._ffi import PluginPointer, Text, lib, text_in
from ._managed import Managed
from ._requests import GcRequest, PluginOptions, PodRequest, dumps, to_object

if TYPE_CHECKING:
    from typing_extensions import Unpack


class NetworkPlugin(Managed):
    """A handle with its options and callbacks, and what does not wait."""

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        /,
        *,
        get_netns: GetNetns | None = None,
        get_pod_port_mappings: GetPodPortMappings | None = None,
        find_plugin: FindPlugin | None = None,
        exec_plugin: ExecPlugin | None = None,
        log: Log | None = None,
        **keywords: Unpack[PluginOptions],
    ) -> None:
        text = dumps(to_object(options, keywords)).encode()
        self._host = Host(
            {
                "get_netns": get_netns,
                "get_pod_port_mappings": get_pod_port_mappings,
                "find_plugin": find_plugin,
                "exec_plugin": exec_plugin,
                "log": log,
            }
        )
        callbacks = self._host.to_c()
        made, out = PluginPointer(), Text()
        with self._host.watch(None) as raised:
            rc = lib.cni_plugin_new(text, callbacks and pointer(callbacks), byref(made), byref(out))
        if made:
            super().__init__(made)
        finish(rc, out, raised)

    def fileno(self) -> int:
        """A descriptor that is readable when the configuration may have changed, so that `selectors` and asyncio's
        `add_reader` take this object.

        It is readable at first, and after a change until `status()` or `reload()` succeeds: call one of them then, and
        do not read from it. It is closed with this object; take it out of event loops before. OSError where there is
        none: with the no-op network plugin, in a callback, and where the system has none to spare.
        """
        with self._in_use() as pointer:
            fd = int(lib.cni_plugin_fd(pointer))
        if fd < 0 and self._is_forked():
            raise from_answer(ForkedError.rc, None)
        if fd < 0:
            raise OSError("there is no descriptor for changes of the configuration; the log callback was told why")
        return fd

    @property
    def name(self) -> str:
        """ "cni", or "kubernetes.io/no-op"."""
        with self._in_use() as pointer:
            return str(lib.cni_plugin_name(pointer).decode())

    def cancel(self, id: str | None = None) -> None:
        """Cancels the calls with this call_id or on this pod, all without one: each raises CancelledError, and a set-up
        is undone. Returns at once; that there is none is no error."""
        text = None if id is None else text_in("id", id)
        with self._in_use() as pointer:
            rc = lib.cni_plugin_cancel(pointer, text)
        if rc:
            raise from_answer(rc, None)

    def _free(self, pointer: Any) -> None:
        lib.cni_plugin_free(pointer)

    def _cancel_all(self, pointer: Any) -> None:
        lib.cni_plugin_cancel(pointer, None)

    def _in_callback(self) -> bool:
        return self._host.is_inside()


class Plugin(NetworkPlugin):
    """What the kubelet calls a network plugin, over the CNI plugins that a directory configures.

    Options are keywords, or the library's JSON object, or both (keywords win). Callbacks answer what a request omits
    and stand in for the built-in way; they run on any thread, and must not call this object (they may close it).

    Any number of threads may use one object; while the library works, other Python threads run. A signal's handler
    waits until the call under way returns, so limit calls by `timeout_ms`, or `cancel` them from another thread.
    """

    def setup_pod(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodResult:
        """Attaches a pod to its networks; what a failed set-up began is undone, `rollback` of the exception tells how.

        ExistsError where the pod is attached already, unless `replace` is True. What an earlier set-up of the pod
        neither finished nor undid is undone first.
        """
        return cast(answers.PodResult, self._with_request(lib.cni_setup_pod, request, keywords))

    def teardown_pod(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodAttachments:
        """Detaches a pod from its networks, as they were recorded, finished or not; answers what was removed.

        With `force=True` plugins' errors stop nothing, and are `errors` of the answer.
        """
        return cast(answers.PodAttachments, self._with_request(lib.cni_teardown_pod, request, keywords))

    def check_pod(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodChecks:
        """Asks the plugins whether a pod's networks are as they were made. NotFoundError for an unknown pod."""
        return cast(answers.PodChecks, self._with_request(lib.cni_check_pod, request, keywords))

    def pod_status(
        self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[PodRequest]
    ) -> answers.PodStatus:
        """A pod's addresses, read from its network namespace. NotFoundError for an unknown pod."""
        return cast(answers.PodStatus, self._with_request(lib.cni_pod_status, request, keywords))

    def list_pods(self) -> list[answers.KnownPod]:
        """Every pod that is recorded, and every one whose set-up is under way or did not end."""
        return cast("list[answers.KnownPod]", self._ask(lib.cni_list_pods))

    def status(self) -> answers.Status:
        """Whether pods can be set up on the default network, and what is configured. Not being ready raises nothing."""
        return cast(answers.Status, self._ask(lib.cni_plugin_status))

    def reload(self) -> answers.Status:
        """Reads the configurations again, changed or not. Seldom needed: every call looks for changes."""
        return cast(answers.Status, self._ask(lib.cni_plugin_reload))

    def capabilities(self) -> list[str]:
        """The capabilities that the default network's plugins declare, sorted."""
        return cast("list[str]", self._ask(lib.cni_plugin_capabilities))

    def gc(self, request: Mapping[str, Any] | None = None, /, **keywords: Unpack[GcRequest]) -> answers.Collected:
        """Deletes the attachments of pods that are not among `valid_pods`, then runs the plugins' own GC (CNI 1.1.0).

        Only what this object's `owner` made is deleted; attachments that others made are told to the plugins as valid.
        What a set-up that did not end left of a pod that is gone is undone, too. Nothing stops at the first error, and
        `errors` of the exception lists what failed.
        """
        return cast(answers.Collected, self._with_request(lib.cni_plugin_gc, request, keywords))

    def event(self, name: str, details: Mapping[str, Any] | None = None) -> None:
        """Tells of an event on the node: "pod-cidr-change" with {"pod-cidr": "10.1.0.0/16"}; others are ignored."""
        text = None if details is None else dumps(details).encode()
        self._ask(lib.cni_plugin_event, text_in("name", name), text)

    def metrics(self) -> str:
        """The handle's metrics as Prometheus text."""
        return self._text(lib.cni_plugin_metrics)

    def _with_request(self, function: Any, request: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> Any:
        made = to_object(request, keywords)
        return self._ask(function, dumps(made).encode(), call_id=call_id_of(made))

    def _ask(self, function: Any, *arguments: bytes | None, call_id: str | None = None) -> Any:
        return json.loads(self._text(function, *arguments, call_id=call_id))

    def _text(self, function: Any, *arguments: bytes | None, call_id: str | None = None) -> str:
        out = Text()
        with self._in_use() as pointer, self._host.watch(call_id) as raised:
            rc = function(pointer, *arguments, byref(out))
        return finish(rc, out, raised)


def call_id_of(request: Mapping[str, Any]) -> str | None:
    """The name of a call that its request has, if it has one."""
    call_id = request.get("callId")
    return call_id if isinstance(call_id, str) else None


def finish(rc: int, out: Text, raised: list[BaseException]) -> str:
    """The text of a call that succeeded; else raises, with what the callbacks raised as the cause."""
    error = from_answer(rc, out.text()) if rc else None
    for one in raised:
        if not isinstance(one, Exception):
            raise one from error
    unreported = iter(raised)
    if error is not None:
        error.__cause__ = next(unreported, None)
    for one in unreported:
        report(one)
    if error is not None:
        raise error
    return out.text() or ""
