/*
 * A host that does what it is told: `host DIRECTORY OPTIONS STEP...`, a step being setup, teardown or gc.
 *
 * A step with "@" before it is watched: from before the call on a tracer sees every system call of this process, and
 * the call's end is a close of a descriptor that nobody can have. Each step prints a line, a JSON object. The options
 * and requests are files in the directory.
 */
#define _GNU_SOURCE
#include <cnirt.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

/* Also in trace.rs. */
#define END (-4242)

static const char *directory;

static char *text(const char *name) {
    static char contents[4][16384];
    static unsigned next;
    char path[512], *content = contents[next++ % 4];
    FILE *file;
    size_t length;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "re");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    length = fread(content, 1, sizeof contents[0] - 1, file);
    content[length] = '\0';
    fclose(file);
    return content;
}

/* The entries of a directory, but for the "." and ".." that each has. */
static int entries(const char *path) {
    DIR *open = opendir(path);
    int count = -2;
    while (open != NULL && readdir(open) != NULL) ++count;
    if (open != NULL) closedir(open);
    return count;
}

static int mappings(void) {
    FILE *maps = fopen("/proc/self/maps", "re");
    int count = 0, byte;
    while (maps != NULL && (byte = getc(maps)) != EOF) count += byte == '\n';
    if (maps != NULL) fclose(maps);
    return count;
}

struct held {
    int descriptors, threads, mappings;
};

static struct held held(int threads) {
    struct held now = {entries("/proc/self/fd"), entries("/proc/self/task"), mappings()};
    /* A thread that was joined is there for a moment longer. */
    struct timespec pause = {0, 1000000};
    int attempt;
    for (attempt = 0; attempt < 1000 && now.threads > threads; ++attempt) {
        nanosleep(&pause, NULL);
        now.threads = entries("/proc/self/task");
    }
    return now;
}

int main(int count, char **arguments) {
    cni_plugin *plugin = NULL;
    char *out = NULL, claims[512];
    int index;
    if (count < 3) return 2;
    directory = arguments[1];
    snprintf(claims, sizeof claims, "%s/claims", directory);
    if (cni_plugin_new(text(arguments[2]), NULL, &plugin, &out) != CNI_OK) {
        fprintf(stderr, "a handle: %s\n", out);
        return 2;
    }
    for (index = 3; index < count; ++index) {
        int watched = arguments[index][0] == '@';
        const char *step = arguments[index] + watched, *given = text(strcmp(step, "gc") == 0 ? "gc.json" : "pod.json");
        cni_rc (*call)(cni_plugin *, const char *, char **) = cni_setup_pod;
        struct held before, after;
        cni_rc rc;
        if (strcmp(step, "teardown") == 0) call = cni_teardown_pod;
        if (strcmp(step, "gc") == 0) call = cni_plugin_gc;
        before = held(1);
        if (watched) {
            ptrace(PTRACE_TRACEME, 0, NULL, NULL);
            kill(getpid(), SIGSTOP);
        }
        rc = call(plugin, given, &out);
        if (watched) close(END);
        after = held(1);
        printf("{\"step\":\"%s\",\"rc\":\"%s\",\"out\":%s,\"claims\":%d,\"before\":[%d,%d,%d],\"after\":[%d,%d,%d]}\n", step,
               cni_rc_name(rc), out == NULL ? "null" : out, entries(claims), before.descriptors, before.threads,
               before.mappings, after.descriptors, after.threads, after.mappings);
        fflush(stdout);
        cni_string_free(out);
    }
    cni_plugin_free(plugin);
    return 0;
}
