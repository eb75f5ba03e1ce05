/*
 * A C host of the library: `cnirt runtime|pod OPTIONS CONF REQUEST`.
 *
 * OPTIONS are those of cni_runtime_new or cni_plugin_new; CONF is a network list, for `runtime` alone; REQUEST is the
 * RuntimeConf or pod request, in which each %ld becomes the container's number.
 */
#include "driver.h"

#include <cnirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cni_runtime *runtime;
static cni_plugin *plugin;
static const char *conf, *request_format;

static int call(const char *command, long id) {
    int adds = strcmp(command, "ADD") == 0;
    char request[4096], *out = NULL;
    cni_rc rc;
    snprintf(request, sizeof request, request_format, id, id, id);
    if (runtime != NULL) rc = (adds ? cni_runtime_add : cni_runtime_del)(runtime, conf, request, &out);
    else rc = (adds ? cni_setup_pod : cni_teardown_pod)(plugin, request, &out);
    if (rc != CNI_OK) fprintf(stderr, "%s: %s\n", command, out);
    cni_string_free(out);
    return rc;
}

int main(int argc, char **argv) {
    char *error = NULL;
    cni_rc rc;
    if (argc != 5) return 2;
    conf = argv[3];
    request_format = argv[4];
    if (strcmp(argv[1], "runtime") == 0) rc = cni_runtime_new(argv[2], NULL, &runtime, &error);
    else rc = cni_plugin_new(argv[2], NULL, &plugin, &error);
    if (rc != CNI_OK) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    return drive(call);
}
