"""What a process can see of itself: everything that a library must leave as it found it.

Not its memory; of that only how many mappings there are.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import signal
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
PR_GET_PDEATHSIG, PR_GET_CHILD_SUBREAPER = 2, 37
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts")
OF_THREAD = ("Name:", "SigBlk:", "Cap", "NoNewPrivs:", "Seccomp:")
OF_PROCESS = ("Umask:", "Uid:", "Gid:", "Groups:", "Threads:", "SigPnd:", "ShdPnd:", "SigIgn:", "SigCgt:", "PPid:")


class Sigaction(ctypes.Structure):
    """The C library's, on 64-bit Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def _link(path):
    try:
        return os.readlink(path)
    except OSError as error:
        return os.strerror(error.errno)


def _lines(path, beginnings):
    text = Path(path).read_text()
    return [line for line in text.splitlines() if line.startswith(beginnings)]


def _descriptors():
    for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
        # The directory's own is closed by now.
        with contextlib.suppress(OSError):
            flags = fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.fcntl(fd, fcntl.F_GETFL)
            yield f"fd {fd} {flags} {_link(f'/proc/self/fd/{fd}')}"


def _threads():
    for task in sorted(map(int, os.listdir("/proc/self/task"))):
        here = f"/proc/self/task/{task}"
        # It may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield from (f"{here} {_link(f'{here}/ns/{kind}')}" for kind in NAMESPACES)
            yield from (f"{here} {line}" for line in _lines(f"{here}/status", OF_THREAD))


def _dispositions():
    for number in sorted(signal.valid_signals()):
        action = Sigaction()
        if LIBC.sigaction(int(number), None, ctypes.byref(action)) == 0:
            # Behind the kernel's mask the C library leaves what happens to lie there.
            yield f"signal {int(number)}: {action.handler} {action.mask[0]:#x} {action.flags:#x}"


def _numbers():
    for name, option in (("subreaper", PR_GET_CHILD_SUBREAPER), ("death", PR_GET_PDEATHSIG)):
        value = ctypes.c_int(-1)
        LIBC.prctl(option, ctypes.byref(value), 0, 0, 0)
        yield f"{name} {value.value}"
    yield f"group {os.getpgrp()}, session {os.getsid(0)}, nice {os.getpriority(os.PRIO_PROCESS, 0)}"


def _variables():
    """The C library's, as os.environ is a copy."""
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(LIBC, "environ")
    return sorted(itertools.takewhile(lambda line: line is not None, environ))


def state():
    """One fact a line."""
    return [
        *_descriptors(),
        *_threads(),
        *_lines("/proc/self/status", OF_PROCESS),
        *_lines("/proc/self/limits", ""),
        *_lines("/proc/self/oom_score_adj", ""),
        f"cwd {_link('/proc/self/cwd')}, root {_link('/proc/self/root')}",
        *_dispositions(),
        *_numbers(),
        *_variables(),
    ]


def threads():
    return len(os.listdir("/proc/self/task"))


def wait_for_threads(most):
    """A thread that was joined is in /proc for a moment longer."""
    while threads() > most:
        time.sleep(0.001)


def _tasks(beginning):
    for task in os.listdir("/proc/self/task"):
        # It may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/self/task/{task}/comm") as file:
            name = file.read().strip()
            if name.startswith(beginning):
                yield f"{task} {name}"


def expect_no_thread(beginning):
    """Of those with such a name: all that are there now go, in three seconds at the latest."""
    end = time.monotonic() + 3
    left = set(_tasks(beginning))
    while left:
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.001)
        left &= set(_tasks(beginning))


def mappings():
    return len(_lines("/proc/self/maps", ""))


def expect_same(before):
    """As soon as what is on its way out is gone."""
    end = time.monotonic() + 10
    while (now := state()) != before:
        gone, new = [line for line in before if line not in now], [line for line in now if line not in before]
        assert time.monotonic() < end, f"the host is another one: {gone} became {new}"
        time.sleep(0.01)
