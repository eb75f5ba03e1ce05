/*
 * A host that is odd in one way, and has a pod on real plugins. `host KIND DIRECTORY`; silence and status 0 mean that
 * everything worked, that the host heard no SIGCHLD and found no child, and that it is as it was before.
 *
 * With CNIRT_SPAWN=direct plugins are the host's own children: it may hear and find them while a call runs, the rest
 * holds.
 */
#define _GNU_SOURCE
#include "callbacks.h"
#include "children.h"
#include "descriptors.h"
#include "ends.h"
#include "forks.h"
#include "memory.h"
#include "places.h"
#include "refusals.h"
#include "rights.h"
#include "signals.h"
#include "threads.h"

static const struct kind {
    const char *name;
    void (*prepare)(void);
    void (*run)(void);
} kinds[] = {
    {"plain", nothing, one_pod},
    /* Children. */
    {"waits", waits, one_pod},
    {"steals", steals, one_pod},
    {"defaults", defaults, one_pod},
    {"ignores", ignores, one_pod},
    {"no_zombies", no_zombies, one_pod},
    {"reaps", reaps, reaping},
    {"reads_signals", reads_signals, reading_signals},
    {"subreaper", subreaper, families},
    {"first", first, families},
    {"adopts", subreaper_waits_not, adopts},
    /* Signals. */
    {"masked", masked, behind_a_mask},
    {"sigpipe", nothing, write_to_the_deaf},
    {"interrupted", interrupted, during_signals},
    {"stopped", stopped, during_a_stop},
    /* Descriptors. */
    {"no_stdio", no_stdio, one_pod},
    {"many_descriptors", many_descriptors, one_pod},
    {"few_descriptors", few_descriptors, without_descriptors},
    {"full_system", fills_the_system, full_system},
    /* Memory. */
    {"large", large, one_pod},
    {"little_memory", large_heap, without_mappings},
    /* Places. */
    {"umask", no_umask, modes},
    {"no_cwd", no_cwd, one_pod},
    {"chrooted", chrooted, one_pod},
    /* Rights. */
    {"rootless", rootless, one_pod},
    {"powerless", powerless, without_rights},
    {"few_processes", rootless_without_cores, few_processes},
    {"no_network", without_sockets, without_network},
    /* Forks. */
    {"forking", waits_not, forking},
    {"vforking", waits_not, vforking},
    /* Threads. */
    {"crowd", nothing, crowd},
    {"small_stack", nothing, on_a_small_stack},
    {"coroutine", nothing, in_a_coroutine},
    {"frees", nothing, free_during_calls},
    {"sets_variables", has_a_variable, during_setenv},
    /* Callbacks. */
    {"failing_callbacks", with_get_netns, failing_callbacks},
    {"slow_callback", with_get_netns, slow_callback},
    {"calling_back", with_all_callbacks, calling_back},
    {"freeing", with_get_netns, freeing},
    /* An end in a set-up. */
    {"exits", nothing, exits},
    {"killed", killed, exits},
    {"crashes", crashes, exits},
    {"terminated", terminated, exits},
    {"starves", wants_all_output, starves},
};

int main(int count, char **arguments) {
    const struct kind *kind = kinds, *end = kinds + sizeof kinds / sizeof *kinds;
    const char *way = getenv("CNIRT_SPAWN");
    pthread_t thread;
    char *before;
    if (count != 3) return 2;
    if (strcmp(arguments[1], "count") == 0) return has_descriptors(arguments[2]);
    while (kind < end && strcmp(kind->name, arguments[1]) != 0) ++kind;
    if (kind == end) return 2;
    report = fdopen(fcntl(2, F_DUPFD_CLOEXEC, 100), "w");
    if (report == NULL) return 2;
    direct = way != NULL && strcmp(way, "direct") == 0;
    snprintf(node_dir, sizeof node_dir, "%s", arguments[2]);
    handle(SIGCHLD, on_child, SA_RESTART);

    kind->prepare();
    pthread_create(&thread, NULL, waiter, NULL);
    /* Until then its mask is another one. */
    while (!waiter_runs) nap(50);
    before = settled_state();
    make_node();
    kind->run();
    nothing_left("at the end");
    cni_plugin_free(plugin);
    same_as(before);
    expect(direct || heard_child == 0, "%d SIGCHLD", (int)heard_child);
    expect(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD, "no child of any kind is left");
    over = 1;
    pthread_join(thread, NULL);
    free(before);
    return failures != 0;
}
