/*
 * A host that loads the library itself. `copies again DIRECTORY LIBRARY` loads it and lets it go, again and again;
 * `copies two DIRECTORY LIBRARY COPY` has two of them at once. Silence and status 0 mean that all is well.
 */
#define _GNU_SOURCE
#include <cnirt.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stddef.h>

/* What is used of it. */
#define FUNCTIONS(F)                                                                                              \
    F(cni_plugin_new) F(cni_plugin_free) F(cni_setup_pod) F(cni_teardown_pod) F(cni_check_pod) F(cni_pod_status)  \
    F(cni_list_pods) F(cni_netns_create) F(cni_netns_remove) F(cni_json_get) F(cni_string_free) F(cni_rc_name)

#define MEMBER(name) __typeof__(name) *name;
struct library {
    void *handle;
    FUNCTIONS(MEMBER)
};

/* The one that this thread calls. */
static _Thread_local struct library library;

#define cni_plugin_new library.cni_plugin_new
#define cni_plugin_free library.cni_plugin_free
#define cni_setup_pod library.cni_setup_pod
#define cni_teardown_pod library.cni_teardown_pod
#define cni_check_pod library.cni_check_pod
#define cni_pod_status library.cni_pod_status
#define cni_list_pods library.cni_list_pods
#define cni_netns_create library.cni_netns_create
#define cni_netns_remove library.cni_netns_remove
#define cni_json_get library.cni_json_get
#define cni_string_free library.cni_string_free
#define cni_rc_name library.cni_rc_name

/* Only a part is needed here. */
#pragma GCC diagnostic ignored "-Wunused-function"
#define EACH_THREADS _Thread_local
#include "guest.h"

/* A macro's argument is expanded before it is put in its place, save for where it becomes a string. */
#define LOAD(name) *(void **)&name = dlsym(library.handle, #name), complete &= name != NULL;

static void load(const char *path) {
    int complete = 1;
    library.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    expect(library.handle != NULL, "%s: %s", path, library.handle == NULL ? dlerror() : "");
    if (library.handle == NULL) exit(1);
    FUNCTIONS(LOAD)
    expect(complete, "all functions in %s", path);
}

static void unload(void) {
    expect(dlclose(library.handle) == 0, "an unload");
}

/* --- again and again --- */

enum { LOADS = 1000, AT_ONCE = 4, SETTLED = 100, REAL = 100 };

static const char *path_of_it;

static void *load_call_and_let_go(void *number) {
    char *out = NULL;
    cni_plugin *noop = NULL;
    load(path_of_it);
    expect(cni_json_get("{\"a\": [1]}", "/a/0", &out) == CNI_OK && *words(out) == '1', "JSON: %s", words(out));
    cni_string_free(out);
    expect(cni_plugin_new("{\"plugin\": \"noop\"}", NULL, &noop, NULL) == CNI_OK, "a handle");
    expect(cni_setup_pod(noop, "{\"id\": \"pod\"}", NULL) == CNI_OK, "a set-up of nothing");
    cni_plugin_free(noop);
    if (*(int *)number % REAL == 0) {
        open_handle();
        pod("pod");
        cni_plugin_free(plugin);
    }
    unload();
    return NULL;
}

static int lines(const char *path) {
    int count = 0, byte;
    FILE *file = fopen(path, "re");
    while (file != NULL && (byte = fgetc(file)) != EOF) count += byte == '\n';
    if (file != NULL) fclose(file);
    return count;
}

static void again_and_again(char **paths) {
    pthread_t threads[AT_ONCE];
    int numbers[AT_ONCE], count = 0, index, mappings = 0, more;
    size_t heap = 0, grown;
    char *before = NULL;
    path_of_it = paths[0];
    make_files();
    while (count < LOADS) {
        for (index = 0; index < AT_ONCE; ++index) {
            numbers[index] = count++;
            pthread_create(&threads[index], NULL, load_call_and_let_go, &numbers[index]);
        }
        for (index = 0; index < AT_ONCE; ++index) pthread_join(threads[index], NULL);
        if (count == SETTLED) {
            before = settled_state();
            mappings = lines("/proc/self/maps");
            heap = mallinfo2().uordblks;
        }
    }
    load(path_of_it);
    same_as(before);
    unload();
    free(before);
    /* The C library may still get some memory for a thread. */
    grown = mallinfo2().uordblks - heap;
    expect((ptrdiff_t)grown < 16 << 10, "%zu bytes of the heap are lost", grown);
    more = lines("/proc/self/maps") - mappings;
    expect(more <= AT_ONCE, "%d mappings, and %d more", mappings, more);
}

/* --- two at once --- */

enum { PODS = 8 };

static pthread_barrier_t both;

static int pods_in(const char *list) {
    int count = 0;
    while (list != NULL && (list = strstr(list, "\"pod\":")) != NULL) {
        ++count;
        ++list;
    }
    return count;
}

static void *has_pods(void *path) {
    char id[32], *out = NULL;
    int index;
    load(path);
    pthread_barrier_wait(&both);
    open_handle();
    for (index = 0; index < PODS; ++index) {
        snprintf(id, sizeof id, "pod%d-%lx", index, (unsigned long)pthread_self());
        make_netns(id);
        succeeds("set-up", cni_setup_pod, request(id, ""), "10.77.0.");
    }
    pthread_barrier_wait(&both);
    /* Each knows all of them, as the cache is the same. */
    expect(cni_list_pods(plugin, &out) == CNI_OK && pods_in(out) == 2 * PODS, "a list: %s", words(out));
    cni_string_free(out);
    pthread_barrier_wait(&both);
    for (index = 0; index < PODS; ++index) {
        snprintf(id, sizeof id, "pod%d-%lx", index, (unsigned long)pthread_self());
        succeeds("teardown", cni_teardown_pod, request(id, ""), "\"network\":\"net\"");
        remove_netns(id);
    }
    cni_plugin_free(plugin);
    unload();
    return NULL;
}

static void two_at_once(char **paths) {
    pthread_t threads[2];
    char *before;
    int index;
    /* With its first thread the C library makes ready for all. */
    waits_not();
    pthread_create(&threads[0], NULL, waiter, NULL);
    pthread_join(threads[0], NULL);
    before = settled_state();
    make_files();
    pthread_barrier_init(&both, NULL, 2);
    for (index = 0; index < 2; ++index) pthread_create(&threads[index], NULL, has_pods, paths[index]);
    for (index = 0; index < 2; ++index) pthread_join(threads[index], NULL);
    load(paths[0]);
    same_as(before);
    unload();
    free(before);
}

int main(int count, char **arguments) {
    if (count < 4) return 2;
    report = stderr;
    handle(SIGCHLD, on_child, SA_RESTART);
    snprintf(node_dir, sizeof node_dir, "%s", arguments[2]);
    if (strcmp(arguments[1], "again") == 0) again_and_again(arguments + 3);
    if (strcmp(arguments[1], "two") == 0) two_at_once(arguments + 3);
    nothing_left("at the end");
    expect(heard_child == 0, "%d SIGCHLD", (int)heard_child);
    expect(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD, "no child of any kind is left");
    return failures != 0;
}
