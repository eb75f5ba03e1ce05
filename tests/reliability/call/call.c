/* One call of cnirt, in a process of its own: call OPTIONS OPERATION REQUEST. Prints {"ms": ..., "error": ...}. */
#include <cnirt.h>
#include <stdio.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    cni_plugin *plugin = NULL;
    cni_op *op = NULL;
    char *error = NULL, *out = NULL;
    if (argc != 4)
        return 2;
    if (cni_plugin_new(argv[1], NULL, &plugin, &error) != CNI_OK) {
        fprintf(stderr, "%s\n", error);
        return 2;
    }
    double begun = now_ms();
    cni_rc rc = cni_plugin_start(plugin, argv[2], argv[3], &op, &out);
    if (rc == CNI_OK)
        rc = cni_op_finish(op, &out);
    printf("{\"ms\": %.3f, \"error\": %s}\n", now_ms() - begun, rc == CNI_OK ? "null" : out);
    cni_string_free(out);
    cni_plugin_free(plugin);
    return 0;
}
