/*
 * A CNI plugin that records: ADD claims a file, as host-local reserves an address, and a second ADD of the same fails;
 * DEL gives it back, and is content where there is none; GC gives back all that no valid attachment has. It is as many
 * plugins as it has names.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char input[1 << 16];

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static int fails(int code, const char *what) {
    printf("{\"cniVersion\":\"1.1.0\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}\n", code, what, strerror(errno));
    return 1;
}

/* A claim is <plugin>-<container>-<interface>; none of the names here has a dash. */
static int collect(int claims, const char *plugin) {
    DIR *directory = fdopendir(dup(claims));
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char container[64], interface[64], valid[256];
        size_t length = strlen(plugin);
        if (strncmp(entry->d_name, plugin, length) != 0 || entry->d_name[length] != '-') continue;
        if (sscanf(entry->d_name + length, "-%63[^-]-%63s", container, interface) != 2) continue;
        snprintf(valid, sizeof valid, "{\"containerID\":\"%s\",\"ifname\":\"%s\"}", container, interface);
        if (strstr(input, valid) == NULL && unlinkat(claims, entry->d_name, 0) != 0) return fails(102, "unlink");
    }
    return directory == NULL ? fails(103, "claims") : 0;
}

int main(int count, char **arguments) {
    const char *command = variable("CNI_COMMAND"), *interface = variable("CNI_IFNAME");
    const char *plugin = count > 0 ? basename(arguments[0]) : "";
    char claim[256];
    size_t length = 0;
    ssize_t got;
    int claims;

    while ((got = read(0, input + length, sizeof input - 1 - length)) > 0) length += (size_t)got;
    if (strcmp(command, "VERSION") == 0) {
        puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"1.0.0\",\"1.1.0\"]}");
        return 0;
    }
    claims = open(variable("CNIRT_SWEEP_CLAIMS"), O_RDONLY | O_DIRECTORY);
    if (claims < 0) return fails(100, "claims");
    snprintf(claim, sizeof claim, "%s-%s-%s", plugin, variable("CNI_CONTAINERID"), interface);
    if (strcmp(command, "ADD") == 0) {
        if (openat(claims, claim, O_WRONLY | O_CREAT | O_EXCL, 0600) < 0) return fails(101, "claim");
        printf("{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"%s\",\"sandbox\":\"%s\"}],"
               "\"ips\":[{\"address\":\"10.1.0.5/24\",\"interface\":0}]}\n",
               interface, variable("CNI_NETNS"));
        return 0;
    }
    if (strcmp(command, "DEL") == 0) {
        return unlinkat(claims, claim, 0) == 0 || errno == ENOENT ? 0 : fails(102, "unlink");
    }
    if (strcmp(command, "GC") == 0) return collect(claims, plugin);
    return 0;
}
