/*
 * A host that sets up and tears down one pod after another: `host DIRECTORY CALLS`. Each pod has a name of its own.
 * Every so often it prints a line: how many it has done, and what the process has then.
 */
#define _GNU_SOURCE
#include <cnirt.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *directory;

static void check(cni_rc rc, const char *what, const char *out) {
    if (rc == CNI_OK) return;
    fprintf(stderr, "%s: %s %s\n", what, cni_rc_name(rc), out == NULL ? "" : out);
    exit(1);
}

/* The entries of a directory, without ".", ".." and the descriptor that reads it. */
static int entries(const char *path, int others) {
    DIR *open = opendir(path);
    int count = -others;
    while (open != NULL && readdir(open) != NULL) ++count;
    if (open != NULL) closedir(open);
    return count;
}

static int mappings(void) {
    static char chunk[1 << 16];
    FILE *maps = fopen("/proc/self/maps", "re");
    int count = 0, byte;
    if (maps == NULL) return -1;
    setvbuf(maps, chunk, _IOFBF, sizeof chunk);
    while ((byte = getc(maps)) != EOF) count += byte == '\n';
    fclose(maps);
    return count;
}

static long resident_kib(void) {
    long size = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL || fscanf(statm, "%ld %ld", &size, &resident) != 2) exit(2);
    fclose(statm);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
    char options[2048], netns[512], request[1024];
    cni_plugin *plugin = NULL;
    char *out = NULL;
    long calls, call, pause;
    double begun;
    if (count != 3) return 2;
    directory = arguments[1];
    calls = atol(arguments[2]);
    pause = calls / 400 > 10 ? calls / 400 : 10;
    snprintf(netns, sizeof netns, "%s/netns", directory);
    snprintf(options, sizeof options,
             "{\"confDir\": \"%s/conf\", \"cacheDir\": \"%s/cache\", \"binDirs\": [\"%s/bin\"], \"durability\": \"atomic\","
             " \"pluginEnv\": {\"CNIRT_SWEEP_CLAIMS\": \"%s/claims\"}}",
             directory, directory, directory, directory);
    check(cni_plugin_new(options, NULL, &plugin, &out), "a handle", out);
    check(cni_netns_create(netns, &out), "a namespace", out);
    cni_string_free(out);
    puts("calls,resident_kib,descriptors,threads,mappings,seconds");
    begun = seconds();
    for (call = 1; call <= calls; ++call) {
        snprintf(request, sizeof request, "{\"id\": \"pod%ld\", \"netns\": \"%s\"}", call, netns);
        check(cni_setup_pod(plugin, request, &out), "set-up", out);
        cni_string_free(out);
        check(cni_teardown_pod(plugin, request, &out), "teardown", out);
        cni_string_free(out);
        if (call % pause == 0) {
            printf("%ld,%ld,%d,%d,%d,%.3f\n", call, resident_kib(), entries("/proc/self/fd", 3),
                   entries("/proc/self/task", 2), mappings(), seconds() - begun);
            fflush(stdout);
        }
    }
    check(cni_netns_remove(netns, &out), "a namespace removed", out);
    cni_string_free(out);
    cni_plugin_free(plugin);
    return 0;
}
