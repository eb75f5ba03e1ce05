/*
 * What only a C program can show of the library's manners: odd stacks, forks, threads. Each argument names a check;
 * silence and status 0 mean that all are well.
 */
#define _GNU_SOURCE
#include <cnirt.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define SMALL (64 * 1024)

static cni_plugin *plugin;
static int failures;

static void expect(const char *what, int good) {
    if (!good) {
        fprintf(stderr, "not as expected: %s\n", what);
        ++failures;
    }
}

/* Nested as deep as any reader accepts, so that it needs the most stack. */
static const char *deep(void) {
    static char json[512];
    char *at = json;
    int level;
    at += sprintf(at, "{\"id\":\"a\",\"capabilityArgs\":{\"a\":");
    for (level = 0; level < 124; ++level) *at++ = '[';
    for (level = 0; level < 124; ++level) *at++ = ']';
    sprintf(at, "}}");
    return json;
}

static void calls(void) {
    char *out = NULL;
    expect("a set-up", cni_setup_pod(plugin, deep(), &out) == CNI_OK && out != NULL);
    cni_string_free(out);
    expect("a JSON value", cni_json_get(deep(), "/capabilityArgs/a/0/0", &out) == CNI_OK && out != NULL);
    cni_string_free(out);
    expect("a refusal", cni_setup_pod(plugin, "{\"idd\":1}", &out) == CNI_E_INVALID_ARGUMENT && out != NULL);
    cni_string_free(out);
}

static void *thread_main(void *unused) {
    (void)unused;
    calls();
    return NULL;
}

static void on_a_small_thread(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, SMALL);
    expect("pthread_create", pthread_create(&thread, &attributes, thread_main, NULL) == 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

static char *stack(void) {
    return mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void in_a_coroutine(void) {
    static ucontext_t here, there;
    getcontext(&there);
    there.uc_stack.ss_sp = stack();
    there.uc_stack.ss_size = SMALL;
    there.uc_link = &here;
    makecontext(&there, calls, 0);
    swapcontext(&here, &there);
}

static void on_signal(int signal) {
    (void)signal;
    calls();
}

static void on_a_signal_stack(void) {
    stack_t alternative;
    struct sigaction action;
    memset(&alternative, 0, sizeof alternative);
    alternative.ss_sp = stack();
    alternative.ss_size = SMALL;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK;
    sigaltstack(&alternative, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

static void in_a_forked_child(void) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        cni_plugin *own = NULL;
        char *out = NULL;
        alarm(20);
        expect("a list in a child", cni_list_pods(plugin, &out) == CNI_E_FORKED && strstr(out, "CNI_E_FORKED") != NULL);
        cni_string_free(out);
        expect("a cancel in a child", cni_plugin_cancel(plugin, NULL) == CNI_E_FORKED);
        cni_plugin_free(plugin);
        expect("a new handle in a child", cni_plugin_new("{\"plugin\":\"noop\"}", NULL, &own, NULL) == CNI_OK);
        expect("a list with it", cni_list_pods(own, NULL) == CNI_OK);
        cni_plugin_free(own);
        _exit(failures);
    }
    waitpid(child, &status, 0);
    expect("the child's end", status == 0);
    expect("the parent's handle", cni_list_pods(plugin, NULL) == CNI_OK);
}

static void *caller(void *go_on) {
    while (*(volatile int *)go_on) {
        expect("a call of one of many threads", cni_plugin_status(plugin, NULL) == CNI_OK);
    }
    return NULL;
}

static void forking_while_others_call(void) {
    pthread_t threads[4];
    volatile int go_on = 1;
    int index;
    for (index = 0; index < 4; ++index) pthread_create(&threads[index], NULL, caller, (void *)&go_on);
    for (index = 0; index < 20; ++index) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            cni_plugin_free(plugin);
            _exit(0);
        }
        waitpid(child, &status, 0);
        expect("a free in a child", status == 0);
    }
    go_on = 0;
    for (index = 0; index < 4; ++index) pthread_join(threads[index], NULL);
}

int main(int count, char **checks) {
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {
        {"thread", on_a_small_thread},          {"coroutine", in_a_coroutine}, {"signal", on_a_signal_stack},
        {"fork", in_a_forked_child},            {"forks", forking_while_others_call},
    };
    int index;
    size_t check;
    expect("a handle", cni_plugin_new("{\"plugin\":\"noop\"}", NULL, &plugin, NULL) == CNI_OK);
    for (index = 1; index < count; ++index) {
        for (check = 0; check < sizeof all / sizeof *all; ++check) {
            if (strcmp(all[check].name, checks[index]) == 0) all[check].run();
        }
    }
    cni_plugin_free(plugin);
    return failures;
}
