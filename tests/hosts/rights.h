/*
 * Hosts that may do little.
 */
#ifndef RIGHTS_H
#define RIGHTS_H

#include "guest.h"

#include <linux/capability.h>
#include <grp.h>
#include <sched.h>
#include <sys/syscall.h>

enum { NOBODY = 65534 };

/* Whether user 0 is the machine's. */
static int is_root(void) {
    unsigned inside = 1, outside = 1, count = 0;
    FILE *map = fopen("/proc/self/uid_map", "re");
    int read = map == NULL ? 0 : fscanf(map, "%u %u %u", &inside, &outside, &count);
    if (map != NULL) fclose(map);
    return read == 3 && geteuid() == 0 && count == 4294967295U;
}

static void become_nobody(void) {
    if (!is_root()) return;
    expect(chown(node_dir, NOBODY, NOBODY) == 0, "%s: %m", node_dir);
    expect(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0,
           "nobody: %m");
    /* As a program that was started so. */
    prctl(PR_SET_DUMPABLE, 1);
}

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    expect(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s in %s: %m", text, path);
    close(fd);
}

/* Root in a user namespace, and nobody outside: what an unprivileged user can make of itself. */
static void rootless(void) {
    char map[64];
    if (!is_root()) return;
    become_nobody();
    expect(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0, "a user namespace: %m");
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %d 1", NOBODY);
    put("/proc/self/uid_map", map);
    put("/proc/self/gid_map", map);
    expect(geteuid() == 0 && !is_root(), "root in a user namespace");
}

/* No capability, nor a way to any. */
static void powerless(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2];
    int capability;
    loopback = 0;
    /* What a namespace needs is done by somebody else. */
    make_netns("pod");
    for (capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) prctl(PR_CAPBSET_DROP, capability);
    become_nobody();
    memset(none, 0, sizeof none);
    expect(syscall(SYS_capset, &header, none) == 0, "no capability: %m");
    prctl(PR_SET_DUMPABLE, 1);
}

static void without_rights(void) {
    answers("set-up", cni_setup_pod, request("pod", ""), CNI_E_PLUGIN, "peration not permitted");
    /* Nothing can be undone either, but then there is nothing to undo. */
    succeeds("teardown", cni_teardown_pod, request("pod", ", \"force\": true"), "\"errors\":[");
    nothing_left("by a set-up without rights");
    /* What needs none works. */
    succeeds("set-up", cni_setup_pod, request("pod", ONLY("deaf")), "\"network\":\"deaf\"");
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "\"network\":\"deaf\"");
}

/* --- processes --- */

/* Programs of Go's abort without threads. */
static void rootless_without_cores(void) {
    rootless();
    no_core();
}

/* A set-up that may have this many more processes, threads included. */
static cni_rc with_processes(int more, int now, char **out) {
    struct rlimit normal, low;
    cni_rc rc;
    getrlimit(RLIMIT_NPROC, &normal);
    low = normal;
    low.rlim_cur = (rlim_t)(now + more);
    setrlimit(RLIMIT_NPROC, &low);
    rc = cni_setup_pod(plugin, request("pod", ""), out);
    setrlimit(RLIMIT_NPROC, &normal);
    return rc;
}

/* The user's processes here: this one's threads, as the user namespace is this one's. */
static void few_processes(void) {
    int refused = 0, failed = 0, succeeded = 0, more;
    char *out;
    make_netns("pod");
    for (more = 0; more < 60 && succeeded < 3; ++more) {
        cni_rc rc = with_processes(more, 2, &out);
        if (rc == CNI_E_IO) {
            ++refused;
            expect(strstr(words(out), "temporarily unavailable") != NULL, "with %d more: %s", more, words(out));
            nothing_left("by a set-up without processes");
        } else if (rc == CNI_E_PLUGIN) {
            /* The plugin had too few: also, perhaps, for its DEL. */
            ++failed;
        } else {
            ++succeeded;
            expect(rc == CNI_OK, "with %d more: %s", more, words(out));
        }
        cni_string_free(out);
        succeeds("teardown", cni_teardown_pod, request("pod", ""), "");
        nothing_left("by a teardown");
    }
    expect(refused > 0 && failed > 0 && succeeded == 3, "%d refused, %d failed, %d done", refused, failed, succeeded);
    remove_netns("pod");
}

#endif
