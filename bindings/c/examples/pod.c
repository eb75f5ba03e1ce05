/*
 * Attaches a network namespace to the node's default network, shows its addresses, and detaches it again:
 *
 *     ip netns add blue && ./pod /run/netns/blue
 */
#include <cnirt.h>
#include <stdio.h>

/* Says what failed and why. */
static int failed(const char *doing, cni_rc rc, const char *error)
{
    char *msg;
    int known = cni_json_get(error, "/msg", &msg) == CNI_OK;
    fprintf(stderr, "%s: %s: %s\n", doing, cni_rc_name(rc), known ? msg : "no message");
    cni_string_free(msg);
    return 1;
}

int main(int argc, char **argv)
{
    cni_plugin *plugin = NULL;
    char *request = NULL, *out = NULL, *ips;
    int status = 0;
    cni_rc rc;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s NETNS [OPTIONS]\n", argv[0]);
        return 2;
    }
    /* Without options: configurations in /etc/cni/net.d, plugins in /opt/cni/bin and /usr/lib/cni. */
    if ((rc = cni_plugin_new(argv[2], NULL, &plugin, &out))) {
        status = failed("reading the options", rc, out);
        goto end;
    }
    /* The request is JSON; this quotes what needs it. */
    if ((rc = cni_json_set_string("{\"id\": \"example\"}", "/netns", argv[1], &request))) {
        status = failed("making the request", rc, request);
        goto end;
    }
    /* Where it fails, whatever it began is undone. */
    if ((rc = cni_setup_pod(plugin, request, &out))) {
        status = failed("setting up", rc, out);
        goto end;
    }
    if (cni_json_get(out, "/ips", &ips) == CNI_OK)
        printf("%s\n", ips);
    cni_string_free(ips);
    cni_string_free(out);
    if ((rc = cni_teardown_pod(plugin, request, &out)))
        status = failed("tearing down", rc, out);
end: /* NULL may be freed */
    cni_string_free(out);
    cni_string_free(request);
    cni_plugin_free(plugin);
    return status;
}
