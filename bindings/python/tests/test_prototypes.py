"""The package's idea of the C interface against the header."""

import ctypes
import re
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p

import pytest
from support import HEADER

from cnirt import _errors, _ffi, _library

TEXT = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
TEXT = re.sub(r"//[^\n]*|^#.*$", "", TEXT, flags=re.M)

TYPES = {
    "void": None,
    "cni_rc": c_int32,
    "int": c_int,
    "int32_t": c_int32,
    "int64_t": c_int64,
    "uint32_t": c_uint32,
    "size_t": c_size_t,
    "char *": c_char_p,
    "char **": POINTER(c_char_p),
    "void *": c_void_p,
    "cni_plugin *": POINTER(_ffi.cni_plugin),
    "cni_plugin **": POINTER(POINTER(_ffi.cni_plugin)),
    "cni_op *": POINTER(_ffi.cni_op),
    "cni_op **": POINTER(POINTER(_ffi.cni_op)),
    "cni_callbacks *": POINTER(_ffi.cni_callbacks),
    "cni_reply *": POINTER(_ffi.cni_reply),
    "cni_runtime *": POINTER(_ffi.cni_runtime),
    "cni_runtime **": POINTER(POINTER(_ffi.cni_runtime)),
}


def ctype(declaration, named=True):
    """The ctypes type of "const struct cni_plugin *plugin"."""
    words = re.findall(r"\w+|\*", declaration)
    stars = words.count("*")
    names = [word for word in words if word not in ("*", "const", "struct")]
    assert len(names) == (2 if named else 1), declaration
    return TYPES[f"{names[0]} {'*' * stars}".strip()]


def parameters(text):
    return [] if text.strip() == "void" else [ctype(one) for one in text.split(",")]


def functions():
    body = TEXT[TEXT.index('extern "C" {') :]
    found = re.findall(r"(?:CNIRT_MUST_USE\s+)?([\w ]+?[\s*]+)(cni_\w+)\(([^)]*)\);", body)
    return {name: (ctype(result, named=False), parameters(arguments)) for result, name, arguments in found}


def struct_fields(name):
    body = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", TEXT, re.S).group(1)
    fields = []
    for member in filter(None, map(str.strip, body.split(";"))):
        function = re.fullmatch(r"([\w ]+?)\s*\(\*(\w+)\)\((.*)\)", member, re.S)
        if function:
            result, field, arguments = function.groups()
            fields.append((field, (ctype(result, named=False), parameters(arguments))))
        else:
            fields.append((re.search(r"\w+$", member).group(), ctype(member)))
    return fields


def test_every_function_has_its_prototype():
    assert functions() == _ffi.PROTOTYPES


@pytest.mark.parametrize("name", _ffi.PROTOTYPES)
def test_the_library_is_told_the_prototype(name):
    function = getattr(_ffi.lib, name)
    assert (function.restype, list(function.argtypes)) == _ffi.PROTOTYPES[name]


def test_callbacks_have_the_headers_members():
    def unfolded(kind):
        if issubclass(kind, ctypes._CFuncPtr):
            return kind._restype_, list(kind._argtypes_)
        return kind

    assert [(name, unfolded(kind)) for name, kind in _ffi.cni_callbacks._fields_] == struct_fields("cni_callbacks")


def test_every_return_code_has_its_exception():
    codes = dict(re.findall(r"^\s+(CNI_\w+) = (\d+),", TEXT, re.M))
    assert codes.pop("CNI_OK") == "0"
    classes = {kind.class_name: str(kind.rc) for kind in _errors.Error._by_rc.values()}
    assert classes == codes
    for name, kind in _errors.Error._by_name.items():
        words = name[len("CNI_E_") :].split("_")
        assert kind.__name__ == "".join(word.capitalize() for word in words) + "Error"


def test_the_library_knows_the_same_names():
    for rc, kind in _errors.Error._by_rc.items():
        assert _ffi.lib.cni_rc_name(rc).decode() == kind.class_name
    assert _ffi.lib.cni_rc_name(len(_errors.Error._by_rc) + 1) == b"CNI_E_UNKNOWN"


def test_the_abi_is_the_headers_major_version():
    major = re.search(r"#define CNIRT_VERSION_MAJOR (\d+)", HEADER.read_text()).group(1)
    assert int(major) == _library.ABI_VERSION
