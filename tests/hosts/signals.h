/*
 * Hosts that get signals.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "guest.h"

#include <sys/mman.h>

/* A plugin that reads nothing of far more than a pipe holds; it gets a file. */
static void write_to_the_deaf(void) {
    const char *text = large_request("pod", "deaf");
    sigset_t pipe, before, pending;
    make_netns("pod");
    /* The disposition is the default one, which would end this process. */
    succeeds("set-up", cni_setup_pod, text, "\"network\":\"deaf\"");
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "\"network\":\"deaf\"");
    sigpending(&pending);
    expect(!sigismember(&pending, SIGPIPE), "no SIGPIPE waits");
    /* One of the host's own stays. */
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    raise(SIGPIPE);
    succeeds("set-up", cni_setup_pod, text, "\"network\":\"deaf\"");
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "\"network\":\"deaf\"");
    sigpending(&pending);
    expect(sigismember(&pending, SIGPIPE), "the host's own SIGPIPE waits still");
    sigwaitinfo(&pipe, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    remove_netns("pod");
}

/* Everything is blocked, something waits, something is ignored and something handled: a plugin knows nothing of it. */
static void masked(void) {
    sigset_t all;
    handle(SIGUSR1, SIG_IGN, 0);
    handle(SIGHUP, SIG_IGN, 0);
    handle(SIGUSR2, on_other, 0);
    handle(SIGTERM, on_other, SA_RESTART);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    raise(SIGUSR2);
    kill(getpid(), SIGALRM);
}

static void behind_a_mask(void) {
    sigset_t pending;
    one_pod();
    sigpending(&pending);
    expect(sigismember(&pending, SIGUSR2) && sigismember(&pending, SIGALRM), "what waits for the host waits still");
    expect(heard_others == 0, "nothing was handled");
}

static const int terminal[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP};

static void signal_the_group(void) {
    size_t index;
    for (index = 0; index < sizeof terminal / sizeof *terminal; ++index) kill(0, terminal[index]);
}

static void interrupted(void) {
    size_t index;
    setpgid(0, 0);
    /* System calls are not restarted. */
    for (index = 0; index < sizeof terminal / sizeof *terminal; ++index) handle(terminal[index], on_other, 0);
}

static volatile int quiet;

static void *interrupts(void *slow) {
    int round;
    if (slow != NULL) {
        slow_runs();
        for (round = 0; round < 20; ++round) {
            signal_the_group();
            nap(500);
        }
        slow_goes();
    }
    while (slow == NULL && !quiet) {
        signal_the_group();
        nap(50);
    }
    return NULL;
}

static void attach_slowly(void *(*other_does)(void *), void *argument) {
    pthread_t other;
    make_netns("slow");
    pthread_create(&other, NULL, other_does, argument);
    succeeds("set-up", cni_setup_pod, request("slow", AFTER_NET("slow")), "\"network\":\"slow\"");
    pthread_join(other, NULL);
    succeeds("teardown", cni_teardown_pod, request("slow", ""), "\"network\":\"slow\"");
    remove_netns("slow");
}

static void during_signals(void) {
    enum { PODS = 20 };
    pthread_t other;
    int index;
    attach_slowly(interrupts, "");
    /* At any moment, too: between clone and exec a plugin is in the host's group. */
    pthread_create(&other, NULL, interrupts, NULL);
    pod("pod");
    for (index = 0; index < PODS; ++index) POD_OF("family");
    quiet = 1;
    pthread_join(other, NULL);
    expect(heard_others > 60, "the host's handlers ran");
}

/* How often somebody outside found the host stopped, and let it go on. */
static volatile int *resumed;

static void resume_until_it_ends(pid_t host) {
    char line[512];
    FILE *file;
    setsid();
    for (;;) {
        snprintf(line, sizeof line, "/proc/%d/stat", (int)host);
        file = fopen(line, "re");
        if (file == NULL || fgets(line, sizeof line, file) == NULL || strstr(line, ") Z ") != NULL) _exit(0);
        fclose(file);
        if (strstr(line, ") T ") != NULL) {
            ++*resumed;
            kill(host, SIGCONT);
        }
        nap(2000);
    }
}

/* Stopped from a terminal, as its group is. Who resumes it is not its child. */
static void stopped(void) {
    pid_t host = getpid(), child;
    void *shared = mmap(NULL, sizeof *resumed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(shared != MAP_FAILED, "memory to share");
    resumed = shared;
    setpgid(0, 0);
    child = fork();
    if (child == 0) {
        if (fork() == 0) resume_until_it_ends(host);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    heard_child = 0;
}

static void *stops(void *unused) {
    slow_runs();
    kill(0, SIGTSTP);
    /* Only when it was resumed. */
    while (*resumed == 0) nap(1000);
    slow_goes();
    return unused;
}

static void during_a_stop(void) {
    attach_slowly(stops, NULL);
    one_pod();
}

#endif
