/*
 * A host that is odd in one way, and has a pod on real plugins. `host KIND DIRECTORY`; silence and status 0 mean that
 * everything worked, that the host heard no SIGCHLD and found no child, and that it is as it was before.
 *
 * With CNIRT_SPAWN=direct plugins are the host's own children: it may hear and find them while a call runs, the rest
 * holds.
 */
#define _GNU_SOURCE
#include "node.h"
#include "state.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static volatile sig_atomic_t heard_child, heard_others;
static int direct;
/* How the host looks for children all the while; -1: it does not. */
static int waiting = WNOHANG;
static volatile int waiter_runs, over;

static void on_child(int signal) {
    (void)signal;
    ++heard_child;
}

static void on_other(int signal) {
    (void)signal;
    ++heard_others;
}

static void handle(int signal, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, NULL);
}

static void nap(long microseconds) {
    struct timespec pause = {0, microseconds * 1000};
    nanosleep(&pause, NULL);
}

static void *waiter(void *unused) {
    while (!over && waiting != -1) {
        int status = 0;
        pid_t child = waitpid(-1, &status, waiting);
        if (!direct && !(waiting & __WALL)) {
            expect(child == -1 && errno == ECHILD, "waitpid(-1) found %d with status %#x", (int)child, status);
        }
        waiter_runs = 1;
        nap(50);
    }
    waiter_runs = 1;
    return unused;
}

/* A thread that was joined is in /proc for a moment longer. */
static void same_as(const char *before) {
    const char *other = NULL;
    int attempt;
    for (attempt = 0; attempt < 100; ++attempt) {
        char *now = state();
        other = difference(before, now);
        free(now);
        if (other == NULL) return;
        nap(10000);
    }
    expect(0, "a host that is as it was: %s", other);
}

/* No address, no interface and no cache entry of a pod that is gone. */
static void nothing_left(const char *where) {
    static const char *const veth[] = {" veth", "veth", NULL};
    struct text left = {NULL, 0, 0};
    struct dirent **entries;
    int count;
    add(&left, "%s", "");
    add_lines(&left, "/proc/self/net/dev", veth);
    for (count = scandir(in_node("ipam/net"), &entries, NULL, NULL); count > 0; free(entries[--count])) {
        if (strncmp(entries[count - 1]->d_name, "10.", 3) == 0) add(&left, "address %s\n", entries[count - 1]->d_name);
    }
    for (count = scandir(in_node("cache/results"), &entries, NULL, NULL); count > 0; free(entries[--count])) {
        if (entries[count - 1]->d_name[0] != '.') add(&left, "entry %s\n", entries[count - 1]->d_name);
    }
    expect(left.length == 0, "left behind %s: %s", where, left.bytes);
    free(left.bytes);
}

static void one_pod(void) {
    pod("pod");
}

/* --- the kinds --- */

static void waits(void) {
    waiting = 0;
}

static void waits_not(void) {
    waiting = -1;
}

static void steals(void) {
    waiting = WNOHANG | __WALL;
}

static void ignores(void) {
    handle(SIGCHLD, SIG_IGN, 0);
}

static void no_zombies(void) {
    handle(SIGCHLD, on_child, SA_NOCLDWAIT);
}

static void no_stdio(void) {
    close(0);
    close(1);
    close(2);
}

static void many_descriptors(void) {
    struct rlimit limit;
    int index;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (index = 0; index < 10000; ++index) {
        /* Not CLOEXEC, as many hosts' are. */
        expect(open("/dev/null", O_RDONLY) >= 0, "descriptor %d: %m", index);
    }
}

static void large(void) {
    const size_t size = (size_t)2 << 30;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t at;
    expect(memory != MAP_FAILED, "2 GiB");
    madvise(memory, size, MADV_HUGEPAGE);
    for (at = 0; memory != MAP_FAILED && at < size; at += 4096) memory[at] = 1;
}

static void no_umask(void) {
    umask(0777);
}

static void modes(void) {
    struct stat stat;
    make_netns("pod");
    succeeds("set-up", cni_setup_pod, request("pod", ""), "10.77.0.");
    expect(lstat(in_node("cache/results"), &stat) == 0 && (stat.st_mode & 07777) == 0700, "mode 0700");
    expect(lstat(in_node("cache/results/net-pod-eth0"), &stat) == 0 && (stat.st_mode & 07777) == 0600, "mode 0600");
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "eth0");
    remove_netns("pod");
}

static void no_cwd(void) {
    const char *gone = in_node("gone");
    expect(mkdir(gone, 0700) == 0 && chdir(gone) == 0 && rmdir(gone) == 0, "a directory that is gone");
}

/* A plugin that reads nothing of far more than a pipe holds. */
static void write_to_the_deaf(void) {
    const char *text = large_request("pod", "deaf");
    sigset_t pipe, before, pending;
    make_netns("pod");
    /* The disposition is the default one, which would end this process. */
    succeeds("set-up", cni_setup_pod, text, "\"network\":\"deaf\"");
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "\"network\":\"deaf\"");
    sigpending(&pending);
    expect(!sigismember(&pending, SIGPIPE), "no SIGPIPE waits");
    /* One of the host's own stays. */
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    raise(SIGPIPE);
    succeeds("set-up", cni_setup_pod, text, "\"network\":\"deaf\"");
    succeeds("teardown", cni_teardown_pod, request("pod", ""), "\"network\":\"deaf\"");
    sigpending(&pending);
    expect(sigismember(&pending, SIGPIPE), "the host's own SIGPIPE waits still");
    sigwaitinfo(&pipe, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    remove_netns("pod");
}

static void interrupted(void) {
    setpgid(0, 0);
    /* System calls are not restarted. */
    handle(SIGINT, on_other, 0);
    handle(SIGTERM, on_other, 0);
    handle(SIGHUP, on_other, 0);
}

static volatile int quiet;

static void *interrupts(void *slow) {
    int round;
    if (slow != NULL) {
        slow_runs();
        for (round = 0; round < 20; ++round) {
            kill(0, SIGINT);
            kill(0, SIGTERM);
            kill(0, SIGHUP);
            nap(500);
        }
        slow_goes();
    }
    while (slow == NULL && !quiet) {
        kill(0, SIGTERM);
        nap(1000);
    }
    return NULL;
}

static void during_signals(void) {
    pthread_t other;
    make_netns("slow");
    pthread_create(&other, NULL, interrupts, "");
    succeeds("set-up", cni_setup_pod, request("slow", SLOW), "\"network\":\"slow\"");
    pthread_join(other, NULL);
    succeeds("teardown", cni_teardown_pod, request("slow", ""), "\"network\":\"slow\"");
    remove_netns("slow");
    /* At any moment, too: between clone and exec a plugin is in the host's group. */
    pthread_create(&other, NULL, interrupts, NULL);
    pod("pod");
    quiet = 1;
    pthread_join(other, NULL);
    expect(heard_others > 60, "the host's handlers ran");
}

static void *pods_until_over(void *count) {
    do {
        pod("pod");
        ++*(int *)count;
    } while (*(int *)count < 2);
    __atomic_store_n((int *)count, 1000, __ATOMIC_SEQ_CST);
    return NULL;
}

static void *attaches_slowly(void *unused) {
    succeeds("set-up", cni_setup_pod, large_request("slow", "slow"), "\"network\":\"slow\"");
    return unused;
}

/* A child that keeps what it inherited while a plugin still has all of its input to read. */
static void fork_in_a_set_up(void) {
    pthread_t other;
    pid_t child;
    make_netns("slow");
    pthread_create(&other, NULL, attaches_slowly, NULL);
    slow_runs();
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
    }
    slow_goes();
    pthread_join(other, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    succeeds("teardown", cni_teardown_pod, request("slow", ""), "\"network\":\"slow\"");
    remove_netns("slow");
}

/* Children that execute, end, or stay with everything they inherited. */
static void forking(void) {
    enum { MOST = 300 };
    static pid_t staying[MOST];
    pthread_t other;
    int count = 0, forks = 0;
    fork_in_a_set_up();
    heard_child = 0;
    pthread_create(&other, NULL, pods_until_over, &count);
    while (__atomic_load_n(&count, __ATOMIC_SEQ_CST) < 1000 && forks < MOST) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (forks % 8 == 0) {
                for (;;) pause();
            }
            if (forks % 8 == 1) execl("/bin/true", "true", (char *)NULL);
            _exit(forks % 8);
        }
        expect(child > 0, "fork");
        if (forks % 8 == 0) {
            staying[forks] = child;
        } else {
            int code = forks % 8 == 1 ? 0 : forks % 8;
            expect(waitpid(child, &status, 0) == child, "a child of its own: %m");
            expect(WIFEXITED(status) && WEXITSTATUS(status) == code, "status %d, not %#x", code, status);
        }
        ++forks;
        nap(1000);
    }
    pthread_join(other, NULL);
    for (count = 0; count < forks; count += 8) {
        kill(staying[count], SIGKILL);
        waitpid(staying[count], NULL, 0);
    }
    /* Each of its own children is a SIGCHLD at most; the library adds none. */
    expect(direct || heard_child <= forks, "%d SIGCHLD for %d forks", (int)heard_child, forks);
    heard_child = 0;
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

static void without_descriptors(void) {
    int refused = 0, succeeded = 0, more;
    char *before, *out;
    make_netns("pod");
    before = state();
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
    free(before);
    remove_netns("pod");
}

enum { THREADS = 16 };

static void *attaches(void *place) {
    static pthread_barrier_t barrier;
    static int made;
    char id[16], *out = NULL;
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&once);
    snprintf(id, sizeof id, "pod%d", made);
    if (made++ == 0) pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_mutex_unlock(&once);
    make_netns(id);
    pthread_barrier_wait(&barrier);
    if (cni_setup_pod(plugin, request(id, ""), &out) == CNI_OK) {
        expect(cni_json_get(out, "/ips/0", place) == CNI_OK, "an address in %s", words(out));
    } else {
        expect(0, "set-up of %s: %s", id, words(out));
    }
    cni_string_free(out);
    pthread_barrier_wait(&barrier);
    succeeds("teardown", cni_teardown_pod, request(id, ""), "\"network\":\"net\"");
    remove_netns(id);
    return NULL;
}

static void crowd(void) {
    pthread_t threads[THREADS];
    char *addresses[THREADS] = {NULL};
    int one, other;
    for (one = 0; one < THREADS; ++one) pthread_create(&threads[one], NULL, attaches, &addresses[one]);
    for (one = 0; one < THREADS; ++one) pthread_join(threads[one], NULL);
    for (one = 0; one < THREADS; ++one) {
        for (other = 0; other < one; ++other) {
            const char *first = words(addresses[one]), *second = words(addresses[other]);
            expect(strcmp(first, second) != 0, "%d and %d have %s", one, other, first);
        }
    }
    for (one = 0; one < THREADS; ++one) cni_string_free(addresses[one]);
}

/* The end in the middle of a set-up. */
static int end_by;

static void *ends(void *unused) {
    slow_runs();
    if (end_by == 0) _exit(0);
    raise(end_by);
    return unused;
}

static void exits(void) {
    static const struct rlimit none = {0, 0};
    pthread_t other;
    setrlimit(RLIMIT_CORE, &none);
    make_netns("slow");
    pthread_create(&other, NULL, ends, NULL);
    succeeds("set-up", cni_setup_pod, request("slow", SLOW), "");
    expect(0, "an end");
}

static void killed(void) {
    end_by = SIGKILL;
}

static void crashes(void) {
    end_by = SIGSEGV;
}

static void terminated(void) {
    end_by = SIGTERM;
}

static void nothing(void) {}

static const struct kind {
    const char *name;
    void (*prepare)(void);
    void (*run)(void);
} kinds[] = {
    {"plain", nothing, one_pod},
    {"waits", waits, one_pod},
    {"steals", steals, one_pod},
    {"ignores", ignores, one_pod},
    {"no_zombies", no_zombies, one_pod},
    {"no_stdio", no_stdio, one_pod},
    {"many_descriptors", many_descriptors, one_pod},
    {"large", large, one_pod},
    {"umask", no_umask, modes},
    {"no_cwd", no_cwd, one_pod},
    {"sigpipe", nothing, write_to_the_deaf},
    {"interrupted", interrupted, during_signals},
    {"forking", waits_not, forking},
    {"few_descriptors", few_descriptors, without_descriptors},
    {"crowd", nothing, crowd},
    {"exits", nothing, exits},
    {"killed", killed, exits},
    {"crashes", crashes, exits},
    {"terminated", terminated, exits},
};

int main(int count, char **arguments) {
    const struct kind *kind = kinds, *end = kinds + sizeof kinds / sizeof *kinds;
    const char *way = getenv("CNIRT_SPAWN");
    pthread_t thread;
    char *before;
    if (count != 3) return 2;
    while (kind < end && strcmp(kind->name, arguments[1]) != 0) ++kind;
    if (kind == end) return 2;
    report = fdopen(fcntl(2, F_DUPFD_CLOEXEC, 100), "w");
    if (report == NULL) return 2;
    direct = way != NULL && strcmp(way, "direct") == 0;
    snprintf(node_dir, sizeof node_dir, "%s", arguments[2]);
    handle(SIGCHLD, on_child, SA_RESTART);
    expect(mkfifo(in_node("running"), 0600) == 0 && mkfifo(in_node("go"), 0600) == 0, "the fifos");

    kind->prepare();
    pthread_create(&thread, NULL, waiter, NULL);
    /* Until then its mask is another one. */
    while (!waiter_runs) nap(50);
    before = state();
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
