"""Finds and loads libcnirt.so."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: The ABI that this package is written for: the number in the library's SONAME.
ABI_VERSION = 0
SONAME = f"libcnirt.so.{ABI_VERSION}"
ENVIRONMENT_VARIABLE = "CNIRT_LIBRARY"


def find() -> str:
    """What to hand to dlopen: the library in this package, else CNIRT_LIBRARY, else the system's."""
    bundled = Path(__file__).with_name("libcnirt.so")
    if bundled.is_file():
        return str(bundled)
    return os.environ.get(ENVIRONMENT_VARIABLE) or SONAME


def load() -> ctypes.CDLL:
    """Loads the library; CDLL gives the GIL up during each call."""
    name = find()
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(
            f"cnirt cannot load its library: {error}. It is looked for in the package, then where "
            f"{ENVIRONMENT_VARIABLE} says, then as the system's {SONAME}",
            path=name,
        ) from error
    try:
        abi_version = library.cni_abi_version
    except AttributeError as error:
        raise ImportError(f"{name} is no libcnirt: {error}", path=name) from error
    abi_version.restype = ctypes.c_uint32
    if abi_version() != ABI_VERSION:
        raise ImportError(f"{name} has ABI {abi_version()}, this package is for ABI {ABI_VERSION}", path=name)
    return library
