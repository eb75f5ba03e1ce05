"""Where the library is looked for, and what is said when there is none."""

import os
import shutil

import pytest
from support import PACKAGE, python

SHOW = "from cnirt._ffi import lib; print(lib._name)"


@pytest.fixture
def package(tmp_path):
    """A copy of the package, to put a library into."""
    shutil.copytree(PACKAGE / "src" / "cnirt", tmp_path / "cnirt", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def library():
    return os.environ["CNIRT_LIBRARY"]


def test_the_bundled_library_comes_first(package, library):
    shutil.copy(library, package / "cnirt" / "libcnirt.so")
    shown = python("-c", SHOW, PYTHONPATH=str(package), CNIRT_LIBRARY="/nowhere")
    assert shown.strip() == str(package / "cnirt" / "libcnirt.so")


def test_then_the_variables(package, library):
    shown = python("-c", SHOW, PYTHONPATH=str(package), CNIRT_LIBRARY=library, LD_LIBRARY_PATH=None)
    assert shown.strip() == library


def test_then_the_systems(package, library):
    (package / "lib").mkdir()
    (package / "lib" / "libcnirt.so.0").symlink_to(library)
    shown = python("-c", SHOW, PYTHONPATH=str(package), CNIRT_LIBRARY=None, LD_LIBRARY_PATH=str(package / "lib"))
    assert shown.strip() == "libcnirt.so.0"


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("/nowhere/libcnirt.so", "cnirt cannot load its library: /nowhere/libcnirt.so: cannot open shared object file"),
        ("libc.so.6", "libc.so.6 is no libcnirt"),
    ],
    ids=["missing", "another library"],
)
def test_an_import_error_says_what_is_wrong(variable, words):
    program = "try:\n import cnirt\nexcept ImportError as error:\n print(error)"
    assert words in python("-c", program, CNIRT_LIBRARY=variable)
