"""Hosts with too few descriptors, with very many, and without the first three."""

import os
import resource
import sys

import host

import cnirt


def has_no_stdio(directory):
    sys.stderr = os.fdopen(os.dup(2), "w")
    for fd in range(3):
        os.close(fd)
    its = host.Host(directory)
    with its.guest() as plugin:
        its.pod(plugin)
        with its.attached(plugin, "looking", networks=its.beside("look")):
            # The last one is the directory's.
            assert (its.directory / "seen").read_text().split()[-4:] == ["0", "1", "2", "3"]


def has_20_000_descriptors(directory):
    its = host.Host(directory)
    limit = 20500
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
    except (ValueError, PermissionError):
        # Not in a user namespace: as many as there may be.
        limit = hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    first = os.open("/dev/null", os.O_RDONLY)
    for _ in range(min(20000, limit - 300)):
        # Not CLOEXEC, as many hosts' are.
        os.set_inheritable(os.dup(first), True)
    assert len(os.listdir("/proc/self/fd")) > 10000, "too few to be very many"
    with its.guest() as plugin:
        its.pod(plugin)
        with its.attached(plugin, "looking", networks=its.beside("look")):
            assert (its.directory / "seen").read_text().split()[-4:] == ["0", "1", "2", "3"]


def runs_out_of_descriptors(directory):
    """One more at a time, until the set-up works."""
    its = host.Host(directory)
    # A plugin, which gets none of these, has enough.
    for _ in range(100):
        os.open("/dev/null", os.O_RDONLY)
    normal = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = succeeded = more = 0
    with its.netns("pod") as netns, its.plugin() as plugin:
        while succeeded < 3:
            assert more < 60, "no number is enough"
            with its.unchanged():
                lowest = os.open("/dev/null", os.O_RDONLY)
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, normal[1]))
                try:
                    plugin.setup_pod(id="pod", netns=netns)
                    succeeded += 1
                except cnirt.IoError as error:
                    refused += 1
                    assert "too many open files" in str(error), (more, error)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, normal)
                host.call(plugin.teardown_pod, id="pod")
            more += 1
    assert refused > 3, refused
