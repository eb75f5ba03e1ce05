/*
 * Hosts with much and with little memory.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "guest.h"

#include <malloc.h>
#include <sys/mman.h>

static void large(void) {
    const size_t size = (size_t)2 << 30;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t at;
    expect(memory != MAP_FAILED, "2 GiB");
    madvise(memory, size, MADV_HUGEPAGE);
    for (at = 0; memory != MAP_FAILED && at < size; at += 4096) memory[at] = 1;
}

/* Its heap has what a call needs. */
static void large_heap(void) {
    enum { HEAP = 64 << 20 };
    mallopt(M_MMAP_THRESHOLD, HEAP + 1);
    mallopt(M_TRIM_THRESHOLD, 2 * HEAP);
    mallopt(M_ARENA_MAX, 1);
    free(malloc(HEAP));
    built_in_loopback();
}

static rlim_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    expect(file != NULL && fscanf(file, "%lu", &pages) == 1, "the size of the address space");
    if (file != NULL) fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void limit_address_space(rlim_t more) {
    struct rlimit limit = {0, RLIM_INFINITY};
    limit.rlim_cur = address_space() + more;
    expect(setrlimit(RLIMIT_AS, &limit) == 0, "a limit: %m");
}

static void unlimit_address_space(void) {
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &none);
}

/* The library keeps nannies' stacks for its next plugins until a handle is freed, whichever. */
static void give_stacks_back(void) {
    cni_runtime *runtime = NULL;
    expect(cni_runtime_new(NULL, NULL, &runtime, NULL) == CNI_OK, "a handle");
    cni_runtime_free(runtime);
}

/* The heap has enough, and the system gives no more: no stack for a nanny, none for a thread. */
static void without_mappings(void) {
    enum { STEP = 16 << 10, STEPS = 2000 };
    int refused = 0, stacks = 0, step;
    cni_rc rc = CNI_E_IO;
    char *before, *out;
    make_netns("pod");
    before = settled_state();
    for (step = 0; step < STEPS && rc != CNI_OK; ++step) {
        give_stacks_back();
        limit_address_space((rlim_t)step * STEP);
        rc = cni_setup_pod(plugin, request("pod", ONLY("deaf")), &out);
        unlimit_address_space();
        if (rc != CNI_OK) {
            ++refused;
            stacks += strstr(words(out), "mmap") != NULL;
            expect(strstr(words(out), "annot allocate memory") != NULL ||
                       strstr(words(out), "emporarily unavailable") != NULL,
                   "with %d KiB more: %s %s", step * STEP / 1024, cni_rc_name(rc), words(out));
        }
        cni_string_free(out);
        succeeds("teardown", cni_teardown_pod, request("pod", ""), "");
        nothing_left("by a set-up without memory");
        same_as(before);
    }
    expect(rc == CNI_OK && stacks > 0, "%d refused, %d of them a stack, %s", refused, stacks, cni_rc_name(rc));
    free(before);
    remove_netns("pod");
}

static void wants_all_output(void) {
    more_options = ", \"maxOutputBytes\": 1073741824";
    built_in_loopback();
}

/* A plugin's output, which the host has allowed, is more than the system gives. */
static void starves(void) {
    no_core();
    make_netns("pod");
    limit_address_space(64 << 20);
    succeeds("set-up", cni_setup_pod, request("pod", ONLY("giant")), "");
    expect(0, "an end");
}

#endif
