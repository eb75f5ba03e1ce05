"""Hosts whose surroundings are odd: umask, directory, environment, rights, memory."""

import os
import resource
import stat

import host
import state
from state import LIBC

import cnirt

NOBODY = 65534
PR_SET_DUMPABLE = 4
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def has_umask_0777(directory):
    its = host.Host(directory)
    os.umask(0o777)
    with its.guest() as plugin, its.attached(plugin, "pod"):
        for name, mode in {"results": 0o700, "results/net-pod-eth0": 0o600}.items():
            assert stat.S_IMODE((its.directory / "cache" / name).stat().st_mode) == mode, name


def has_lost_its_directory(directory):
    its = host.Host(directory)
    gone = its.directory / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with its.guest() as plugin:
        its.pod(plugin)
        with its.attached(plugin, "looking", networks=its.beside("look")):
            assert (its.directory / "cwd").read_text().strip() == os.readlink("/proc/self/cwd")


def is_chrooted(directory):
    """The node is only within."""
    root = host.Path(directory, "root")
    root.mkdir()
    assert LIBC.mount(b"/", bytes(root), None, MS_BIND | MS_REC, None) == 0
    assert LIBC.mount(b"none", os.fsencode(f"{root}{directory}"), b"tmpfs", 0, None) == 0
    os.chroot(root)
    os.chdir("/")
    its = host.Host(directory)
    with its.guest() as plugin:
        its.pod(plugin)


def _become_nobody():
    """Here, as not everybody may read what was loaded before."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # Else its files in /proc are root's.
    host.prctl(PR_SET_DUMPABLE, 1)


def has_no_rights(directory):
    """Neither root nor in a user namespace: a clear error, and nothing is left."""
    _become_nobody()
    its = host.Host(directory)
    with its.guest() as plugin:
        try:
            cnirt.create_netns(its.directory / "pod")
            raise AssertionError("a namespace without rights")
        except cnirt.IoError as error:
            assert "operation not permitted" in str(error).lower(), error
        try:
            plugin.setup_pod(id="pod", netns="/proc/self/ns/net")
            raise AssertionError("a network without rights")
        except cnirt.PluginError as error:
            assert "operation not permitted" in str(error).lower(), error
            assert error.rollback is not None
        plugin.teardown_pod(id="pod", force=True)
    assert not (its.directory / "pod").exists()


def is_rootless(directory):
    """Root in a user namespace only, with nobody's rights outside."""
    _become_rootless()
    its = host.Host(directory)
    with its.guest() as plugin:
        its.pod(plugin)


def may_start_no_process(directory):
    """For now: a clear error, nothing is left, and later the same handle works."""
    _become_rootless()
    its = host.Host(directory)
    normal = resource.getrlimit(resource.RLIMIT_NPROC)
    with its.netns("pod") as netns, its.guest() as plugin:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, normal[1]))
        try:
            host.call(plugin.setup_pod, id="pod", netns=netns)
            raise AssertionError("a set-up without processes")
        except cnirt.IoError as error:
            assert "temporarily unavailable" in str(error), error
        finally:
            resource.setrlimit(resource.RLIMIT_NPROC, normal)
        its.expect_nothing_left()
        its.pod(plugin, "later")


def _become_rootless():
    _become_nobody()
    assert LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) == 0
    for name, text in (("uid_map", f"0 {NOBODY} 1"), ("setgroups", "deny"), ("gid_map", f"0 {NOBODY} 1")):
        host.Path("/proc/self", name).write_text(text)
    assert LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0


def keeps_its_memory(directory):
    """Each plugin has stacks of its own in the host's memory."""
    its = host.Host(directory)
    with its.guest() as plugin:
        for _ in range(3):
            its.pod(plugin)
        before = state.mappings()
        for _ in range(10):
            its.pod(plugin)
        # A few are the interpreter's and the allocator's; these were sixty plugins.
        assert state.mappings() < before + 100, (before, state.mappings())


def changes_its_environment(directory):
    """The library reads it once, when the handle is made, so that nobody meets a setenv on another thread."""
    its = host.Host(directory)
    os.environ["CNIRT_TEST_VALUE"] = "old"
    number = 0

    def change():
        nonlocal number
        number += 1
        for index in range(200):
            os.environ[f"CNIRT_TEST_{index}"] = str(number) * 100
        os.environ["CNIRT_TEST_VALUE"] = "new"
        for index in range(200):
            del os.environ[f"CNIRT_TEST_{index}"]

    with its.guest() as plugin:
        with its.repeating(change):
            its.pod(plugin)
            for _ in range(5):
                with its.attached(plugin, "looking", networks=its.beside("look")):
                    environment = (its.directory / "environment").read_text().splitlines()
                assert [line for line in environment if line.startswith("CNIRT_TEST_VALUE")] == ["CNIRT_TEST_VALUE=old"]
                assert not [line for line in environment if line.startswith("CNIRT_TEST_1")]
        os.environ["CNIRT_TEST_VALUE"] = "old"
