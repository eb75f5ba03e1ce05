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
    return {
        "processor": f"{os.cpu_count()} × {model}{' (virtual machine)' if virtual else ''}",
        "memory": f"{mib / 1024:.0f} GiB",
        "kernel": platform.release().split("-")[0],
        "file system of “disk”": kind,
    }
