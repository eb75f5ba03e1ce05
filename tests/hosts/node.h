/*
 * A node with real plugins in a directory of its own, and what the hosts do with it.
 */
#ifndef NODE_H
#define NODE_H

#include <cnirt.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef EACH_THREADS
#define EACH_THREADS
#endif

/* An absolute path. */
static char node_dir[256];
/* What the handle is made with; lo is the plugin's unless it is built in. */
static const char *more_options = "";
static const char *builtin = "";
static int loopback = 1;
static const cni_callbacks *callbacks;
static EACH_THREADS cni_plugin *plugin;
static int failures;
/* Standard error, also where the host has it closed. */
static FILE *report;

__attribute__((format(printf, 2, 3))) static void expect(int good, const char *format, ...) {
    va_list arguments;
    if (good) return;
    va_start(arguments, format);
    fprintf(report, "not as expected: ");
    vfprintf(report, format, arguments);
    fprintf(report, "\n");
    fflush(report);
    va_end(arguments);
    __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
}

static const char *words(const char *out) {
    return out == NULL ? "(nothing)" : out;
}

/* A path in the node's directory, as long as the thread makes no other eight. */
static const char *in_node(const char *name) {
    static _Thread_local char paths[8][512];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", node_dir, name);
    return path;
}

static void write_file(const char *path, const char *content, mode_t mode) {
    FILE *file = fopen(path, "we");
    expect(file != NULL && fputs(content, file) >= 0 && fclose(file) == 0, "writing %s", path);
    expect(chmod(path, mode) == 0, "the mode of %s", path);
}

/* For hosts in which no program of Go's can run. */
static void built_in_loopback(void) {
    builtin = "\"loopback\"";
}

/* A network of bridge and host-local, and plugins that do as a comment says at ADD, and nothing else. */
static void make_files(void) {
    static const struct {
        const char *name, *add;
    } plugins[] = {
        /* Waits for a word, and has a child. */
        {"slow", "sleep 1000 &\ntrap '' TERM\necho > $D/running\nread line < $D/go\nkill $!\ncat > /dev/null"},
        /* Says that it runs, and does not end. */
        {"hangs", "echo > $D/hangs.$CNI_CONTAINERID\nexec sleep 1000"},
        /* Reads nothing. */
        {"deaf", "exec <&-\nsleep 0.1"},
        /* Leaves a child in its group. */
        {"family", "sleep 1000 < /dev/null > /dev/null 2>&1 &"},
        /* Leaves one elsewhere. */
        {"daemon", "setsid sh -c \"echo \\$\\$ > $D/daemon.pid; exec sleep 1000\" < /dev/null > /dev/null 2>&1 &\n"
                   "until [ -s $D/daemon.pid ]; do sleep 0.01; done"},
        /* Says more than anybody wants to hear. */
        {"giant", "head -c 300000000 /dev/zero"},
        /* Writes down what it finds; its signals before it has children, as the shell blocks all of them then. */
        {"probe", "{ while read -r line; do\n"
                  "case $line in SigPnd*|ShdPnd*|SigBlk*|SigIgn*) echo \"$line\";; esac; done\n"
                  "ls /proc/self/fd; tr '\\0' '\\n' < /proc/$$/environ | grep ^CNIRT_TEST_SET\n"
                  "} < /proc/$$/status > $D/seen 2>&1"},
    };
    char text[4096], path[32];
    size_t index;
    expect(mkfifo(in_node("running"), 0600) == 0 && mkfifo(in_node("go"), 0600) == 0, "the fifos");
    expect(mkdir(in_node("conf"), 0700) == 0 && mkdir(in_node("bin"), 0700) == 0, "directories in %s", node_dir);
    snprintf(text, sizeof text,
             "{\"cniVersion\": \"1.0.0\", \"name\": \"net\", \"plugins\": ["
             "{\"type\": \"bridge\", \"bridge\": \"bridge0\", \"ipam\": {\"type\": \"host-local\", \"dataDir\": \"%s\","
             " \"ranges\": [[{\"subnet\": \"10.77.0.0/24\"}]]}}]}",
             in_node("ipam"));
    write_file(in_node("conf/net.conflist"), text, 0600);
    for (index = 0; index < sizeof plugins / sizeof *plugins; ++index) {
        snprintf(path, sizeof path, "bin/%s", plugins[index].name);
        snprintf(text, sizeof text,
                 "#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\nD=%s\n%s\necho '{\"cniVersion\":\"1.0.0\"}'\n", node_dir,
                 plugins[index].add);
        write_file(in_node(path), text, 0700);
    }
}

static void open_handle(void) {
    char options[2048], *error = NULL;
    snprintf(options, sizeof options,
             "{\"confDir\": \"%s\", \"cacheDir\": \"%s\", \"binDirs\": [\"%s\", \"/opt/cni/bin\", \"/usr/lib/cni\"],"
             " \"builtin\": [%s], \"loopback\": %s, \"timeoutMs\": 60000,"
             " \"pluginEnv\": {\"CNIRT_TEST_MARKER\": \"%s\"}%s}",
             in_node("conf"), in_node("cache"), in_node("bin"), builtin, loopback ? "true" : "false", node_dir,
             more_options);
    expect(cni_plugin_new(options, callbacks, &plugin, &error) == CNI_OK, "a handle: %s", words(error));
    cni_string_free(error);
}

static void make_node(void) {
    make_files();
    open_handle();
}

/* A pod's request; `networks` is JSON to put behind it, or "". */
static const char *request(const char *id, const char *networks) {
    static _Thread_local char text[2048];
    snprintf(text, sizeof text, "{\"id\": \"%s\", \"netns\": \"%s\"%s}", id, in_node(id), networks);
    return text;
}

static void make_netns(const char *id) {
    char *out = NULL;
    expect(cni_netns_create(in_node(id), &out) == CNI_OK, "a namespace: %s", words(out));
    cni_string_free(out);
}

static void remove_netns(const char *id) {
    char *out = NULL;
    expect(cni_netns_remove(in_node(id), &out) == CNI_OK, "a namespace removed: %s", words(out));
    cni_string_free(out);
}

/* A pod's request for one network of this plugin, with far more configuration than a pipe holds. */
static const char *large_request(const char *id, const char *type) {
    static char text[400000];
    char *at = text + sprintf(text,
                              "{\"id\": \"%s\", \"netns\": \"%s\", \"timeoutMs\": 20000, \"networks\": [{\"config\":"
                              " {\"cniVersion\": \"1.0.0\", \"name\": \"%s\", \"type\": \"%s\", \"x\": \"",
                              id, in_node(id), type, type);
    memset(at, 'x', 300000);
    strcpy(at + 300000, "\"}}]}");
    return text;
}

typedef cni_rc operation(cni_plugin *, const char *, char **);

static void answers(const char *what, operation *call, const char *request, cni_rc expected, const char *part) {
    char *out = NULL;
    cni_rc rc = call(plugin, request, &out);
    expect(rc == expected && strstr(words(out), part) != NULL, "%s of %.200s: %s %s", what, request, cni_rc_name(rc),
           words(out));
    cni_string_free(out);
}

static void succeeds(const char *what, operation *call, const char *request, const char *part) {
    answers(what, call, request, CNI_OK, part);
}

/* A pod's whole life. */
static void pod(const char *id) {
    make_netns(id);
    succeeds("set-up", cni_setup_pod, request(id, ""), "\"ips\":[\"10.77.0.");
    succeeds("check", cni_check_pod, request(id, ""), "\"checked\":true");
    succeeds("status", cni_pod_status, request(id, ""), "\"source\":\"netlink\"");
    succeeds("teardown", cni_teardown_pod, request(id, ""), "\"network\":\"net\"");
    remove_netns(id);
}

/* Waits until the slow plugin runs. */
static void slow_runs(void) {
    char byte;
    FILE *running = fopen(in_node("running"), "re");
    expect(running != NULL && fread(&byte, 1, 1, running) == 1, "the slow plugin runs");
    if (running != NULL) fclose(running);
}

/* Lets the slow plugin end. */
static void slow_goes(void) {
    FILE *go = fopen(in_node("go"), "we");
    expect(go != NULL && fputs("\n", go) >= 0 && fclose(go) == 0, "the slow plugin goes on");
}

#define NETWORK(type) "{\"config\": {\"cniVersion\": \"1.0.0\", \"name\": \"" type "\", \"type\": \"" type "\"}}"
/* For `request`: this plugin's network alone, or after the one that is real. */
#define ONLY(type) ", \"networks\": [" NETWORK(type) "]"
#define AFTER_NET(type) ", \"networks\": [{\"name\": \"net\"}, " NETWORK(type) "]"

/* Attaches a pod to a network of this plugin alone, and detaches it. */
static void pod_of(const char *id, const char *type, const char *networks) {
    make_netns(id);
    succeeds("set-up", cni_setup_pod, request(id, networks), type);
    succeeds("teardown", cni_teardown_pod, request(id, ""), type);
    remove_netns(id);
}

#define POD_OF(type) pod_of(type, "\"network\":\"" type "\"", ONLY(type))

#endif
