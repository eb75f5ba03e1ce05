/*
 * Hosts that fork.
 */
#ifndef FORKS_H
#define FORKS_H

#include "guest.h"

static void *pods_until_over(void *count) {
    do {
        pod("pod");
        ++*(int *)count;
    } while (*(int *)count < 2);
    __atomic_store_n((int *)count, 1000, __ATOMIC_SEQ_CST);
    return NULL;
}

/* As another process would see it. */
static int can_lock_everything(void) {
    struct flock lock;
    int fd = open(in_node("cache/cnirt/lock"), O_RDWR | O_CLOEXEC), free_to_lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    free_to_lock = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
    close(fd);
    return free_to_lock;
}

static void *attaches_slowly(void *unused) {
    succeeds("set-up", cni_setup_pod, large_request("slow", "slow"), "\"network\":\"slow\"");
    return unused;
}

/* What a child does with its parent's handle: nothing. */
static void use_the_handle(void) {
    answers("set-up in a child", cni_setup_pod, request("slow", ""), CNI_E_FORKED, "\"class\":\"CNI_E_FORKED\"");
    answers("teardown in a child", cni_teardown_pod, request("slow", ""), CNI_E_FORKED, "\"class\":\"CNI_E_FORKED\"");
    cni_plugin_free(plugin);
}

/* As much as a program may have at its end. */
static void end_with_everything(void) {
    exit(failures);
}

static void use_the_handle_and_end(void) {
    use_the_handle();
    exit(failures);
}

static void use_the_handle_and_stay(void) {
    use_the_handle();
    for (;;) pause();
}

/* Children while a plugin still has all of its input to read: that one keeps what it inherited, these end. */
static void fork_in_a_set_up(void) {
    static void (*const children[])(void) = {use_the_handle_and_stay, end_with_everything, use_the_handle_and_end};
    enum { CHILDREN = sizeof children / sizeof *children };
    pid_t pids[CHILDREN];
    pthread_t other;
    int index;
    make_netns("slow");
    pthread_create(&other, NULL, attaches_slowly, NULL);
    slow_runs();
    for (index = 0; index < CHILDREN; ++index) {
        pids[index] = fork();
        if (pids[index] != 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(100);
        children[index]();
    }
    for (index = 1; index < CHILDREN; ++index) ends_with(pids[index], 0, "a child");
    /* They took nothing along. */
    answers("teardown meanwhile", cni_teardown_pod, "{\"id\": \"slow\", \"timeoutMs\": 50}", CNI_E_TIMEOUT, "");
    expect(!can_lock_everything(), "the pod's lock is free");
    slow_goes();
    pthread_join(other, NULL);
    expect(can_lock_everything(), "the pod's lock, which a child has inherited, is not free");
    kill(pids[0], SIGKILL);
    ends_with(pids[0], W_EXITCODE(0, SIGKILL), "the child that stays");
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
            ends_with(child, W_EXITCODE(code, 0), "a child of its own");
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

static int inheritable(void) {
    int fd, count = 0;
    for (fd = 0; fd < 1024; ++fd) {
        int flags = fcntl(fd, F_GETFD);
        count += flags >= 0 && !(flags & FD_CLOEXEC);
    }
    return count;
}

/* `host count N`, which another host executes: this process has N descriptors, and so none of that host's library. */
static int has_descriptors(const char *count) {
    return inheritable() == atoi(count) ? 0 : 1;
}

static void *pods_of_a_thread(void *over_now) {
    pod("pod");
    POD_OF("deaf");
    __atomic_store_n((int *)over_now, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* While its other threads go on, and the library with them, the thread that vforks stands still. */
static void vforking(void) {
    enum { LEAST = 20 };
    pthread_t other;
    char count[16];
    int forks, over_now = 0;
    snprintf(count, sizeof count, "%d", inheritable());
    pthread_create(&other, NULL, pods_of_a_thread, &over_now);
    for (forks = 0; forks < LEAST || !__atomic_load_n(&over_now, __ATOMIC_SEQ_CST); ++forks) {
        pid_t child = vfork();
        if (child == 0) {
            execl("/proc/self/exe", "host", "count", count, (char *)NULL);
            _exit(1);
        }
        ends_with(child, 0, "a program of its own");
    }
    pthread_join(other, NULL);
    expect(direct || heard_child <= forks, "%d SIGCHLD for %d forks", (int)heard_child, forks);
    heard_child = 0;
}

#endif
