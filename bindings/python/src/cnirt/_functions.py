"""What needs no handle."""

from __future__ import annotations

import os
from ctypes import byref
from typing import Any

from ._errors import from_answer
from ._ffi import Text, lib, text_in
from ._requests import Path, dumps


def version() -> str:
    """The library's version: "0.1.0"."""
    return str(lib.cni_version().decode())


def abi_version() -> int:
    """The number of the library's ABI."""
    return int(lib.cni_abi_version())


def create_netns(path: Path) -> None:
    """Creates a network namespace that is held by a bind mount on `path`, as "ip netns add" does.

    ExistsError where something is at the path. No thread of this process changes its namespace.
    """
    _call(lib.cni_netns_create, text_in("path", os.fspath(path)))


def remove_netns(path: Path) -> None:
    """Unmounts and removes what create_netns made; one that is gone already is no error."""
    _call(lib.cni_netns_remove, text_in("path", os.fspath(path)))


def json_get(json: Any, pointer: str) -> str:
    """The value at an RFC 6901 pointer ("/ips/0"), as JSON text; a string comes without quotes.

    `json` is JSON text, or a value that stands for one. NotFoundError where there is nothing.
    """
    return _call(lib.cni_json_get, _json(json), text_in("pointer", pointer))


def json_set(json: Any, pointer: str, value: Any) -> str:
    """The JSON text with `value` at an RFC 6901 pointer; objects on the way are made, "-" appends to a list.

    `json` is JSON text, or a value that stands for one; None is an empty object.
    """
    text = None if json is None else _json(json)
    if isinstance(value, str):
        return _call(lib.cni_json_set_string, text, text_in("pointer", pointer), text_in("value", value))
    return _call(lib.cni_json_set, text, text_in("pointer", pointer), dumps(value).encode())


def _json(value: str | Any) -> bytes:
    return text_in("json", value if isinstance(value, str) else dumps(value))


def _call(function: Any, *arguments: Any) -> str:
    out = Text()
    rc = function(*arguments, byref(out))
    if rc:
        raise from_answer(rc, out.text())
    return out.text() or ""
