#define _GNU_SOURCE
#include "driver.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static operation *operate;
static const char *command;
static long first, count, next_index;
static long *taken;

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static long cpu(void) {
    long sum = 0;
    for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; ++who) {
        struct rusage usage;
        getrusage(who, &usage);
        sum += (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000L;
        sum += (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000L;
    }
    return sum;
}

static void *work(void *unused) {
    (void)unused;
    for (;;) {
        long index = __atomic_fetch_add(&next_index, 1, __ATOMIC_SEQ_CST);
        if (index >= count) return NULL;
        long begun = now();
        if (operate(command, first + index) != 0) exit(1);
        taken[index] = now() - begun;
    }
}

static void calls(const char *what, long id, long number, long threads) {
    pthread_t thread[64];
    long began, used;
    command = what;
    first = id;
    count = number;
    next_index = 0;
    taken = calloc(number, sizeof *taken);
    began = now();
    used = cpu();
    if (threads == 1) work(NULL);
    else {
        for (long at = 0; at < threads; ++at) pthread_create(&thread[at], NULL, work, NULL);
        for (long at = 0; at < threads; ++at) pthread_join(thread[at], NULL);
    }
    used = cpu() - used;
    began = now() - began;
    printf("{\"wall\": %ld, \"cpu\": %ld, \"ns\": [", began, used);
    for (long at = 0; at < number; ++at) printf("%s%ld", at ? ", " : "", taken[at]);
    puts("]}");
    free(taken);
}

/* Clean and dirty private pages: what would be free if this process were not there. */
static void memory(void) {
    FILE *rollup = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    long sum = 0, kib;
    while (rollup != NULL && fgets(line, sizeof line, rollup))
        if (sscanf(line, "Private_Clean: %ld", &kib) == 1 || sscanf(line, "Private_Dirty: %ld", &kib) == 1) sum += kib;
    if (rollup != NULL) fclose(rollup);
    printf("{\"private\": %ld}\n", sum * 1024);
}

static void touch(long mib) {
    char *space = mmap(NULL, (mib << 20) + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (space == MAP_FAILED) exit(1);
    for (long at = 0; at < mib << 20; at += 4096) space[at] = 1;
    puts("{}");
}

static void open_files(long number) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (number-- > 0)
        if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) exit(1);
    puts("{}");
}

int drive(operation *operation) {
    long added = 0, deleted = 0, number, threads;
    char line[256];
    operate = operation;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "add %ld %ld", &number, &threads) == 2) {
            calls("ADD", added, number, threads);
            added += number;
        } else if (sscanf(line, "del %ld %ld", &number, &threads) == 2) {
            calls("DEL", deleted, number, threads);
            deleted += number;
        } else if (sscanf(line, "fds %ld", &number) == 1) open_files(number);
        else if (sscanf(line, "touch %ld", &number) == 1) touch(number);
        else if (strcmp(line, "memory\n") == 0) memory();
        else return 2;
        fflush(stdout);
    }
    return 0;
}
