/*
 * Hosts with no, many and too few descriptors.
 */
#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#include "guest.h"

static void no_stdio(void) {
    close(0);
    close(1);
    close(2);
}

/* Not CLOEXEC, as many hosts' are. */
static void many_descriptors(void) {
    enum { MANY = 20000, LEAST = 10000, OURS = 100 };
    struct rlimit limit, more = {MANY + OURS, MANY + OURS};
    int index, count;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max > more.rlim_max) more.rlim_max = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &more) != 0) {
        more.rlim_cur = more.rlim_max = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &more);
    }
    count = (int)more.rlim_cur - OURS;
    expect(count >= LEAST, "a limit of %d descriptors", count);
    for (index = 0; index < count; ++index) expect(open("/dev/null", O_RDONLY) >= 0, "descriptor %d: %m", index);
}

static void few_descriptors(void) {
    int index;
    /* So that a plugin, which gets none of these, has enough. */
    for (index = 0; index < 100; ++index) (void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* A call when this many descriptors can be opened. */
static cni_rc with_descriptors(int more, operation *call, const char *request, char **out) {
    struct rlimit normal, low;
    cni_rc rc;
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &normal);
    low = normal;
    low.rlim_cur = (rlim_t)(lowest + more);
    setrlimit(RLIMIT_NOFILE, &low);
    rc = call(plugin, request, out);
    setrlimit(RLIMIT_NOFILE, &normal);
    if (rc != CNI_OK) {
        expect(rc == CNI_E_IO, "with %d more: %s", more, cni_rc_name(rc));
        expect(strstr(words(*out), "too many open files") != NULL, "with %d more: %s", more, words(*out));
    }
    return rc;
}

static cni_rc lists(cni_plugin *plugin, const char *unused, char **out) {
    (void)unused;
    return cni_list_pods(plugin, out);
}

static cni_rc is_asked(cni_plugin *plugin, const char *unused, char **out) {
    (void)unused;
    return cni_plugin_status(plugin, out);
}

static cni_rc collects(cni_plugin *plugin, const char *unused, char **out) {
    (void)unused;
    return cni_plugin_gc(plugin, "{\"validPods\": [{\"id\": \"pod\"}]}", out);
}

static cni_rc in_the_background(cni_plugin *plugin, const char *request, char **out) {
    cni_op *op = NULL;
    cni_rc rc = cni_plugin_start(plugin, "check_pod", request, &op, out);
    return rc == CNI_OK ? cni_op_finish(op, out) : rc;
}

static cni_rc makes_another(cni_plugin *unused, const char *request, char **out) {
    cni_plugin *another = NULL;
    cni_rc rc = cni_plugin_new("{}", NULL, &another, out);
    (void)unused;
    (void)request;
    cni_plugin_free(another);
    return rc;
}

/* Every other call says so, or finds what is there. */
static void others_without_descriptors(const char *before) {
    static const struct {
        operation *call;
        const char *name, *part;
    } calls[] = {
        {cni_check_pod, "check", "\"checked\":true"},
        {cni_pod_status, "status", "10.77.0."},
        {lists, "list", "\"pod\""},
        {is_asked, "the plugin's status", "\"ready\":"},
        {collects, "GC", "\"deleted\":[]"},
        {makes_another, "another handle", ""},
        {in_the_background, "a check in the background", "\"checked\":true"},
    };
    size_t index;
    int more;
    char *out;
    for (index = 0; index < sizeof calls / sizeof *calls; ++index) {
        for (more = 0; more < 40; ++more) {
            cni_rc rc = with_descriptors(more, calls[index].call, request("pod", ""), &out);
            expect(rc != CNI_OK || strstr(out == NULL ? "" : out, calls[index].part) != NULL, "%s with %d more: %s",
                   calls[index].name, more, words(out));
            cni_string_free(out);
            if (rc == CNI_OK) break;
        }
        expect(more < 40, "%s, at last", calls[index].name);
        /* A thread of the background waits for more to do. */
        if (calls[index].call != in_the_background) same_as(before);
    }
}

static void without_descriptors(void) {
    int refused = 0, succeeded = 0, more;
    char *before, *out;
    make_netns("pod");
    before = settled_state();
    for (more = 0; more < 40; ++more) {
        if (with_descriptors(more, cni_setup_pod, request("pod", ""), &out) == CNI_OK) {
            ++succeeded;
        } else {
            ++refused;
        }
        cni_string_free(out);
        succeeds("teardown", cni_teardown_pod, request("pod", ""), "");
        nothing_left("by a set-up without descriptors");
        same_as(before);
        if (succeeded == 3) break;
    }
    expect(refused > 3 && succeeded == 3, "%d refused, %d succeeded", refused, succeeded);
    /* A teardown that finds nothing to do because it can open nothing would be a leak. */
    succeeds("set-up", cni_setup_pod, large_request("pod", "deaf"), "\"network\":\"deaf\"");
    for (more = 0; more < 40; ++more) {
        cni_rc rc = with_descriptors(more, cni_teardown_pod, request("pod", ""), &out);
        expect(rc != CNI_OK || strstr(out, "\"network\":\"deaf\"") != NULL, "with %d more: %s", more, words(out));
        cni_string_free(out);
        if (rc == CNI_OK) break;
    }
    nothing_left("by a teardown without descriptors");
    same_as(before);
    succeeds("set-up", cni_setup_pod, request("pod", ""), "10.77.0.");
    others_without_descriptors(before);
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "eth0");
    free(before);
    remove_netns("pod");
}

#endif
