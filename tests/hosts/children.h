/*
 * Hosts with ideas of their own about their children.
 */
#ifndef CHILDREN_H
#define CHILDREN_H

#include "guest.h"

#include <sys/mount.h>
#include <sys/signalfd.h>

static void waits(void) {
    waiting = 0;
}

static void steals(void) {
    waiting = WNOHANG | __WALL;
}

static void defaults(void) {
    handle(SIGCHLD, SIG_DFL, 0);
}

static void ignores(void) {
    handle(SIGCHLD, SIG_IGN, 0);
}

static void no_zombies(void) {
    handle(SIGCHLD, on_child, SA_NOCLDWAIT);
}

/* The host's own children end with this. */
enum { OWN = 7, OWN_CHILDREN = 40 };

static pid_t own_child(void) {
    pid_t child = fork();
    if (child == 0) _exit(OWN);
    expect(child > 0, "a child of its own: %m");
    return child;
}

static void *a_few_pods(void *over_now) {
    pod("pod");
    POD_OF("family");
    __atomic_store_n((int *)over_now, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Has pods and, all the while, children, each of which `ends` sees end. */
static void pods_and_children(void (*ends)(pid_t)) {
    pthread_t other;
    int over_now = 0, count = 0;
    pthread_create(&other, NULL, a_few_pods, &over_now);
    while (!__atomic_load_n(&over_now, __ATOMIC_SEQ_CST) || count < OWN_CHILDREN) {
        ends(own_child());
        ++count;
        nap(2000);
    }
    pthread_join(other, NULL);
    heard_child = 0;
}

static volatile sig_atomic_t reaped, reaped_others;

static void on_child_reap(int signal) {
    int before = errno, status;
    (void)signal;
    while (waitpid(-1, &status, WNOHANG) > 0) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == OWN) {
            ++reaped;
        } else {
            ++reaped_others;
        }
    }
    errno = before;
}

/* Without SA_RESTART: the library's own system calls are interrupted, too. */
static void reaps(void) {
    waits_not();
    handle(SIGCHLD, on_child_reap, 0);
}

static void was_reaped(pid_t child) {
    static int count;
    int attempt;
    ++count;
    for (attempt = 0; attempt < 5000 && reaped < count; ++attempt) nap(1000);
    expect(reaped == count && reaped_others == 0, "child %d of %d: %d reaped, and %d others", (int)child, count,
           (int)reaped, (int)reaped_others);
}

static void reaping(void) {
    pods_and_children(was_reaped);
}

static int signals;

static void reads_signals(void) {
    sigset_t mask;
    waits_not();
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    signals = signalfd(-1, &mask, SFD_CLOEXEC);
    expect(signals >= 0, "a signalfd");
}

/* One child at a time: a signal that is not of this one is of somebody else's. */
static void was_read(pid_t child) {
    struct signalfd_siginfo info;
    expect(read(signals, &info, sizeof info) == sizeof info, "a signal");
    expect((pid_t)info.ssi_pid == child && info.ssi_status == OWN, "SIGCHLD of %d", (int)info.ssi_pid);
    ends_with(child, W_EXITCODE(OWN, 0), "a child of its own");
}

static void reading_signals(void) {
    struct signalfd_siginfo info;
    pods_and_children(was_read);
    fcntl(signals, F_SETFL, O_NONBLOCK);
    expect(read(signals, &info, sizeof info) == -1 && errno == EAGAIN, "no other SIGCHLD");
    fcntl(signals, F_SETFL, 0);
}

/* Orphans below it become its children. */
static void subreaper(void) {
    expect(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "a subreaper");
}

/* So do they, and without a handler no signal ends it. */
static void first(void) {
    pid_t child;
    int status = 0;
    expect(unshare(CLONE_NEWPID) == 0, "a namespace of processes: %m");
    child = fork();
    if (child != 0) {
        expect(waitpid(child, &status, 0) == child, "the first process: %m");
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    expect(getpid() == 1 && mount("proc", "/proc", "proc", 0, NULL) == 0, "its /proc: %m");
}

static void families(void) {
    pod("pod");
    POD_OF("family");
}

/* The one exception: who leaves the plugin's group on purpose lives on, and is the child of whoever wants orphans. */
static void subreaper_waits_not(void) {
    subreaper();
    waits_not();
}

static void adopts(void) {
    int daemon = 0, attempt, status = 0;
    FILE *file;
    POD_OF("daemon");
    for (attempt = 0; attempt < 5000 && daemon == 0; ++attempt) {
        nap(1000);
        file = fopen(in_node("daemon.pid"), "re");
        if (file == NULL) continue;
        if (fscanf(file, "%d\n", &daemon) != 1) daemon = 0;
        fclose(file);
    }
    for (attempt = 0; attempt < 5000 && waitpid(daemon, &status, WNOHANG) != 0; ++attempt) nap(1000);
    expect(daemon > 0 && attempt < 5000, "a daemon, %d, that is the host's child", daemon);
    if (daemon > 0) kill(daemon, SIGKILL);
    ends_with(daemon, W_EXITCODE(0, SIGKILL), "the daemon");
    heard_child = 0;
}

#endif
