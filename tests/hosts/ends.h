/*
 * Hosts that end in the middle of a set-up.
 */
#ifndef ENDS_H
#define ENDS_H

#include "guest.h"

/* The end in the middle of a set-up. */
static int end_by;

static void *ends(void *unused) {
    slow_runs();
    if (end_by == 0) _exit(0);
    raise(end_by);
    return unused;
}

static void exits(void) {
    pthread_t other;
    no_core();
    make_netns("slow");
    pthread_create(&other, NULL, ends, NULL);
    succeeds("set-up", cni_setup_pod, request("slow", AFTER_NET("slow")), "");
    expect(0, "an end");
}

static void killed(void) {
    end_by = SIGKILL;
}

static void crashes(void) {
    end_by = SIGSEGV;
}

static void terminated(void) {
    end_by = SIGTERM;
}

#endif
