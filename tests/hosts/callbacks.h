/*
 * Hosts whose callbacks do what they should not, or take their time.
 */
#ifndef CALLBACKS_H
#define CALLBACKS_H

#include "guest.h"

#define WITHOUT_NETNS "{\"id\": \"pod\"}"

static int asked, data_freed;
/* What the callback for a namespace does. */
static int32_t (*for_a_netns)(cni_reply *);

static int32_t replies(cni_reply *reply, const char *text) {
    return (int32_t)cni_reply_set(reply, text, strlen(text));
}

static int32_t get_netns(void *data, const char *pod, cni_reply *reply) {
    (void)data;
    (void)pod;
    __atomic_add_fetch(&asked, 1, __ATOMIC_SEQ_CST);
    return for_a_netns(reply);
}

static void data_free(void *data) {
    ++*(int *)data;
}

static cni_callbacks table = {.size = sizeof table, .data = &data_freed, .data_free = data_free, .get_netns = get_netns};

static void with_get_netns(void) {
    callbacks = &table;
}

/* --- it fails --- */

static int32_t knows_no_pod(cni_reply *reply) {
    (void)replies(reply, "{\"code\": 4711, \"msg\": \"no such pod\", \"details\": \"here\"}");
    return CNI_E_NOT_FOUND;
}

static int32_t fails_in_words(cni_reply *reply) {
    (void)replies(reply, "the other end is gone");
    return CNI_E_IO;
}

static int32_t says_nothing(cni_reply *reply) {
    (void)reply;
    return 815;
}

static int32_t leads_nowhere(cni_reply *reply) {
    return replies(reply, "/nonexistent/netns");
}

static void failing_callbacks(void) {
    static const struct {
        int32_t (*callback)(cni_reply *);
        cni_rc rc;
        const char *part;
    } rows[] = {
        {knows_no_pod, CNI_E_NOT_FOUND, "no such pod; here"},
        {fails_in_words, CNI_E_IO, "the other end is gone"},
        {says_nothing, CNI_E_IO, "815"},
        {leads_nowhere, CNI_E_NETNS, "/nonexistent/netns"},
    };
    size_t row;
    for (row = 0; row < sizeof rows / sizeof *rows; ++row) {
        for_a_netns = rows[row].callback;
        answers("set-up", cni_setup_pod, WITHOUT_NETNS, rows[row].rc, rows[row].part);
        nothing_left("when a callback fails");
    }
    expect(asked == (int)row, "%d times asked", asked);
    one_pod();
}

/* --- it is slow --- */

static pthread_barrier_t in_callback, other_is_done;

static int32_t takes_its_time(cni_reply *reply) {
    int tenth;
    pthread_barrier_wait(&in_callback);
    pthread_barrier_wait(&other_is_done);
    /* The deadline passes, whatever happened so far. */
    for (tenth = 0; tenth < 21; ++tenth) nap(100000);
    return replies(reply, in_node("pod"));
}

static void *attaches_too_late(void *unused) {
    answers("set-up", cni_setup_pod, "{\"id\": \"pod\", \"timeoutMs\": 2000}", CNI_E_TIMEOUT, "CNI_E_TIMEOUT");
    return unused;
}

static void slow_callback(void) {
    pthread_t thread;
    make_netns("pod");
    for_a_netns = takes_its_time;
    pthread_barrier_init(&in_callback, NULL, 2);
    pthread_barrier_init(&other_is_done, NULL, 2);
    pthread_create(&thread, NULL, attaches_too_late, NULL);
    pthread_barrier_wait(&in_callback);
    /* Nobody waits for it. */
    pod("other");
    pthread_barrier_wait(&other_is_done);
    pthread_join(thread, NULL);
    nothing_left("after a callback that was slow");
    remove_netns("pod");
}

/* --- it calls back --- */

static int called_back;

static void calls_back(void) {
    char *out = NULL;
    cni_op *op = NULL;
    /* Its handle is being made. */
    if (plugin == NULL) return;
    answers("set-up", cni_setup_pod, request("other", ""), CNI_E_INVALID_ARGUMENT, "one of its own callbacks");
    expect(cni_list_pods(plugin, &out) == CNI_E_INVALID_ARGUMENT, "a list in a callback: %s", words(out));
    cni_string_free(out);
    expect(cni_plugin_cancel(plugin, NULL) == CNI_E_INVALID_ARGUMENT, "a cancel in a callback");
    expect(cni_plugin_start(plugin, "list_pods", NULL, &op, NULL) == CNI_E_INVALID_ARGUMENT, "a start in a callback");
    ++called_back;
}

static int32_t calls_and_replies(cni_reply *reply) {
    calls_back();
    return replies(reply, in_node("pod"));
}

static int32_t get_pod_port_mappings(void *data, const char *pod, cni_reply *reply) {
    (void)data;
    (void)pod;
    calls_back();
    return replies(reply, "[]");
}

static int32_t find_plugin(void *data, const char *call, cni_reply *reply) {
    static const char *const directories[] = {"/opt/cni/bin", "/usr/lib/cni"};
    char path[512], *type = NULL;
    size_t index;
    (void)data;
    calls_back();
    expect(cni_json_get(call, "/type", &type) == CNI_OK, "a type in %s", call);
    for (index = 0; index < sizeof directories / sizeof *directories; ++index) {
        snprintf(path, sizeof path, "%s/%s", directories[index], words(type));
        if (access(path, X_OK) == 0) break;
    }
    cni_string_free(type);
    return replies(reply, path);
}

static void log_line(void *data, int32_t level, const char *target, const char *message, const char *fields) {
    char *out = NULL;
    cni_plugin *another = NULL;
    (void)data;
    (void)level;
    (void)target;
    (void)message;
    /* What needs no handle, or another one, is allowed. */
    expect(cni_json_get(fields, "", &out) == CNI_OK, "fields: %s", fields);
    cni_string_free(out);
    expect(cni_plugin_new("{\"plugin\": \"noop\"}", NULL, &another, NULL) == CNI_OK, "another handle");
    expect(cni_list_pods(another, NULL) == CNI_OK, "a list");
    cni_plugin_free(another);
    calls_back();
}

static void with_all_callbacks(void) {
    table.get_pod_port_mappings = get_pod_port_mappings;
    table.find_plugin = find_plugin;
    table.log = log_line;
    callbacks = &table;
}

static void calling_back(void) {
    int before;
    make_netns("pod");
    for_a_netns = calls_and_replies;
    before = called_back;
    succeeds("set-up", cni_setup_pod, WITHOUT_NETNS, "10.77.0.");
    expect(called_back > before + 3, "%d calls back", called_back - before);
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "\"network\":\"net\"");
    remove_netns("pod");
}

/* --- it frees the handle --- */

static int32_t frees(cni_reply *reply) {
    cni_plugin_free(plugin);
    expect(data_freed == 0, "the data is there as long as a call runs");
    return replies(reply, in_node("pod"));
}

static void freeing(void) {
    make_netns("pod");
    for_a_netns = frees;
    answers("set-up", cni_setup_pod, WITHOUT_NETNS, CNI_E_CANCELLED, "\"class\":\"CNI_E_CANCELLED\"");
    plugin = NULL;
    expect(data_freed == 1, "the data was freed %d times", data_freed);
    remove_netns("pod");
}

#endif
