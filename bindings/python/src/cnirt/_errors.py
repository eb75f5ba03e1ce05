"""One exception class for each cni_rc, made from the error object."""

from __future__ import annotations

import builtins
import json
import sys
from typing import Any, ClassVar, TypedDict

from ._ffi import lib


class Cause(TypedDict, total=False):
    """A plugin's own error object."""

    code: int
    msg: str
    details: str


class Rollback(TypedDict):
    """How undoing a failed set-up went."""

    done: bool
    errors: list[Error]


class Error(Exception):
    """What every exception of this package is. `str()` is the message, in libcni's words where it has them.

    A callback may raise one: its class becomes the return code, and code, msg and details reach the library.
    """

    #: The cni_rc; -1 for none that this package knows.
    rc: int = -1
    #: The cni_rc's name, "CNI_E_TIMEOUT".
    class_name: str = "CNI_E_UNKNOWN"
    #: CNI's error code, else 999.
    code: int
    msg: str
    details: str | None
    #: What can be done about it.
    hint: str | None
    #: The plugin's type and the CNI command that failed.
    plugin: str | None
    command: str | None
    network: str | None
    if_name: str | None
    #: The plugin's own error object.
    cause: Cause | None
    #: The errors that were joined into this one.
    errors: list[Error]
    rollback: Rollback | None
    #: All of the above as the library tells it.
    object: dict[str, Any]

    _by_rc: ClassVar[dict[int, type[Error]]] = {}
    _by_name: ClassVar[dict[str, type[Error]]] = {}

    def __init_subclass__(cls, rc: int | None = None, class_name: str = "", **others: Any) -> None:
        super().__init_subclass__(**others)
        if rc is not None:
            cls.rc = rc
            cls.class_name = class_name
            Error._by_rc[rc] = Error._by_name[class_name] = cls

    def __init__(self, msg: str = "", *, code: int = 999, details: str | None = None, hint: str | None = None):
        super().__init__(msg)
        self.object = {"code": code, "msg": msg, "class": self.class_name}
        if details is not None:
            self.object["details"] = details
        if hint is not None:
            self.object["hint"] = hint
        self._read_object()

    @classmethod
    def from_object(cls, object: dict[str, Any], rc: int | None = None) -> Error:
        """The exception for an error object, of the class that rc or the object names."""
        name = str(object.get("class", cls.class_name))
        kind = Error._by_name.get(name, Error) if rc is None else Error._by_rc.get(rc, Error)
        error = kind(str(object.get("msg", "")))
        if kind is Error:
            error.class_name = name
            error.rc = error.rc if rc is None else rc
        error.object = object
        error._read_object()
        return error

    def _read_object(self) -> None:
        get = self.object.get
        self.code = get("code", 999)
        self.msg = get("msg", "")
        self.details = get("details")
        self.hint = get("hint")
        self.plugin = get("plugin")
        self.command = get("command")
        self.network = get("network")
        self.if_name = get("ifName")
        self.cause = get("cause")
        self.errors = [Error.from_object(error) for error in get("errors", ())]
        self.rollback = None
        if rollback := get("rollback"):
            undone = [Error.from_object(error) for error in rollback["errors"]]
            self.rollback = {"done": rollback["done"], "errors": undone}
        if self.hint and sys.version_info >= (3, 11):
            self.add_note(f"hint: {self.hint}")


class InvalidArgumentError(Error, ValueError, rc=1, class_name="CNI_E_INVALID_ARGUMENT"):
    """Something was passed that cannot be used; the message names it."""


class ConfigError(Error, rc=2, class_name="CNI_E_CONFIG"):
    """A network configuration cannot be read or used."""


class NotReadyError(Error, rc=3, class_name="CNI_E_NOT_READY"):
    """There is no usable default network yet, or a plugin says that it is not ready."""


class PluginError(Error, rc=4, class_name="CNI_E_PLUGIN"):
    """A plugin ran and failed, or what it printed makes no sense."""


class PluginNotFoundError(Error, rc=5, class_name="CNI_E_PLUGIN_NOT_FOUND"):
    """The plugin directories have no file for a plugin type."""


class TimeoutError(Error, builtins.TimeoutError, rc=6, class_name="CNI_E_TIMEOUT"):
    """The time limit passed. Python's own TimeoutError, too."""


class CancelledError(Error, rc=7, class_name="CNI_E_CANCELLED"):
    """Somebody cancelled the call."""


class ExistsError(Error, rc=8, class_name="CNI_E_EXISTS"):
    """The pod is attached already, or something is at the path."""


class NotFoundError(Error, LookupError, rc=9, class_name="CNI_E_NOT_FOUND"):
    """Nothing is known of that pod, network or value."""


class IoError(Error, rc=10, class_name="CNI_E_IO"):
    """The system refused something: memory, descriptors, files, processes."""


class NetnsError(Error, rc=11, class_name="CNI_E_NETNS"):
    """A network namespace is missing, or is not one."""


class CacheError(Error, rc=12, class_name="CNI_E_CACHE"):
    """The cache directory or an entry of it cannot be read or written."""


class UnsupportedError(Error, rc=13, class_name="CNI_E_UNSUPPORTED"):
    """Not supported by the library, by this version of the configuration, or by the plugin."""


class RetryError(Error, rc=14, class_name="CNI_E_RETRY"):
    """The plugin asks to try again later."""


class ForkedError(Error, rc=15, class_name="CNI_E_FORKED"):
    """The handle was made by the process that this one was forked from."""


class PanicError(Error, rc=16, class_name="CNI_E_PANIC"):
    """A defect of the library, stopped at its border; the handle stays usable."""


def from_answer(rc: int, text: str | None) -> Error:
    """The exception for a failed call, which wrote `text`."""
    if text is None:
        name = lib.cni_rc_name(rc).decode()
        return Error.from_object({"class": name, "code": 999, "msg": name}, rc)
    return Error.from_object(json.loads(text), rc)
