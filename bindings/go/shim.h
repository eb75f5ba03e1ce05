/*
 * What Go cannot say to C by itself: function pointers, and in whose callback a thread is.
 *
 * current is a cgo.Handle of the Go call whose callback a thread runs, 0 for none. It is put back afterwards, as a
 * callback may use another handle on the same thread.
 */
#ifndef CNIRT_GO_SHIM_H
#define CNIRT_GO_SHIM_H

#include <cnirt.h>

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
cni_rc cnirt_go_runtime_new(uintptr_t current, const char *options, uintptr_t data, int32_t callbacks,
			    cni_runtime **runtime, char **error);
uintptr_t cnirt_go_current(void);
/* Returns what was the current one until now. */
uintptr_t cnirt_go_set_current(uintptr_t current);

#endif
