#include "shim.h"

#include "_cgo_export.h"

static __thread uintptr_t current_call;

uintptr_t cnirt_go_current(void)
{
	return current_call;
}

static int32_t get_netns(void *data, const char *pod, cni_reply *reply)
{
	return cnirtGoGetNetNS((uintptr_t)data, current_call, (char *)pod, reply);
}

static int32_t get_pod_port_mappings(void *data, const char *pod, cni_reply *reply)
{
	return cnirtGoGetPodPortMappings((uintptr_t)data, current_call, (char *)pod, reply);
}

static int32_t find_plugin(void *data, const char *call, cni_reply *reply)
{
	return cnirtGoFindPlugin((uintptr_t)data, current_call, (char *)call, reply);
}

static int32_t exec_plugin(void *data, const char *call, cni_reply *reply)
{
	return cnirtGoExecPlugin((uintptr_t)data, current_call, (char *)call, reply);
}

static void log_line(void *data, int32_t level, const char *target, const char *message, const char *fields)
{
	cnirtGoLog((uintptr_t)data, current_call, level, (char *)target, (char *)message, (char *)fields);
}

static void data_free(void *data)
{
	cnirtGoDataFree((uintptr_t)data);
}

cni_rc cnirt_go_plugin_new(uintptr_t current, const char *options, uintptr_t data, int32_t callbacks,
			   cni_plugin **plugin, char **error)
{
	cni_callbacks given = {sizeof given};
	uintptr_t outer = current_call;
	cni_rc rc;

	given.data = (void *)data;
	given.data_free = data_free;
	if (callbacks & CNIRT_GO_GET_NETNS)
		given.get_netns = get_netns;
	if (callbacks & CNIRT_GO_GET_POD_PORT_MAPPINGS)
		given.get_pod_port_mappings = get_pod_port_mappings;
	if (callbacks & CNIRT_GO_FIND_PLUGIN)
		given.find_plugin = find_plugin;
	if (callbacks & CNIRT_GO_EXEC_PLUGIN)
		given.exec_plugin = exec_plugin;
	if (callbacks & CNIRT_GO_LOG)
		given.log = log_line;
	current_call = current;
	rc = cni_plugin_new(options, &given, plugin, error);
	current_call = outer;
	return rc;
}

cni_rc cnirt_go_on_pod(uintptr_t current, cnirt_go_pod_function function, cni_plugin *plugin, const char *request,
		       char **out)
{
	uintptr_t outer = current_call;
	cni_rc rc;

	current_call = current;
	rc = function(plugin, request, out);
	current_call = outer;
	return rc;
}

cni_rc cnirt_go_on_plugin(uintptr_t current, cnirt_go_plugin_function function, cni_plugin *plugin, char **out)
{
	uintptr_t outer = current_call;
	cni_rc rc;

	current_call = current;
	rc = function(plugin, out);
	current_call = outer;
	return rc;
}

cni_rc cnirt_go_event(uintptr_t current, cni_plugin *plugin, const char *name, const char *details, char **out)
{
	uintptr_t outer = current_call;
	cni_rc rc;

	current_call = current;
	rc = cni_plugin_event(plugin, name, details, out);
	current_call = outer;
	return rc;
}
