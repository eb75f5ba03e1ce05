"""The wheel and the sdist, with the library that is under test."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from support import PACKAGE, ROOT, run

hatchling = pytest.importorskip("hatchling")


def version():
    return re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)


def build(target, directory, project=PACKAGE):
    program = "import os, sys; os.chdir(sys.argv[1]); from hatchling.build import build_wheel, build_sdist; "
    program += f"print(build_{target}(sys.argv[2]))"
    name = run(sys.executable, "-c", program, project, directory, CNIRT_PREBUILT=os.environ["CNIRT_LIBRARY"])
    return directory / name.strip()


def test_the_wheel_has_the_library_and_the_platforms_tag(tmp_path):
    wheel = build("wheel", tmp_path)
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    assert wheel.name == f"cnirt-{version()}-py3-none-{platform}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/WHEEL"))
        assert archive.read("cnirt/libcnirt.so") == Path(os.environ["CNIRT_LIBRARY"]).read_bytes()
    sources = {f"cnirt/{path.name}" for path in (PACKAGE / "src" / "cnirt").iterdir() if path.is_file()}
    assert {name for name in names if name.startswith("cnirt/")} == sources | {"cnirt/libcnirt.so"}
    assert "cnirt/py.typed" in names
    assert f"cnirt-{version()}.dist-info/licenses/LICENSE" in names
    assert "Root-Is-Purelib: false" in metadata
    assert f"Tag: py3-none-{platform}" in metadata


def test_the_licence_is_the_repositorys():
    # A copy: what is outside this directory cannot be in an sdist.
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_an_sdist_asks_for_a_library(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    unpacked = tmp_path / f"cnirt-{version()}"
    assert build("wheel", tmp_path, unpacked).name.startswith(f"cnirt-{version()}-py3-none-")
    program = "import os, sys; os.chdir(sys.argv[1]); from hatchling.build import build_wheel; build_wheel('.')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CNIRT_")}
    done = subprocess.run(
        [sys.executable, "-c", program, unpacked], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "CNIRT_PREBUILT=/path/libcnirt.so" in done.stderr


def test_installs_into_a_fresh_environment(tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    # hatchling comes from the environment of this test: no network is needed.
    tools = Path(hatchling.__file__).parents[1]
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", PACKAGE]
    run(python, *install, PYTHONPATH=str(tools), CNIRT_PREBUILT=os.environ["CNIRT_LIBRARY"])
    program = "import cnirt, importlib.metadata as m; print(cnirt.__file__, cnirt.version(), m.version('cnirt'))"
    file, library, package = run(python, "-c", program, PYTHONPATH=None, CNIRT_LIBRARY="/nowhere").split()
    assert Path(file).is_relative_to(tmp_path)
    assert library == package == version()
