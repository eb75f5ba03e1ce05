"""Puts the shared library into the wheel and tags the wheel with the platform.

The library is the file that CNIRT_PREBUILT or CNIRT_LIBRARY names, else what `cargo build --release` makes of the
checkout that this directory belongs to. An sdist carries no Rust sources: building from one needs a prebuilt library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LibraryHook(BuildHookInterface):  # type: ignore[type-arg]  # the configuration's type is hatchling's own
    """Adds cnirt/libcnirt.so to wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # An editable install runs from the sources, beside which no library belongs: it takes CNIRT_LIBRARY's.
        if self.target_name != "wheel" or version == "editable":
            return
        build_data["force_include"][str(self.library())] = "cnirt/libcnirt.so"
        build_data["pure_python"] = False
        # ctypes needs no particular Python, so only the platform is in the tag.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def library(self) -> Path:
        """The shared library's path, built where none is given."""
        for name in ("CNIRT_PREBUILT", "CNIRT_LIBRARY"):
            if given := os.environ.get(name):
                path = Path(given).resolve()
                if not path.is_file():
                    raise SystemExit(f"{name}={given}: no such file")
                return path
        manifest = Path(self.root, "..", "..", "Cargo.toml").resolve()
        if not manifest.is_file():
            raise SystemExit(
                "cnirt is built from a checkout of its repository (pip install ./bindings/python), where cargo makes "
                "libcnirt.so; from an sdist, name a library that is there already: CNIRT_PREBUILT=/path/libcnirt.so"
            )
        return cargo_build(manifest)


def cargo_build(manifest: Path) -> Path:
    """Builds the release library and returns the path that cargo tells."""
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "--locked", "--lib"]
    command += ["--message-format", "json-render-diagnostics", "--manifest-path", str(manifest)]
    try:
        # From the repository's root, for the toolchain and the cargo configuration that hold there.
        done = subprocess.run(command, cwd=manifest.parent, stdout=subprocess.PIPE, check=True)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed; see https://rustup.rs, or set CNIRT_PREBUILT") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{' '.join(command)}: status {error.returncode}") from None
    for message in map(json.loads, done.stdout.splitlines()):
        if message["reason"] == "compiler-artifact" and message["manifest_path"] == str(manifest):
            for name in message["filenames"]:
                if name.endswith("/libcnirt.so"):
                    return Path(name)
    raise SystemExit("cargo built no libcnirt.so")
