/*
 * What a process can see of itself: everything that a library must leave as it found it, as one text, a line a fact.
 *
 * Not its memory, and no counts of how much it did.
 */
#ifndef STATE_H
#define STATE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct text {
    char *bytes;
    size_t length, room;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...) {
    va_list arguments;
    int more;
    if (text->room - text->length < 16384) {
        text->room = text->room * 2 + 65536;
        text->bytes = realloc(text->bytes, text->room);
        if (text->bytes == NULL) abort();
    }
    va_start(arguments, format);
    more = vsnprintf(text->bytes + text->length, text->room - text->length, format, arguments);
    va_end(arguments);
    if (more < 0 || (size_t)more >= text->room - text->length) abort();
    text->length += (size_t)more;
}

static void add_link(struct text *text, const char *path) {
    char target[4096];
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = '\0';
    add(text, "%s -> %s\n", path, target);
}

/* The lines of a file that begin with one of these words. */
static void add_lines(struct text *text, const char *path, const char *const *words) {
    char line[4096];
    const char *const *word;
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        for (word = words; *word != NULL; ++word) {
            if (strncmp(line, *word, strlen(*word)) == 0) add(text, "%s: %s", path, line);
        }
    }
    if (file != NULL) fclose(file);
}

/* Does `each` for every entry of a directory, sorted by number. */
static void every_number(struct text *text, const char *path, void (*each)(struct text *, int)) {
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, versionsort), index;
    for (index = 0; index < count; ++index) {
        if (entries[index]->d_name[0] != '.') each(text, atoi(entries[index]->d_name));
        free(entries[index]);
    }
    if (count >= 0) free(entries);
}

static void add_descriptor(struct text *text, int fd) {
    char path[64];
    int flags = fcntl(fd, F_GETFD);
    /* The directory's own is closed by now. */
    if (flags < 0) return;
    add(text, "flags %d %#x ", flags, (unsigned)fcntl(fd, F_GETFL));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    add_link(text, path);
}

static void add_task(struct text *text, int task) {
    static const char *const kinds[] = {"cgroup", "ipc",  "mnt",  "net", "pid", "pid_for_children",
                                        "time",   "user", "uts"};
    static const char *const lines[] = {"Name:", "SigBlk:", "Cap", "NoNewPrivs:", "Seccomp:", NULL};
    char path[128];
    size_t kind;
    for (kind = 0; kind < sizeof kinds / sizeof *kinds; ++kind) {
        snprintf(path, sizeof path, "/proc/self/task/%d/ns/%s", task, kinds[kind]);
        add_link(text, path);
    }
    snprintf(path, sizeof path, "/proc/self/task/%d/status", task);
    add_lines(text, path, lines);
}

/* Of the library's. */
static void add_our_thread(struct text *text, int task) {
    static const char *const name[] = {"Name:\tcnirt-", NULL};
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", task);
    add_lines(text, path, name);
}

static char *state(void) {
    static const char *const status[] = {"Umask:",  "Uid:",    "Gid:",    "Groups:", "Threads:", "SigPnd:",
                                         "ShdPnd:", "SigIgn:", "SigCgt:", "Tgid:",   "PPid:",    NULL};
    static const char *const all[] = {"", NULL};
    struct text text = {NULL, 0, 0};
    struct sigaction action;
    stack_t stack;
    size_t byte;
    char **variable;
    int signal, subreaper = -1, death = -1;

    every_number(&text, "/proc/self/fd", add_descriptor);
    every_number(&text, "/proc/self/task", add_task);
    add_lines(&text, "/proc/self/status", status);
    add_lines(&text, "/proc/self/limits", all);
    add_lines(&text, "/proc/self/oom_score_adj", all);
    add_lines(&text, "/proc/self/timerslack_ns", all);
    add_link(&text, "/proc/self/cwd");
    add_link(&text, "/proc/self/root");
    for (signal = 1; signal < 65; ++signal) {
        if (sigaction(signal, NULL, &action) != 0) continue;
        add(&text, "signal %d: %p %#x ", signal, (void *)action.sa_handler, (unsigned)action.sa_flags);
        for (byte = 0; byte < 8; ++byte) add(&text, "%02x", ((unsigned char *)&action.sa_mask)[byte]);
        add(&text, "\n");
    }
    if (sigaltstack(NULL, &stack) == 0) {
        add(&text, "stack %p %#x %zu\n", stack.ss_sp, (unsigned)stack.ss_flags, stack.ss_size);
    }
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    prctl(PR_GET_PDEATHSIG, &death);
    add(&text, "subreaper %d, death %d, dumpable %d\n", subreaper, death, prctl(PR_GET_DUMPABLE));
    add(&text, "group %d, session %d, nice %d\n", getpgrp(), getsid(0), getpriority(PRIO_PROCESS, 0));
    for (variable = environ; *variable != NULL; ++variable) {
        if (strlen(*variable) < 8192) add(&text, "%s\n", *variable);
    }
    return text.bytes;
}

/* The state once it stays: threads that were joined are in /proc for a moment longer. */
static char *settled_state(void) {
    static const struct timespec pause = {0, 50000000};
    char *earlier = NULL, *now = state();
    int attempt;
    for (attempt = 0; attempt < 100 && (earlier == NULL || strcmp(earlier, now) != 0); ++attempt) {
        free(earlier);
        earlier = now;
        nanosleep(&pause, NULL);
        now = state();
    }
    free(earlier);
    return now;
}

/* The first line that differs, or NULL. */
static const char *difference(const char *before, const char *after) {
    static char lines[1024];
    const char *old = before, *new = after;
    if (strcmp(before, after) == 0) return NULL;
    for (; *before != '\0' && *before == *after; ++before, ++after) {
        if (*after == '\n') {
            old = before + 1;
            new = after + 1;
        }
    }
    snprintf(lines, sizeof lines, "\"%.*s\" became \"%.*s\"", (int)strcspn(old, "\n"), old, (int)strcspn(new, "\n"),
             new);
    return lines;
}

#endif
