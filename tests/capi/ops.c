/*
 * Calls in the background as an event loop uses them: one thread of the host's, plugins in callbacks that take a while.
 * The first argument names a check, the second is a directory with a configuration; silence and status 0 mean well.
 */
#define _GNU_SOURCE
#include <cnirt.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PODS 200
#define THREADS 8

static cni_plugin *plugin;
static const char *directory;
static int failures;
static int freed;

/* The threads that are not the library's: the main one, and the sanitizer's, which comes with the first other one. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
static const int others = __has_feature(thread_sanitizer) ? 2 : 1;

/* Plugins go on while the gate is shut; being callbacks, they are not stopped by a cancel, and their result counts. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int shut, in_plugins;
/* What a callback of the running set-up does, once. */
static void (*in_callback)(void);

static void expect(const char *what, int good) {
    if (!good) {
        fprintf(stderr, "not as expected: %s\n", what);
        ++failures;
    }
}

static void set_gate(int to) {
    pthread_mutex_lock(&lock);
    shut = to;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void await_in_plugins(int count) {
    pthread_mutex_lock(&lock);
    while (in_plugins < count) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static int32_t find_plugin(void *data, const char *call, cni_reply *reply) {
    (void)data;
    (void)call;
    return (int32_t)cni_reply_set(reply, "/fake", 5);
}

static int32_t exec_plugin(void *data, const char *call, cni_reply *reply) {
    static const char version[] = "{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}";
    static const char result[] = "{\"cniVersion\":\"1.0.0\"}";
    (void)data;
    if (strstr(call, "CNI_COMMAND=VERSION") != NULL) {
        return (int32_t)cni_reply_set(reply, version, sizeof version - 1);
    }
    if (strstr(call, "CNI_COMMAND=ADD") != NULL) {
        pthread_mutex_lock(&lock);
        ++in_plugins;
        pthread_cond_broadcast(&changed);
        while (shut) pthread_cond_wait(&changed, &lock);
        --in_plugins;
        pthread_mutex_unlock(&lock);
        if (in_callback != NULL) {
            void (*once)(void) = in_callback;
            in_callback = NULL;
            once();
        }
    }
    return (int32_t)cni_reply_set(reply, result, sizeof result - 1);
}

static void data_free(void *data) {
    ++*(int *)data;
}

static void make(void) {
    cni_callbacks callbacks = {sizeof callbacks, &freed, data_free, NULL, NULL, find_plugin, exec_plugin, NULL};
    char options[1024];
    snprintf(options, sizeof options,
             "{\"confDir\":\"%s\",\"cacheDir\":\"%s/cache\",\"binDirs\":[],\"loopback\":false,\"durability\":\"atomic\","
             "\"env\":{},\"opThreads\":%d}",
             directory, directory, THREADS);
    expect("a handle", cni_plugin_new(options, &callbacks, &plugin, NULL) == CNI_OK);
}

static cni_op *start_with(const char *operation, const char *request) {
    char *error = NULL;
    cni_op *op = NULL;
    if (cni_plugin_start(plugin, operation, request, &op, &error) != CNI_OK) {
        fprintf(stderr, "starting %s: %s\n", operation, error);
        exit(1);
    }
    return op;
}

static cni_op *start(const char *operation, int pod, int timeout) {
    char request[256];
    snprintf(request, sizeof request, "{\"id\":\"pod%d\",\"netns\":\"/proc/self/ns/net\",\"timeoutMs\":%d}", pod, timeout);
    return start_with(operation, request);
}

static int entries(const char *path) {
    DIR *listing = opendir(path);
    int count = 0;
    while (readdir(listing) != NULL) ++count;
    closedir(listing);
    return count - 2;
}

static int readable(cni_op *op) {
    struct pollfd one = {cni_op_fd(op), POLLIN, 0};
    return poll(&one, 1, 0) == 1;
}

static void finished(const char *what, cni_op *op, cni_rc expected) {
    char *out = NULL;
    cni_rc rc = cni_op_finish(op, &out);
    if (rc != expected || out == NULL) {
        fprintf(stderr, "%s: %s %s\n", what, cni_rc_name(rc), out == NULL ? "" : out);
        ++failures;
    }
    cni_string_free(out);
}

/* A thread that was joined is there for a moment longer. */
static int no_thread_is_left(void) {
    struct timespec moment = {0, 1000000};
    int attempt;
    for (attempt = 0; attempt < 10000 && entries("/proc/self/task") != others; ++attempt) nanosleep(&moment, NULL);
    return entries("/proc/self/task") == others;
}

/* All of them at once on every pod, then the teardown of each as soon as its set-up is done, in one loop. */
static void an_event_loop(void) {
    int epoll = epoll_create1(EPOLL_CLOEXEC), descriptors = entries("/proc/self/fd");
    int pod, done = 0, most = 0;
    static struct {
        cni_op *op;
        int number, stage;
    } ops[PODS];
    set_gate(1);
    for (pod = 0; pod < PODS; ++pod) {
        struct epoll_event event = {EPOLLIN, {.ptr = &ops[pod]}};
        ops[pod].op = start("setup_pod", ops[pod].number = pod, 0);
        expect("not done yet", cni_op_wait(ops[pod].op, 0) == CNI_E_TIMEOUT);
        expect("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, cni_op_fd(ops[pod].op), &event) == 0);
    }
    await_in_plugins(THREADS);
    expect("as many threads as the option says", entries("/proc/self/task") == others + THREADS);
    set_gate(0);
    while (done < PODS) {
        struct epoll_event events[16];
        int index, count = epoll_wait(epoll, events, 16, 60000);
        if (count <= 0) {
            expect("an event", 0);
            exit(1);
        }
        for (index = 0; index < count; ++index) {
            struct epoll_event event = {EPOLLIN, {.ptr = events[index].data.ptr}};
            __typeof__(&ops[0]) one = events[index].data.ptr;
            expect("readable is done", cni_op_wait(one->op, 0) == CNI_OK);
            finished("a call", one->op, CNI_OK);
            if (one->stage++ == 1) {
                ++done;
                continue;
            }
            one->op = start("teardown_pod", one->number, 0);
            expect("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, cni_op_fd(one->op), &event) == 0);
        }
        if (entries("/proc/self/task") > most) most = entries("/proc/self/task");
    }
    expect("no more threads than that", most <= others + THREADS);
    expect("no descriptor is left", entries("/proc/self/fd") == descriptors);
    cni_plugin_free(plugin);
    expect("no thread is left", no_thread_is_left());
    close(epoll);
}

static void *free_it(void *unused) {
    (void)unused;
    cni_plugin_free(plugin);
    return NULL;
}

/* Running, queued and parked ones when their handle is freed. */
static void a_free_while_calls_wait(void) {
    cni_op *running[THREADS], *queued, *parked;
    pthread_t thread;
    int pod;
    set_gate(1);
    for (pod = 0; pod < THREADS; ++pod) running[pod] = start("setup_pod", pod, 0);
    await_in_plugins(THREADS);
    queued = start("setup_pod", THREADS, 0);
    parked = start("teardown_pod", 0, 0);
    pthread_create(&thread, NULL, free_it, NULL);
    expect("a queued one ends", cni_op_wait(queued, -1) == CNI_OK);
    expect("a parked one ends", cni_op_wait(parked, -1) == CNI_OK);
    expect("a running one is waited for", cni_op_wait(running[0], 0) == CNI_E_TIMEOUT && freed == 0);
    set_gate(0);
    pthread_join(thread, NULL);
    expect("the data is freed", freed == 1);
    expect("no thread is left", no_thread_is_left());
    finished("a queued one", queued, CNI_E_CANCELLED);
    finished("a parked one", parked, CNI_E_CANCELLED);
    for (pod = 0; pod < THREADS; ++pod) {
        expect("a running one has ended", cni_op_wait(running[pod], 0) == CNI_OK && readable(running[pod]));
        finished("a running one", running[pod], CNI_OK);
    }
}

/* What waits for its pod or a thread ends at its deadline and when it is cancelled, whatever the rest does. */
static void waiting_ends(void) {
    cni_op *running[THREADS], *queued, *parked, *late;
    struct pollfd one = {0, POLLIN, 0};
    int pod;
    set_gate(1);
    for (pod = 0; pod < THREADS; ++pod) running[pod] = start("setup_pod", pod, 0);
    await_in_plugins(THREADS);
    queued = start("setup_pod", THREADS, 0);
    parked = start("setup_pod", 0, 0);
    late = start("setup_pod", 0, 10);
    one.fd = cni_op_fd(late);
    expect("the deadline is an event", poll(&one, 1, 60000) == 1);
    finished("one whose deadline passed", late, CNI_E_TIMEOUT);
    expect("others wait on", !readable(queued) && !readable(parked));
    expect("a cancel", cni_op_cancel(queued) == CNI_OK);
    expect("it is done at once", readable(queued));
    finished("a cancelled one", queued, CNI_E_CANCELLED);
    expect("a cancel by the pod's id", cni_plugin_cancel(plugin, "pod0") == CNI_OK);
    finished("one that waited for the pod", parked, CNI_E_CANCELLED);
    set_gate(0);
    for (pod = 0; pod < THREADS; ++pod) finished("a running one", running[pod], CNI_OK);
    cni_plugin_free(plugin);
}

/* What runs ends after the plugin that it is in, and is undone; what is done stays. */
static void cancelling(void) {
    static const char two[] = "{\"id\":\"pod0\",\"netns\":\"/proc/self/ns/net\",\"networks\":[{\"name\":\"net\"},"
                              "{\"config\":{\"cniVersion\":\"1.0.0\",\"name\":\"more\",\"type\":\"fake\"}}]}";
    char *out = NULL, *done = NULL;
    cni_op *op;
    set_gate(1);
    op = start_with("setup_pod", two);
    await_in_plugins(1);
    expect("a cancel", cni_op_cancel(op) == CNI_OK && cni_op_cancel(op) == CNI_OK);
    expect("it goes on", !readable(op));
    set_gate(0);
    expect("it is cancelled", cni_op_finish(op, &out) == CNI_E_CANCELLED);
    expect("and undone", cni_json_get(out, "/rollback/done", &done) == CNI_OK && strcmp(done, "true") == 0);
    cni_string_free(done);
    cni_string_free(out);
    expect("nothing is left", cni_list_pods(plugin, &out) == CNI_OK && strcmp(out, "[]") == 0);
    cni_string_free(out);
    op = start_with("setup_pod", two);
    expect("the next one is done", cni_op_wait(op, -1) == CNI_OK);
    expect("a late cancel", cni_op_cancel(op) == CNI_OK);
    finished("one that was done", op, CNI_OK);
    cni_plugin_free(plugin);
}

static void in_a_forked_child(void) {
    cni_op *running, *done;
    int status = -1;
    pid_t child;
    set_gate(1);
    done = start("pod_status", 99, 0);
    expect("one that is done", cni_op_wait(done, -1) == CNI_OK);
    running = start("setup_pod", 0, 0);
    await_in_plugins(1);
    child = fork();
    if (child == 0) {
        char *out = NULL;
        cni_op *op = NULL;
        alarm(20);
        expect("a start", cni_plugin_start(plugin, "list_pods", NULL, &op, NULL) == CNI_E_FORKED && op == NULL);
        expect("a descriptor", cni_op_fd(running) == -1);
        expect("a wait", cni_op_wait(running, -1) == CNI_E_FORKED);
        expect("a cancel", cni_op_cancel(running) == CNI_E_FORKED);
        expect("a finish", cni_op_finish(running, &out) == CNI_E_FORKED && strstr(out, "CNI_E_FORKED") != NULL);
        cni_string_free(out);
        expect("one of what is done", cni_op_finish(done, NULL) == CNI_E_FORKED);
        cni_plugin_free(plugin);
        _exit(failures);
    }
    waitpid(child, &status, 0);
    expect("the child's end", status == 0);
    set_gate(0);
    finished("the parent's", running, CNI_OK);
    finished("and what was done", done, CNI_OK);
    cni_plugin_free(plugin);
}

static cni_op *of_the_callback;

static void use_it_in_a_callback(void) {
    char *out = NULL;
    cni_op *op = NULL;
    expect("a start", cni_plugin_start(plugin, "list_pods", NULL, &op, NULL) == CNI_E_INVALID_ARGUMENT && op == NULL);
    expect("a wait", cni_op_wait(of_the_callback, -1) == CNI_E_INVALID_ARGUMENT);
    expect("a cancel", cni_op_cancel(of_the_callback) == CNI_E_INVALID_ARGUMENT);
    expect("a finish", cni_op_finish(of_the_callback, &out) == CNI_E_INVALID_ARGUMENT && strstr(out, "\"op: ") != NULL);
    cni_string_free(out);
    cni_plugin_free(plugin);
}

/* The last call of a handle that its own callback frees runs on one of its threads, which ends it and then itself. */
static void in_a_callback(void) {
    struct timespec moment = {0, 1000000};
    set_gate(1);
    in_callback = use_it_in_a_callback;
    of_the_callback = start("setup_pod", 0, 0);
    await_in_plugins(1);
    set_gate(0);
    finished("a call whose callback freed its handle", of_the_callback, CNI_OK);
    /* It is detached, so there is nothing to wait for but its end. */
    while (entries("/proc/self/task") > others || freed == 0) nanosleep(&moment, NULL);
    expect("the data is freed once", freed == 1);
}

static void *small_main(void *unused) {
    cni_op *parked;
    (void)unused;
    of_the_callback = start("setup_pod", 0, 0);
    await_in_plugins(1);
    parked = start("setup_pod", 0, 0);
    expect("a look", cni_op_wait(parked, 0) == CNI_E_TIMEOUT);
    expect("a cancel", cni_op_cancel(parked) == CNI_OK);
    finished("a cancelled one", parked, CNI_E_CANCELLED);
    parked = start("teardown_pod", 0, 0);
    set_gate(0);
    finished("one that ran", of_the_callback, CNI_OK);
    finished("one that ran then", parked, CNI_OK);
    return NULL;
}

static void on_a_small_stack(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    set_gate(1);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    expect("pthread_create", pthread_create(&thread, &attributes, small_main, NULL) == 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    cni_plugin_free(plugin);
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {
        {"loop", an_event_loop},  {"free", a_free_while_calls_wait}, {"waiting", waiting_ends},
        {"cancel", cancelling},   {"fork", in_a_forked_child},       {"callback", in_a_callback},
        {"stack", on_a_small_stack},
    };
    size_t check;
    if (count != 3) return 2;
    directory = arguments[2];
    make();
    for (check = 0; check < sizeof all / sizeof *all; ++check) {
        if (strcmp(all[check].name, arguments[1]) == 0) all[check].run();
    }
    return failures;
}
