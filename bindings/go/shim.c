#include "shim.h"

#include "_cgo_export.h"

static __thread uintptr_t current_call;

uintptr_t cnirt_go_current(void)
{
	return current_call;
}

uintptr_t cnirt_go_set_current(uintptr_t current)
{
	uintptr_t outer = current_call;

	current_call = current;
	return outer;
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

static cni_callbacks table(uintptr_t data, int32_t callbacks)
{
	cni_callbacks given = {sizeof given};

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
	return given;
}

cni_rc cnirt_go_plugin_new(uintptr_t current, const char *options, uintptr_t data, int32_t callbacks,
			   cni_plugin **plugin, char **error)
{
	cni_callbacks given = table(data, callbacks);
	uintptr_t outer = cnirt_go_set_current(current);
	cni_rc rc = cni_plugin_new(options, &given, plugin, error);

	current_call = outer;
	return rc;
}

cni_rc cnirt_go_runtime_new(uintptr_t current, const char *options, uintptr_t data, int32_t callbacks,
			    cni_runtime **runtime, char **error)
{
	cni_callbacks given = table(data, callbacks);
	uintptr_t outer = cnirt_go_set_current(current);
	cni_rc rc = cni_runtime_new(options, &given, runtime, error);

	current_call = outer;
	return rc;
}
