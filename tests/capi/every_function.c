/*
 * Calls every function of the header once. Compiled as C and as C++ by the header's test, linked and run by the
 * installation's. Says what it expects of the no-op network plugin by its exit status.
 */
#include <cnirt.h>

#include <stdio.h>
#include <string.h>

static int freed;

static void data_free(void *data) {
    ++*(int *)data;
}

static int32_t get_netns(void *data, const char *pod, cni_reply *reply) {
    (void)data;
    (void)pod;
    return (int32_t)cni_reply_set(reply, "/run/netns/x", 12);
}

static void log_line(void *data, int32_t level, const char *target, const char *message, const char *fields) {
    (void)data;
    (void)level;
    (void)target;
    (void)message;
    (void)fields;
}

static int failures;

static void expect(const char *what, int good) {
    if (!good) {
        fprintf(stderr, "not as expected: %s\n", what);
        ++failures;
    }
}

/* Looks at an answer and frees it. */
static void answered(const char *what, cni_rc rc, char *out, const char *part) {
    if (rc != CNI_OK || out == NULL || strstr(out, part) == NULL) {
        fprintf(stderr, "%s: %s %s\n", what, cni_rc_name((int32_t)rc), out == NULL ? "(nothing)" : out);
        ++failures;
    }
    cni_string_free(out);
}

int main(void) {
    cni_callbacks callbacks;
    cni_plugin *plugin = NULL;
    cni_op *op = NULL;
    cni_runtime *runtime = NULL;
    char *out = NULL;
    char version[32];
    const char *conf = "{\"name\": \"net\", \"cniVersion\": \"1.0.0\", \"plugins\": [{\"type\": \"none\"}]}";
    const char *rt = "{\"containerID\": \"pod1\", \"ifName\": \"eth0\"}";
    const char *request = "{\"id\": \"pod1\", \"namespace\": \"ns\", \"name\": \"web\"}";
    cni_rc rc;

    memset(&callbacks, 0, sizeof callbacks);
    callbacks.size = sizeof callbacks;
    callbacks.data = &freed;
    callbacks.data_free = data_free;
    callbacks.get_netns = get_netns;
    callbacks.log = log_line;

    rc = cni_plugin_new("{\"plugin\": \"noop\"}", &callbacks, &plugin, &out);
    expect("cni_plugin_new", rc == CNI_OK && plugin != NULL && out == NULL);
    expect("cni_plugin_name", strcmp(cni_plugin_name(plugin), "kubernetes.io/no-op") == 0);

    expect("cni_plugin_fd", cni_plugin_fd(plugin) == -1);

    rc = cni_setup_pod(plugin, request, &out);
    answered("cni_setup_pod", rc, out, "\"pod1\"");
    rc = cni_check_pod(plugin, request, &out);
    answered("cni_check_pod", rc, out, "\"networks\"");
    rc = cni_pod_status(plugin, request, &out);
    answered("cni_pod_status", rc, out, "\"source\"");
    rc = cni_list_pods(plugin, &out);
    answered("cni_list_pods", rc, out, "[");
    rc = cni_teardown_pod(plugin, request, &out);
    answered("cni_teardown_pod", rc, out, "\"pod1\"");
    rc = cni_plugin_status(plugin, &out);
    answered("cni_plugin_status", rc, out, "\"ready\":true");
    rc = cni_plugin_reload(plugin, &out);
    answered("cni_plugin_reload", rc, out, "\"ready\":true");
    rc = cni_plugin_capabilities(plugin, &out);
    answered("cni_plugin_capabilities", rc, out, "[");
    rc = cni_plugin_metrics(plugin, &out);
    answered("cni_plugin_metrics", rc, out, "cnirt_");
    rc = cni_plugin_gc(plugin, "{\"validPods\": []}", &out);
    answered("cni_plugin_gc", rc, out, "\"deleted\":[]");
    rc = cni_plugin_event(plugin, "pod-cidr-change", "{\"pod-cidr\": \"10.1.0.0/16\"}", &out);
    answered("cni_plugin_event", rc, out, "{}");
    rc = cni_plugin_start(plugin, "setup_pod", request, &op, &out);
    expect("cni_plugin_start", rc == CNI_OK && op != NULL && out == NULL);
    expect("cni_op_fd", cni_op_fd(op) >= 0);
    expect("cni_op_wait", cni_op_wait(op, -1) == CNI_OK);
    expect("cni_op_cancel", cni_op_cancel(op) == CNI_OK);
    rc = cni_op_finish(op, &out);
    answered("cni_op_finish", rc, out, "\"pod1\"");
    expect("cni_plugin_cancel", cni_plugin_cancel(plugin, NULL) == CNI_OK);
    cni_plugin_free(plugin);
    expect("cni_plugin_free", freed == 1);

    rc = cni_runtime_new("{\"binDirs\": [\"/nonexistent\"], \"cacheDir\": \"/nonexistent\"}", NULL, &runtime, &out);
    expect("cni_runtime_new", rc == CNI_OK && runtime != NULL && out == NULL);
    expect("cni_runtime_add", cni_runtime_add(runtime, conf, rt, NULL) == CNI_E_PLUGIN_NOT_FOUND);
    expect("cni_runtime_del", cni_runtime_del(runtime, conf, rt, NULL) == CNI_E_PLUGIN_NOT_FOUND);
    expect("cni_runtime_check", cni_runtime_check(runtime, conf, rt, NULL) == CNI_E_PLUGIN_NOT_FOUND);
    expect("cni_runtime_validate", cni_runtime_validate(runtime, conf, NULL) == CNI_E_PLUGIN_NOT_FOUND);
    expect("cni_runtime_plugin_version", cni_runtime_plugin_version(runtime, "none", NULL) == CNI_E_PLUGIN_NOT_FOUND);
    rc = cni_runtime_cached(runtime, conf, rt, &out);
    answered("cni_runtime_cached", rc, out, "\"result\":null");
    rc = cni_runtime_gc(runtime, conf, "{\"validAttachments\": []}", &out);
    answered("cni_runtime_gc", rc, out, "{}");
    rc = cni_runtime_status(runtime, conf, &out);
    answered("cni_runtime_status", rc, out, "{}");
    rc = cni_runtime_attachments(runtime, NULL, &out);
    answered("cni_runtime_attachments", rc, out, "[]");
    rc = cni_runtime_start(runtime, "attachments", NULL, NULL, &op, &out);
    expect("cni_runtime_start", rc == CNI_OK && op != NULL && out == NULL);
    expect("its end", cni_op_finish(op, NULL) == CNI_OK);
    cni_runtime_free(runtime);

    rc = cni_confdir_files("/nonexistent", "[\".conflist\"]", &out);
    answered("cni_confdir_files", rc, out, "[]");
    expect("cni_confdir_load", cni_confdir_load("/nonexistent", "net", NULL) == CNI_E_NOT_FOUND);
    rc = cni_conf_parse(conf, NULL, &out);
    answered("cni_conf_parse", rc, out, "\"loadOnlyInlinedPlugins\":false");
    rc = cni_result_convert("{\"cniVersion\": \"0.2.0\", \"ip4\": {\"ip\": \"10.0.0.2/24\"}}", "1.0.0", &out);
    answered("cni_result_convert", rc, out, "\"address\":\"10.0.0.2/24\"");

    rc = cni_json_get("{\"a\": \"b\"}", "/a", &out);
    answered("cni_json_get", rc, out, "b");
    rc = cni_json_set(NULL, "/a/b", "1", &out);
    answered("cni_json_set", rc, out, "{\"a\":{\"b\":1}}");
    rc = cni_json_set_string(NULL, "/a", "\"", &out);
    answered("cni_json_set_string", rc, out, "{\"a\":\"\\\"\"}");
    expect("cni_netns_create", cni_netns_create(NULL, NULL) == CNI_E_INVALID_ARGUMENT);
    expect("cni_netns_remove", cni_netns_remove(NULL, NULL) == CNI_E_INVALID_ARGUMENT);

    expect("cni_abi_version", cni_abi_version() == CNIRT_VERSION_MAJOR);
    sprintf(version, "%d.%d.%d", CNIRT_VERSION_MAJOR, CNIRT_VERSION_MINOR, CNIRT_VERSION_PATCH);
    expect("cni_version", strcmp(cni_version(), version) == 0);
    return failures == 0 ? 0 : 1;
}
