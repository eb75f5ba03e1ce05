/*
 * Attaches 200 network namespaces at once and detaches them again, on one thread that waits in one epoll loop:
 *
 *     ./event_loop /run/netns
 *
 * The library works in the background, on as many threads as the option opThreads says; calls beyond that wait, and take
 * none. Each call has a descriptor that is readable when it is done, like a socket.
 */
#include <cnirt.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PODS 200

struct pod {
    char netns[4096];
    char *request; /* the library's: freed by cni_string_free */
    cni_op *op;    /* the call under way */
};

static cni_plugin *plugin;
static int epoll = -1, failures;

/* Says what failed and why. */
static void failed(const char *doing, const char *what, cni_rc rc, const char *error)
{
    char *msg;
    int known = cni_json_get(error, "/msg", &msg) == CNI_OK;
    fprintf(stderr, "%s %s: %s: %s\n", doing, what, cni_rc_name(rc), known ? msg : "no message");
    cni_string_free(msg);
    failures++;
}

/* Makes the pod's request, and a namespace; answers whether there are both. */
static int make(struct pod *pod, const char *directory, int number)
{
    char id[32], *out = NULL, *with_id;
    cni_rc rc;

    snprintf(id, sizeof id, "pod%d", number);
    snprintf(pod->netns, sizeof pod->netns, "%s/%s", directory, id);
    /* The request is JSON; this quotes what needs it. */
    if ((rc = cni_json_set_string(NULL, "/id", id, &with_id)) == CNI_OK)
        rc = cni_json_set_string(with_id, "/netns", pod->netns, &pod->request);
    cni_string_free(with_id);
    if (rc == CNI_OK)
        rc = cni_netns_create(pod->netns, &out);
    if (rc)
        failed("making", pod->netns, rc, out ? out : pod->request);
    cni_string_free(out);
    return rc == CNI_OK;
}

/* Takes the answer of the call under way, which ends it; waits where it is not done. */
static void finish(struct pod *pod, const char *operation)
{
    char *out, *ip;
    cni_rc rc;

    /* The call owns its descriptor and closes it. */
    epoll_ctl(epoll, EPOLL_CTL_DEL, cni_op_fd(pod->op), NULL);
    rc = cni_op_finish(pod->op, &out);
    pod->op = NULL;
    if (rc) {
        /* Whatever a failed set-up began is undone; the others go on. */
        failed(operation, pod->netns, rc, out);
    } else if (cni_json_get(out, "/ips/0", &ip) == CNI_OK) {
        printf("%s has %s\n", pod->netns, ip);
        cni_string_free(ip);
    }
    cni_string_free(out);
}

/* Begins a call; answers how many are to be waited for. */
static int start(struct pod *pod, const char *operation)
{
    struct epoll_event event = {EPOLLIN, {pod}};
    char *error;
    cni_rc rc;

    if ((rc = cni_plugin_start(plugin, operation, pod->request, &pod->op, &error))) {
        failed(operation, pod->netns, rc, error);
        cni_string_free(error);
        return 0;
    }
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, cni_op_fd(pod->op), &event) == 0)
        return 1;
    /* Nothing would tell when it is done. A call that is cancelled is undone, and has to be finished, too. */
    perror("epoll_ctl");
    if ((rc = cni_op_cancel(pod->op)))
        failed("cancelling", pod->netns, rc, NULL);
    finish(pod, operation);
    return 0;
}

/* Does one operation on all pods at once. */
static void do_all(struct pod *pods, int count, const char *operation)
{
    struct epoll_event events[64];
    int running = 0, i, ready;

    for (i = 0; i < count; i++)
        running += start(&pods[i], operation);
    while (running > 0) {
        /* A program's sockets and timers would be in here, too. */
        ready = epoll_wait(epoll, events, 64, -1);
        if (ready < 0 && errno != EINTR) {
            perror("epoll_wait");
            break;
        }
        for (i = 0; i < ready; i++, running--)
            finish(events[i].data.ptr, operation);
    }
    /* Left only where the loop broke. */
    for (i = 0; i < count; i++)
        if (pods[i].op)
            finish(&pods[i], operation);
}

int main(int argc, char **argv)
{
    static struct pod pods[PODS];
    char *error = NULL;
    int made = 0, i;
    cni_rc rc;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s DIRECTORY [OPTIONS]\n", argv[0]);
        return 2;
    }
    /* Without options: configurations in /etc/cni/net.d, plugins in /opt/cni/bin and /usr/lib/cni. */
    if ((rc = cni_plugin_new(argv[2], NULL, &plugin, &error)))
        failed("reading", "the options", rc, error);
    cni_string_free(error);
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        perror("epoll_create1");
        failures++;
    }
    while (failures == 0 && made < PODS && make(&pods[made], argv[1], made))
        made++;
    if (made == PODS)
        do_all(pods, made, "setup_pod");
    /* Also of those that failed: it knows what there is, and nothing is fine. */
    if (made == PODS)
        do_all(pods, made, "teardown_pod");
    for (i = 0; i < made; i++) {
        if ((rc = cni_netns_remove(pods[i].netns, &error)))
            failed("removing", pods[i].netns, rc, error);
        cni_string_free(error);
    }
    for (i = 0; i < PODS; i++)
        cni_string_free(pods[i].request);
    if (epoll >= 0)
        close(epoll);
    cni_plugin_free(plugin); /* NULL may be freed */
    return failures != 0;
}
