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
// What pods that are gone left behind is deleted by [Plugin.GC], which is told the pods that are there.
//
// # Errors
//
// Every error of the library is an [*Error]. What kind of failure it was is asked with errors.Is and a [Class]:
//
//	if errors.Is(err, cnirt.ErrNotReady) { … }
//
// # libcni
//
// [CNI] is libcni's CNIConfig on libcni's own types: a program that has one switches by calling [NewCNI] in place of
// libcni.NewCNIConfigWithCacheDir. It satisfies libcni.CNI, runs plugins through any invoke.Exec, and its errors are
// those that callers of libcni test for; where libcni wraps an error, errors.As finds an [*Error] in it, too.
//
// # Contexts
//
// A context's deadline becomes the limit of a call, unless the request or the options have a shorter one. When a
// context is cancelled the call's plugins are stopped, what a set-up began is undone, and only then the method returns:
// its error is both [ErrCancelled] and context.Canceled, or [ErrTimeout] and context.DeadlineExceeded. A call that
// succeeded nevertheless says so.
//
// # Threads
//
// A method that waits holds a goroutine and no thread. What it asks for is done on the library's threads, at most
// Options.OpThreads of them; more calls wait for their turn. Plugins run in the namespaces of the thread that needed
// the first of those threads: call from no goroutine that is locked to a thread in other ones.
//
// # Callbacks
//
// With [Callbacks] the program finds and runs plugins itself, answers what a request left out, and takes log lines.
//
// # Building
//
// The package is built with cgo and finds the library by pkg-config (package "cnirt").
package cnirt
