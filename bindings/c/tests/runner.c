/*
 * Does one scenario through the C interface: runner SCENARIOS.json NAME
 *
 * tests/scenarios/README.md has the format. The library itself reads the JSON, by cni_json_get. Exits with 0, or says
 * which step went wrong and exits with 1.
 */
#define _POSIX_C_SOURCE 200809L

#include <cnirt.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* One of the three is set: what the function takes. */
static const struct call {
    const char *name;
    cni_rc (*with_request)(cni_plugin *, const char *, char **);
    cni_rc (*with_nothing)(cni_plugin *, char **);
    cni_rc (*with_path)(const char *, char **);
} calls[] = {
    {"setup_pod", cni_setup_pod, NULL, NULL},
    {"teardown_pod", cni_teardown_pod, NULL, NULL},
    {"check_pod", cni_check_pod, NULL, NULL},
    {"pod_status", cni_pod_status, NULL, NULL},
    {"list_pods", NULL, cni_list_pods, NULL},
    {"plugin_gc", cni_plugin_gc, NULL, NULL},
    {"plugin_status", NULL, cni_plugin_status, NULL},
    {"plugin_reload", NULL, cni_plugin_reload, NULL},
    {"plugin_capabilities", NULL, cni_plugin_capabilities, NULL},
    {"netns_create", NULL, NULL, cni_netns_create},
    {"netns_remove", NULL, NULL, cni_netns_remove},
};

/* The step that is being done, for messages. */
static int number = -1;
static const char *step;

/* What every handle of the scenario is made with. */
static const char *options;

/* The processes that do steps beside this one. */
static pid_t beside[4];
static size_t besides;

static void die(const char *format, ...)
{
    va_list args;
    if (step)
        fprintf(stderr, "step %d, %s\n", number, step);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void *checked(void *memory)
{
    if (!memory)
        die("out of memory");
    return memory;
}

/* The value at pointer, to be freed with cni_string_free; NULL where there is none. */
static char *get(const char *json, const char *pointer)
{
    char *value;
    cni_rc rc = cni_json_get(json, pointer, &value);
    if (rc == CNI_OK)
        return value;
    if (rc != CNI_E_NOT_FOUND)
        die("%s: %s", pointer, value);
    cni_string_free(value);
    return NULL;
}

static char *get_item(const char *json, const char *list, int index, const char *key)
{
    char pointer[64];
    snprintf(pointer, sizeof pointer, "%s/%d%s", list, index, key);
    return get(json, pointer);
}

static char *read_file(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "r");
    /* No JSON text has a NUL. */
    if (!file || getdelim(&text, &size, '\0', file) < 0)
        die("%s: %s", path, strerror(errno));
    fclose(file);
    return text;
}

static void write_file(const char *path, const char *text)
{
    char *dir = checked(strdup(path));
    for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
            die("mkdir %s: %s", dir, strerror(errno));
        *slash = '/';
    }
    free(dir);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        die("write %s: %s", path, strerror(errno));
}

static void run_script(const char *script)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-e", "-c", script, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        die("sh: %s", strerror(errno));
    if (status != 0)
        die("the script ended with status %#x", (unsigned)status);
}

static cni_rc call(cni_plugin *plugin, const char *name, const char *request, char **out)
{
    if (strcmp(name, "plugin_event") == 0) {
        char *event = get(step, "/event");
        cni_rc rc = cni_plugin_event(plugin, event, request, out);
        cni_string_free(event);
        return rc;
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(name, calls[i].name) != 0)
            continue;
        if (calls[i].with_path)
            return calls[i].with_path(request, out);
        if (calls[i].with_nothing)
            return calls[i].with_nothing(plugin, out);
        return calls[i].with_request(plugin, request, out);
    }
    die("there is no call %s", name);
    return CNI_E_INVALID_ARGUMENT;
}

/* Where the JSON string that begins at text ends. */
static char *end_of_string(char *text)
{
    while (*++text != '"')
        if (*text == '\\')
            text++;
    return text + 1;
}

/* Takes a string or null off the front of compact JSON; NULL for null. */
static char *take(char **rest)
{
    if (strncmp(*rest, "null", 4) == 0) {
        *rest += 4;
        return NULL;
    }
    if (**rest != '"')
        die("in \"expect\" there are strings and null only: %s", *rest);
    char *end = end_of_string(*rest), after = *end;
    *end = '\0';
    char *text = get(*rest, "");
    *end = after;
    *rest = end;
    return text;
}

/* expect is compact JSON: {"pointer":"text","pointer":null}. */
static void compare(char *expect, const char *out)
{
    for (char *rest = expect; rest[0] != '}' && rest[1] != '}';) {
        rest++; /* the brace or the comma */
        char *pointer = take(&rest);
        rest++; /* the colon */
        char *wanted = take(&rest);
        char *found = get(out, pointer);
        if (wanted ? !found || strcmp(wanted, found) != 0 : found != NULL)
            die("at %s: wanted %s, found %s, in %s", pointer, wanted ? wanted : "nothing", found ? found : "nothing",
                out);
        cni_string_free(pointer);
        cni_string_free(wanted);
        cni_string_free(found);
    }
}

static void do_call(cni_plugin *plugin, const char *name)
{
    char *out;
    char *request = get(step, "/request");
    char *wanted = get(step, "/rc");
    char *expect = get(step, "/expect");
    const char *got = cni_rc_name(call(plugin, name, request, &out));
    if (strcmp(got, wanted ? wanted : "CNI_OK") != 0)
        die("wanted %s, got %s: %s", wanted ? wanted : "CNI_OK", got, out);
    if (expect)
        compare(expect, out);
    char *save = get(step, "/save");
    if (save)
        write_file(save, out);
    cni_string_free(save);
    cni_string_free(request);
    cni_string_free(wanted);
    cni_string_free(expect);
    cni_string_free(out);
}

static void do_steps(const char *json, const char *list);

/* Does the steps of this one in another process. */
static void start_beside(void)
{
    if (besides == sizeof beside / sizeof *beside)
        die("too many processes beside this one");
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        die("fork: %s", strerror(errno));
    if (child > 0) {
        beside[besides++] = child;
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    besides = 0;
    do_steps(step, "/beside");
    /* The parent's handle stays as it is. */
    _exit(0);
}

/* Ends the processes beside this one; none may have failed. */
static void end_besides(void)
{
    while (besides) {
        int status;
        pid_t child = beside[--besides];
        kill(child, SIGKILL);
        if (waitpid(child, &status, 0) != child || (WIFEXITED(status) && WEXITSTATUS(status) != 0))
            die("the process beside this one failed");
    }
}

static void do_step(cni_plugin *plugin)
{
    char *text;
    if ((text = get(step, "/sh"))) {
        run_script(text);
    } else if ((text = get(step, "/write"))) {
        char *content = get(step, "/content");
        write_file(text, content);
        cni_string_free(content);
    } else if ((text = get(step, "/remove"))) {
        if (remove(text) < 0)
            die("remove: %s", strerror(errno));
    } else if ((text = get(step, "/call"))) {
        do_call(plugin, text);
    } else if ((text = get(step, "/beside"))) {
        start_beside();
    } else {
        die("what kind of step is this?");
    }
    cni_string_free(text);
}

/* The scenario's JSON, to be freed with cni_string_free. */
static char *find_scenario(const char *scenarios, const char *name)
{
    char *found = NULL;
    for (int i = 0; !found; i++) {
        char *other = get_item(scenarios, "", i, "/name");
        if (!other)
            die("there is no scenario \"%s\"", name);
        if (strcmp(other, name) == 0)
            found = get_item(scenarios, "", i, "");
        cni_string_free(other);
    }
    return found;
}

/* text with dir in place of each ${dir}, to be freed with free. */
static char *expand(const char *text, const char *dir)
{
    static const char variable[] = "${dir}";
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, variable)); at += strlen(variable))
        count++;
    char *expanded = checked(malloc(strlen(text) + count * strlen(dir) + 1));
    char *end = expanded;
    for (const char *at; (at = strstr(text, variable)); text = at + strlen(variable)) {
        memcpy(end, text, (size_t)(at - text));
        end = stpcpy(end + (at - text), dir);
    }
    strcpy(end, text);
    return expanded;
}

/* Does the steps of this list with a handle of their own. */
static void do_steps(const char *json, const char *list)
{
    cni_plugin *plugin;
    char *error;
    if (cni_plugin_new(options, NULL, &plugin, &error) != CNI_OK)
        die("cni_plugin_new: %s", error);

    char *one;
    for (number = 0; (one = get_item(json, list, number, "")); number++) {
        step = one;
        do_step(plugin);
        step = NULL;
        cni_string_free(one);
    }
    cni_plugin_free(plugin);
}

static void do_scenario(const char *scenario)
{
    char *text = get(scenario, "/options");
    options = text;
    do_steps(scenario, "/steps");
    end_besides();
    cni_string_free(text);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s SCENARIOS.json NAME\n", argv[0]);
        return 2;
    }
    const char *tmp = getenv("TMPDIR");
    char dir[4096], cleanup[sizeof dir + 16];
    snprintf(dir, sizeof dir, "%s/cni-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        die("mkdtemp: %s", strerror(errno));

    char *scenarios = read_file(argv[1]);
    char *found = find_scenario(scenarios, argv[2]);
    char *scenario = expand(found, dir);
    do_scenario(scenario);
    free(scenario);
    cni_string_free(found);
    free(scenarios);

    snprintf(cleanup, sizeof cleanup, "rm -r '%s'", dir);
    run_script(cleanup);
    return 0;
}
