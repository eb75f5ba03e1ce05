/*
 * The floor: what running a plugin costs whoever does it. vfork, exec, a pipe in, a pipe out, wait; and nothing of CNI but
 * the environment. `floor PLUGIN PLUGINS`: so many plugins one after another for each call.
 */
#define _GNU_SOURCE
#include "driver.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char configuration[] = "{\"cniVersion\":\"1.0.0\",\"name\":\"bench\",\"type\":\"plugin\"}";
static char *path;
static int plugins;
extern char **environ;

static int run(const char *command, long id) {
    char name[64], container[64], *environment[512], *arguments[] = {path, NULL}, output[4096];
    int in[2], out[2], status, count = 0;
    pid_t child;
    ssize_t length;
    while (count < 500 && environ[count]) environment[count] = environ[count], ++count;
    snprintf(name, sizeof name, "CNI_COMMAND=%s", command);
    snprintf(container, sizeof container, "CNI_CONTAINERID=c%ld", id);
    environment[count++] = name;
    environment[count++] = container;
    environment[count++] = "CNI_NETNS=/proc/self/ns/net";
    environment[count++] = "CNI_IFNAME=eth0";
    environment[count++] = "CNI_ARGS=";
    environment[count++] = "CNI_PATH=/opt/cni/bin";
    environment[count] = NULL;
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) return 1;
    child = vfork();
    if (child == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execve(path, arguments, environment);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    if (child < 0 || write(in[1], configuration, sizeof configuration - 1) < 0) return 1;
    close(in[1]);
    do length = read(out[0], output, sizeof output);
    while (length > 0);
    close(out[0]);
    return waitpid(child, &status, 0) != child || status != 0;
}

static int call(const char *command, long id) {
    int failed = 0;
    for (int at = 0; at < plugins && !failed; ++at) failed = run(command, id);
    return failed;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    path = argv[1];
    plugins = atoi(argv[2]);
    return drive(call);
}
