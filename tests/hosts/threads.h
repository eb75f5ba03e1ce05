/*
 * Hosts with threads of their own.
 */
#ifndef THREADS_H
#define THREADS_H

#include "guest.h"

#include <sys/mman.h>
#include <ucontext.h>

enum { THREADS = 16 };

static void *attaches(void *place) {
    static pthread_barrier_t barrier;
    static int made;
    char id[16], *out = NULL;
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&once);
    snprintf(id, sizeof id, "pod%d", made);
    if (made++ == 0) pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_mutex_unlock(&once);
    make_netns(id);
    pthread_barrier_wait(&barrier);
    if (cni_setup_pod(plugin, request(id, ""), &out) == CNI_OK) {
        expect(cni_json_get(out, "/ips/0", place) == CNI_OK, "an address in %s", words(out));
    } else {
        expect(0, "set-up of %s: %s", id, words(out));
    }
    cni_string_free(out);
    pthread_barrier_wait(&barrier);
    succeeds("teardown", cni_teardown_pod, request(id, ""), "\"network\":\"net\"");
    remove_netns(id);
    return NULL;
}

static void crowd(void) {
    pthread_t threads[THREADS];
    char *addresses[THREADS] = {NULL};
    int one, other;
    for (one = 0; one < THREADS; ++one) pthread_create(&threads[one], NULL, attaches, &addresses[one]);
    for (one = 0; one < THREADS; ++one) pthread_join(threads[one], NULL);
    for (one = 0; one < THREADS; ++one) {
        for (other = 0; other < one; ++other) {
            const char *first = words(addresses[one]), *second = words(addresses[other]);
            expect(strcmp(first, second) != 0, "%d and %d have %s", one, other, first);
        }
    }
    for (one = 0; one < THREADS; ++one) cni_string_free(addresses[one]);
}

enum { SMALL = 64 * 1024 };

/* What is nested as deep as a record of it may be needs the most stack. */
static void on_little_stack(void) {
    enum { DEEP = 120 };
    char deep[512];
    char *at = deep + sprintf(deep, ", \"capabilityArgs\": {\"a\": ");
    memset(at, '[', DEEP);
    memset(at + DEEP, ']', DEEP);
    strcpy(at + 2 * DEEP, "}");
    one_pod();
    make_netns("deep");
    succeeds("set-up", cni_setup_pod, request("deep", deep), "10.77.0.");
    succeeds("teardown", cni_teardown_pod, request("deep", ""), "\"network\":\"net\"");
    remove_netns("deep");
}

static void *small_main(void *unused) {
    on_little_stack();
    return unused;
}

static void on_a_small_stack(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, SMALL);
    expect(pthread_create(&thread, &attributes, small_main, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

static void in_a_coroutine(void) {
    static ucontext_t here, there;
    enum { GUARD = 4096 };
    char *guard = mmap(NULL, GUARD + SMALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *stack = guard + GUARD;
    expect(guard != MAP_FAILED && mprotect(guard, GUARD, PROT_NONE) == 0, "a stack");
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = SMALL;
    there.uc_link = &here;
    makecontext(&there, on_little_stack, 0);
    swapcontext(&here, &there);
    munmap(guard, GUARD + SMALL);
}

enum { RUNNING = 64 };

static void *is_cancelled(void *index) {
    char id[16];
    snprintf(id, sizeof id, "pod%d", *(int *)index);
    answers("set-up", cni_setup_pod, request(id, AFTER_NET("hangs")), CNI_E_CANCELLED, "\"rollback\":{\"done\":true");
    return NULL;
}

/* A real network attached, and a plugin that hangs after it, 64 times. */
static void free_during_calls(void) {
    pthread_t threads[RUNNING];
    int indices[RUNNING], index, hanging = 0;
    char name[32];
    for (index = 0; index < RUNNING; ++index) {
        indices[index] = index;
        snprintf(name, sizeof name, "pod%d", index);
        make_netns(name);
        pthread_create(&threads[index], NULL, is_cancelled, &indices[index]);
    }
    while (hanging < RUNNING) {
        nap(10000);
        for (hanging = 0; hanging < RUNNING; ++hanging) {
            snprintf(name, sizeof name, "hangs.pod%d", hanging);
            if (access(in_node(name), F_OK) != 0) break;
        }
    }
    cni_plugin_free(plugin);
    plugin = NULL;
    nothing_left("when the handle is freed");
    for (index = 0; index < RUNNING; ++index) {
        pthread_join(threads[index], NULL);
        snprintf(name, sizeof name, "pod%d", index);
        remove_netns(name);
    }
}

static volatile int over_setting;
enum { VARIABLES = 100 };

static void has_a_variable(void) {
    setenv("CNIRT_TEST_SET", "when the handle was made", 1);
}

/* What no library can forbid its host, whose own code does not read the environment meanwhile. */
static void *sets_variables(void *unused) {
    char name[32];
    int index;
    while (!over_setting) {
        for (index = 0; index < VARIABLES; ++index) {
            snprintf(name, sizeof name, "CNIRT_TEST_SET%d", index);
            setenv(name, "later", 1);
        }
        setenv("CNIRT_TEST_SET", "later", 1);
        for (index = 0; index < VARIABLES; ++index) {
            snprintf(name, sizeof name, "CNIRT_TEST_SET%d", index);
            unsetenv(name);
        }
    }
    return unused;
}

static void during_setenv(void) {
    pthread_t other;
    pthread_create(&other, NULL, sets_variables, NULL);
    pod("pod");
    probe_finds(CLEAN "CNIRT_TEST_SET=when the handle was made\n");
    over_setting = 1;
    pthread_join(other, NULL);
    has_a_variable();
}

#endif
