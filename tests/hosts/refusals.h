/*
 * Hosts whose system refuses something that no limit makes it refuse at will.
 */
#ifndef REFUSALS_H
#define REFUSALS_H

#include "guest.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static void filter(struct sock_filter *rules, size_t count) {
    struct sock_fprog program = {(unsigned short)count, rules};
    expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
           "a filter: %m");
}

#define LOAD_FIELD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, what)

/* The kernel kills a process that asks for a socket, but for local ones and those of netlink. */
static void without_sockets(void) {
    struct sock_filter rules[] = {
        LOAD_FIELD(nr),
        IF_EQUAL(SYS_socket, 0, 4),
        LOAD_FIELD(args[0]),
        IF_EQUAL(AF_UNIX, 2, 0),
        IF_EQUAL(AF_NETLINK, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    filter(rules, sizeof rules / sizeof *rules);
    built_in_loopback();
}

/* Built-in loopback included, and plugins that are only scripts. */
static void without_network(void) {
    POD_OF("deaf");
    POD_OF("family");
    make_netns("pod");
    succeeds("set-up", cni_setup_pod, request("pod", ONLY("deaf")), "\"network\":\"deaf\"");
    succeeds("check", cni_check_pod, request("pod", ""), "\"checked\":true");
    /* Looks into the namespace. */
    answers("status", cni_pod_status, request("pod", ""), CNI_E_NOT_FOUND, "eth0");
    succeeds("GC", cni_plugin_gc, "{\"validPods\": []}", "\"deleted\":[");
    remove_netns("pod");
}

struct call {
    int number;
    const char *name;
    /* Of the first argument's bits, those that must be there; 0 is any call. */
    unsigned flags;
    /* What a set-up says then. */
    cni_rc rc;
};

/* Without a descriptor for looking. */
static int open_descriptors(void) {
    int fd, count = 0;
    for (fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* A process whose system call always fails so, also in nannies; what it does is this one's to undo. */
static void set_up_where(const struct call *call, int error) {
    struct sock_filter rules[] = {
        LOAD_FIELD(nr),
        IF_EQUAL((unsigned)call->number, 0, 4),
        LOAD_FIELD(args[0]),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call->flags),
        IF_EQUAL(call->flags, 0, 1),
        ANSWER(SECCOMP_RET_ERRNO | (unsigned)error),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    char *out = NULL;
    int before;
    cni_rc rc;
    alarm(30);
    failures = 0;
    open_handle();
    before = open_descriptors();
    filter(rules, sizeof rules / sizeof *rules);
    rc = cni_setup_pod(plugin, request("pod", ONLY("deaf")), &out);
    expect(rc == call->rc && (rc == CNI_OK || strstr(words(out), "too many open files") != NULL),
           "where %s says %s: %s %s", call->name, strerror(error), cni_rc_name(rc), words(out));
    expect(open_descriptors() == before, "where %s says %s: a descriptor is left", call->name, strerror(error));
    expect(waitpid(-1, NULL, WNOHANG | __WALL) == -1, "where %s says %s: a process is left", call->name, strerror(error));
    _exit(failures != 0);
}

static void fills_the_system(void) {
    waits_not();
    built_in_loopback();
}

/* Every call by which a set-up gets a descriptor, in the host, in a nanny or between clone and exec. */
static void full_system(void) {
    static const struct call calls[] = {
        {SYS_openat, "openat", 0, CNI_E_IO},
        {SYS_memfd_create, "memfd_create", 0, CNI_E_IO},
        {SYS_pipe2, "pipe2", 0, CNI_E_IO},
        {SYS_socket, "socket", 0, CNI_E_IO},
        {SYS_socketpair, "socketpair", 0, CNI_E_IO},
        {SYS_clone, "clone", 0, CNI_E_IO},
        {SYS_clone, "a nanny's clone", CLONE_VFORK, CNI_E_IO},
        {SYS_pidfd_open, "pidfd_open", 0, CNI_E_IO},
        /* There is another way. */
        {SYS_pidfd_getfd, "pidfd_getfd", 0, CNI_OK},
        {SYS_dup3, "dup3", 0, CNI_E_IO},
        {SYS_eventfd2, "eventfd2", 0, CNI_E_IO},
    };
    static const int errors[] = {ENFILE, EMFILE};
    size_t call, error;
    make_netns("pod");
    for (call = 0; call < sizeof calls / sizeof *calls; ++call) {
        for (error = 0; error < sizeof errors / sizeof *errors; ++error) {
            pid_t child = fork();
            if (child == 0) set_up_where(&calls[call], errors[error]);
            ends_with(child, 0, calls[call].name);
            succeeds("teardown", cni_teardown_pod, request("pod", ""), "");
            nothing_left(calls[call].name);
        }
    }
    heard_child = 0;
    remove_netns("pod");
}

#endif
