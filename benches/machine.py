"""What the measurements were made on."""

import os
import pathlib
import platform
import subprocess


def describe(disk: pathlib.Path) -> dict[str, str]:
    cpus = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in cpus.splitlines() if line.startswith("model name")), "unknown")
    mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    kind = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", str(disk)], capture_output=True, text=True).stdout.strip()
    virtual = "hypervisor" in cpus

    def first_line(*command: str) -> str:
        # Plugins say who they are on standard error.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.partition("\n")[0]

    return {
        "processor": f"{os.cpu_count()} × {model}{' (virtual machine)' if virtual else ''}",
        "memory": f"{mib / 1024:.0f} GiB",
        "kernel": platform.release().split("-")[0],
        "file system of “disk”": kind,
        "C compiler": first_line("cc", "--version"),
        "Go": first_line("go", "env", "GOVERSION"),
        "real plugins": first_line("/usr/lib/cni/bridge"),
    }
