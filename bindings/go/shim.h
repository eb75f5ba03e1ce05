/*
 * What Go cannot say to C by itself: function pointers, and which call a callback belongs to.
 *
 * current is a cgo.Handle of the Go call that a thread is in, 0 for none. It is set for the time of a C call and put
 * back afterwards, as a callback may use another network plugin on the same thread.
 */
#ifndef CNIRT_GO_SHIM_H
#define CNIRT_GO_SHIM_H

#include <cnirt.h>

typedef cni_rc (*cnirt_go_pod_function)(cni_plugin *, const char *, char **);
typedef cni_rc (*cnirt_go_plugin_function)(cni_plugin *, char **);

/* Which callbacks there are. */
enum {
	CNIRT_GO_GET_NETNS = 1,
	CNIRT_GO_GET_POD_PORT_MAPPINGS = 2,
	CNIRT_GO_FIND_PLUGIN = 4,
	CNIRT_GO_EXEC_PLUGIN = 8,
	CNIRT_GO_LOG = 16,
};

cni_rc cnirt_go_plugin_new(uintptr_t current, const char *options, uintptr_t data, int32_t callbacks,
			   cni_plugin **plugin, char **error);
cni_rc cnirt_go_on_pod(uintptr_t current, cnirt_go_pod_function function, cni_plugin *plugin, const char *request,
		       char **out);
cni_rc cnirt_go_on_plugin(uintptr_t current, cnirt_go_plugin_function function, cni_plugin *plugin, char **out);
cni_rc cnirt_go_event(uintptr_t current, cni_plugin *plugin, const char *name, const char *details, char **out);
uintptr_t cnirt_go_current(void);

#endif
