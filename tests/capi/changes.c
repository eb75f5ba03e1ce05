/*
 * The descriptor for changes of the configuration, in an event loop, and where there is none. The argument is a directory
 * with net.d in it, which is empty; silence and status 0 mean well.
 */
#define _GNU_SOURCE
#include <cnirt.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *directory;
static cni_plugin *plugin;
static int failures;
static char logged[1024];
/* What the find_plugin callback is answered, once it asks. */
static int from_callback = 1;

static void expect(const char *what, int good) {
    if (!good) {
        fprintf(stderr, "not as expected: %s\n", what);
        ++failures;
    }
}

static int32_t find_plugin(void *data, const char *call, cni_reply *reply) {
    (void)data;
    (void)call;
    if (plugin != NULL) from_callback = cni_plugin_fd(plugin);
    return (int32_t)cni_reply_set(reply, "/fake", 5);
}

static int32_t exec_plugin(void *data, const char *call, cni_reply *reply) {
    static const char version[] = "{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}";
    (void)data;
    (void)call;
    return (int32_t)cni_reply_set(reply, version, sizeof version - 1);
}

static void log_line(void *data, int32_t level, const char *target, const char *message, const char *fields) {
    (void)data;
    (void)target;
    if (level <= 2) snprintf(logged, sizeof logged, "%s %s", message, fields);
}

static cni_plugin *make(const char *kind) {
    cni_callbacks callbacks = {sizeof callbacks, NULL, NULL, NULL, NULL, find_plugin, exec_plugin, log_line};
    cni_plugin *made = NULL;
    char options[1024];
    snprintf(options, sizeof options,
             "{\"plugin\":\"%s\",\"confDir\":\"%s/net.d\",\"cacheDir\":\"%s/cache\",\"binDirs\":[\"%s/bin\"],"
             "\"loopback\":false,\"env\":{}}",
             kind, directory, directory, directory);
    expect("a handle", cni_plugin_new(options, &callbacks, &made, NULL) == CNI_OK);
    return made;
}

static int readable(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    return poll(&one, 1, 0) == 1;
}

static int is_ready(void) {
    char *out = NULL;
    int ready = cni_plugin_status(plugin, &out) == CNI_OK && strstr(out, "\"ready\":true") != NULL;
    cni_string_free(out);
    return ready;
}

static void configure(void) {
    static const char text[] = "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":[{\"type\":\"fake\"}]}";
    char path[1024];
    int file;
    snprintf(path, sizeof path, "%s/net.d/10.conflist", directory);
    file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    expect("writing", write(file, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    close(file);
}

static void in_a_loop(void) {
    int fd = cni_plugin_fd(plugin), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {EPOLLIN, {.fd = fd}};
    expect("a descriptor", fd > 2 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    expect("it stays the same", cni_plugin_fd(plugin) == fd);
    expect("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    expect("an event at first", epoll_wait(epoll, &event, 1, 0) == 1);
    expect("nothing is configured", !is_ready());
    expect("quiet", epoll_wait(epoll, &event, 1, 0) == 0);
    configure();
    expect("an event", epoll_wait(epoll, &event, 1, 0) == 1);
    expect("it stays until the status is asked for", readable(fd));
    expect("ready", is_ready());
    expect("quiet again", epoll_wait(epoll, &event, 1, 0) == 0);
    expect("none in a callback of the handle", from_callback == -1);
    expect("a reload", cni_plugin_reload(plugin, NULL) == CNI_OK && !readable(fd));
    close(epoll);
}

static void in_a_forked_child(int fd) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        expect("none in a child", cni_plugin_fd(plugin) == -1);
        cni_plugin_free(plugin);
        _exit(failures);
    }
    waitpid(child, &status, 0);
    expect("the child's end", status == 0);
    configure();
    expect("the parent's wakes all the same", readable(fd));
}

/* The system refuses, says why, and later does not. */
static void without_descriptors(void) {
    struct rlimit limit, none;
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    expect("none to spare", cni_plugin_fd(plugin) == -1);
    setrlimit(RLIMIT_NOFILE, &limit);
    expect("the reason is logged", strstr(logged, "too many open files") != NULL);
    expect("later there is one", cni_plugin_fd(plugin) > 2);
}

int main(int count, char **arguments) {
    int fd;
    if (count != 2) return 2;
    directory = arguments[1];
    plugin = make("cni");
    without_descriptors();
    in_a_loop();
    fd = cni_plugin_fd(plugin);
    in_a_forked_child(fd);
    cni_plugin_free(plugin);
    expect("closed with the handle", fcntl(fd, F_GETFD) == -1);
    plugin = make("noop");
    expect("none for the no-op network plugin", cni_plugin_fd(plugin) == -1);
    expect("the reason is logged", strstr(logged, "kubernetes.io/no-op") != NULL);
    cni_plugin_free(plugin);
    expect("none for NULL", cni_plugin_fd(NULL) == -1);
    return failures;
}
