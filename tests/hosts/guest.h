/*
 * What all hosts do: they look for children, listen for signals, and compare themselves with how they were.
 */
#ifndef GUEST_H
#define GUEST_H

#include "node.h"
#include "state.h"

#include <sys/wait.h>
#include <time.h>

static volatile sig_atomic_t heard_child, heard_others;
static int direct;
/* How the host looks for children all the while; -1: it does not. */
static int waiting = WNOHANG;
static volatile int waiter_runs, over;

static void on_child(int signal) {
    (void)signal;
    ++heard_child;
}

static void on_other(int signal) {
    (void)signal;
    ++heard_others;
}

static void handle(int signal, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, NULL);
}

static void nap(long microseconds) {
    struct timespec pause = {0, microseconds * 1000};
    nanosleep(&pause, NULL);
}

static void *waiter(void *unused) {
    while (!over && waiting != -1) {
        int status = 0;
        pid_t child = waitpid(-1, &status, waiting);
        if (!direct && !(waiting & __WALL)) {
            expect(child == -1 && errno == ECHILD, "waitpid(-1) found %d with status %#x", (int)child, status);
        }
        waiter_runs = 1;
        nap(50);
    }
    waiter_runs = 1;
    return unused;
}

static void ends_with(pid_t child, int expected, const char *what) {
    int status = -1;
    pid_t ended = waitpid(child, &status, 0);
    expect(ended == child && status == expected, "%s: status %#x", what, (unsigned)status);
}

/* For hosts with children of their own. */
static void waits_not(void) {
    waiting = -1;
}

/* For hosts whose end, or that of whose plugins, is a crash: writing a core takes long. */
static void no_core(void) {
    static const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

/* What was slow to end is collected by the next plugin that starts, and when a handle ends. */
static void collect(void) {
    cni_plugin *another = NULL;
    expect(cni_plugin_new("{}", NULL, &another, NULL) == CNI_OK, "another handle");
    cni_plugin_free(another);
}

/* A thread that was joined is in /proc for a moment longer, and a nanny on a busy machine. */
static void same_as(const char *before) {
    const char *other = NULL;
    int attempt;
    for (attempt = 0; attempt < 2000; ++attempt) {
        if (attempt > 0) collect();
        char *now = state();
        other = difference(before, now);
        free(now);
        if (other == NULL) return;
        nap(10000);
    }
    expect(0, "a host that is as it was: %s", other);
}

/* The files of one of the node's directories whose names begin so. */
static void add_names(struct text *text, const char *directory, const char *begin, const char *what) {
    struct dirent **entries = NULL;
    int count = scandir(in_node(directory), &entries, NULL, NULL);
    for (; count > 0; free(entries[--count])) {
        const char *name = entries[count - 1]->d_name;
        if (name[0] != '.' && strncmp(name, begin, strlen(begin)) == 0) add(text, "%s %s\n", what, name);
    }
    free(entries);
}

/* No address, no interface and no cache entry of a pod that is gone. */
static void nothing_left(const char *where) {
    static const char *const veth[] = {" veth", "veth", NULL};
    struct text left = {NULL, 0, 0};
    add(&left, "%s", "");
    add_lines(&left, "/proc/self/net/dev", veth);
    add_names(&left, "ipam/net", "10.", "address");
    add_names(&left, "cache/results", "", "entry");
    add_names(&left, "cache/cnirt/intents", "", "intent");
    expect(left.length == 0, "left behind %s: %s", where, left.bytes);
    free(left.bytes);
}

/* What the plugin `probe` finds in a clean process. */
#define CLEAN                                                                                           \
    "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n" \
    "0\n1\n2\n3\n"

static void probe_finds(const char *expected) {
    char seen[4096] = "";
    FILE *file;
    POD_OF("probe");
    file = fopen(in_node("seen"), "re");
    if (file != NULL) {
        (void)!fread(seen, 1, sizeof seen - 1, file);
        fclose(file);
    }
    expect(strcmp(seen, expected) == 0, "a plugin that finds %s: %s", expected, seen);
}

/* While the handle lives: a thread that waits for more work would go with it. */
static void no_threads(void) {
    struct text ours = {NULL, 0, 0};
    int attempt;
    for (attempt = 0; attempt < 200; ++attempt) {
        ours.length = 0;
        every_number(&ours, "/proc/self/task", add_our_thread);
        if (ours.length == 0) break;
        nap(10000);
    }
    expect(ours.length == 0, "a call leaves a thread: %s", words(ours.bytes));
    free(ours.bytes);
}

static void one_pod(void) {
    pod("pod");
    no_threads();
    probe_finds(CLEAN);
    no_threads();
}

static void nothing(void) {}

#endif
