// Package cnirt gives pods and containers networking through the standard CNI plugins: the container-runtime side of
// CNI, as the kubelet and libcni have it, by the C library libcnirt.
//
// A [Plugin] is the kubelet's network plugin. It is made with [Options] by [NewPlugin] and ended by [Plugin.Close];
// between them any number of goroutines may use it. What a pod needs is said in a [PodRequest]:
//
//	plugin, err := cnirt.NewPlugin(cnirt.Options{})
//	…
//	defer plugin.Close()
//	result, err := plugin.SetUpPod(ctx, cnirt.PodRequest{ID: "4f1c", Name: "web", NetNS: "/run/netns/web"})
//
// # Errors
//
// Every error of the library is an [*Error]. What kind of failure it was is asked with errors.Is and a [Class]:
//
//	if errors.Is(err, cnirt.ErrNotReady) { … }
//
// # Contexts
//
// A context's deadline becomes the limit of a call on a pod, unless the request or the options have a shorter one.
// When a context is cancelled the call's plugins are stopped, what a set-up began is undone, and only then the method
// returns: its error is both [ErrCancelled] and context.Canceled, or [ErrTimeout] and context.DeadlineExceeded. A call
// that succeeded nevertheless says so. Methods without a request look at their context before they begin.
//
// # Callbacks
//
// With [Callbacks] the program finds and runs plugins itself, answers what a request left out, and takes log lines.
//
// # Building
//
// The package is built with cgo and finds the library by pkg-config (package "cnirt").
package cnirt
