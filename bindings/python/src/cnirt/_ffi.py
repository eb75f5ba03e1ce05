"""The C types and prototypes, as include/cnirt.h has them (a test compares), and the way strings cross the border.

What the functions mean is in the header.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

from . import _library


class cni_plugin(ctypes.Structure):
    """Opaque."""


class cni_op(ctypes.Structure):
    """Opaque."""


class cni_reply(ctypes.Structure):
    """Opaque."""


class cni_runtime(ctypes.Structure):
    """Opaque."""


RuntimePointer = POINTER(cni_runtime)

DATA_FREE = CFUNCTYPE(None, c_void_p)
ASK = CFUNCTYPE(c_int32, c_void_p, c_char_p, POINTER(cni_reply))
LOG = CFUNCTYPE(None, c_void_p, c_int32, c_char_p, c_char_p, c_char_p)


class cni_callbacks(ctypes.Structure):
    """The host's functions."""

    _fields_ = (
        ("size", c_size_t),
        ("data", c_void_p),
        ("data_free", DATA_FREE),
        ("get_netns", ASK),
        ("get_pod_port_mappings", ASK),
        ("find_plugin", ASK),
        ("exec_plugin", ASK),
        ("log", LOG),
    )


PluginPointer = POINTER(cni_plugin)
OpPointer = POINTER(cni_op)
_out = POINTER(c_char_p)

#: Function: its result, its parameters.
PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "cni_abi_version": (c_uint32, []),
    "cni_version": (c_char_p, []),
    "cni_rc_name": (c_char_p, [c_int32]),
    "cni_string_free": (None, [c_char_p]),
    "cni_reply_set": (c_int32, [POINTER(cni_reply), c_char_p, c_size_t]),
    "cni_plugin_new": (c_int32, [c_char_p, POINTER(cni_callbacks), POINTER(PluginPointer), _out]),
    "cni_plugin_free": (None, [PluginPointer]),
    "cni_plugin_name": (c_char_p, [PluginPointer]),
    "cni_plugin_status": (c_int32, [PluginPointer, _out]),
    "cni_plugin_reload": (c_int32, [PluginPointer, _out]),
    "cni_plugin_capabilities": (c_int32, [PluginPointer, _out]),
    "cni_plugin_metrics": (c_int32, [PluginPointer, _out]),
    "cni_plugin_gc": (c_int32, [PluginPointer, c_char_p, _out]),
    "cni_plugin_event": (c_int32, [PluginPointer, c_char_p, c_char_p, _out]),
    "cni_plugin_cancel": (c_int32, [PluginPointer, c_char_p]),
    "cni_plugin_fd": (c_int, [PluginPointer]),
    "cni_plugin_start": (c_int32, [PluginPointer, c_char_p, c_char_p, POINTER(OpPointer), _out]),
    "cni_runtime_start": (c_int32, [RuntimePointer, c_char_p, c_char_p, c_char_p, POINTER(OpPointer), _out]),
    "cni_op_fd": (c_int, [OpPointer]),
    "cni_op_wait": (c_int32, [OpPointer, c_int64]),
    "cni_op_cancel": (c_int32, [OpPointer]),
    "cni_op_finish": (c_int32, [OpPointer, _out]),
    "cni_setup_pod": (c_int32, [PluginPointer, c_char_p, _out]),
    "cni_teardown_pod": (c_int32, [PluginPointer, c_char_p, _out]),
    "cni_check_pod": (c_int32, [PluginPointer, c_char_p, _out]),
    "cni_pod_status": (c_int32, [PluginPointer, c_char_p, _out]),
    "cni_list_pods": (c_int32, [PluginPointer, _out]),
    "cni_runtime_new": (c_int32, [c_char_p, POINTER(cni_callbacks), POINTER(RuntimePointer), _out]),
    "cni_runtime_free": (None, [RuntimePointer]),
    "cni_runtime_add": (c_int32, [RuntimePointer, c_char_p, c_char_p, _out]),
    "cni_runtime_del": (c_int32, [RuntimePointer, c_char_p, c_char_p, _out]),
    "cni_runtime_check": (c_int32, [RuntimePointer, c_char_p, c_char_p, _out]),
    "cni_runtime_cached": (c_int32, [RuntimePointer, c_char_p, c_char_p, _out]),
    "cni_runtime_gc": (c_int32, [RuntimePointer, c_char_p, c_char_p, _out]),
    "cni_runtime_status": (c_int32, [RuntimePointer, c_char_p, _out]),
    "cni_runtime_validate": (c_int32, [RuntimePointer, c_char_p, _out]),
    "cni_runtime_plugin_version": (c_int32, [RuntimePointer, c_char_p, _out]),
    "cni_runtime_attachments": (c_int32, [RuntimePointer, c_char_p, _out]),
    "cni_confdir_files": (c_int32, [c_char_p, c_char_p, _out]),
    "cni_confdir_load": (c_int32, [c_char_p, c_char_p, _out]),
    "cni_conf_parse": (c_int32, [c_char_p, c_char_p, _out]),
    "cni_result_convert": (c_int32, [c_char_p, c_char_p, _out]),
    "cni_json_get": (c_int32, [c_char_p, c_char_p, _out]),
    "cni_json_set": (c_int32, [c_char_p, c_char_p, c_char_p, _out]),
    "cni_json_set_string": (c_int32, [c_char_p, c_char_p, c_char_p, _out]),
    "cni_netns_create": (c_int32, [c_char_p, _out]),
    "cni_netns_remove": (c_int32, [c_char_p, _out]),
}


def _bound() -> ctypes.CDLL:
    library = _library.load()
    for name, (result, parameters) in PROTOTYPES.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise ImportError(f"{library._name} is too old for this package: {error}", path=library._name) from error
        function.restype = result
        function.argtypes = parameters
    return library


lib = _bound()


def text_in(what: str, text: str | os.PathLike[str]) -> bytes:
    """A string for C, which would end at a NUL."""
    data = os.fsencode(text) if isinstance(text, os.PathLike) else text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError(f"{what}: NUL inside")
    return data


class Text(c_char_p):
    """Where a call puts its text: the library's, freed with this object, even if a signal's handler raises."""

    def text(self) -> str | None:
        """The text, where there is one."""
        return None if self.value is None else self.value.decode()

    def __del__(self) -> None:
        lib.cni_string_free(self)
