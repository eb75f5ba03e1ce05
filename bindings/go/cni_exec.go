package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// What the library is told where an Exec finds a plugin at the path "", which is none for it.
const emptyPath = "(no path)"

// findByExec finds a plugin by the session's Exec.
func (s *session) findByExec(ctx context.Context, _ *Callbacks, question FindCall) ([]byte, error) {
	var path string
	err := onItsOwn(ctx, func() (err error) {
		path, err = s.exec.FindInPath(question.Type, question.Dirs)
		return err
	})
	if path == "" {
		path = emptyPath
	}
	return []byte(path), err
}

// runByExec runs a plugin by the session's Exec, and has it read what a plugin says to VERSION.
func (s *session) runByExec(ctx context.Context, question ExecCall) (stdout []byte, err error) {
	path := question.Path
	if path == emptyPath {
		path = ""
	}
	err = onItsOwn(ctx, func() (err error) {
		stdout, err = s.exec.ExecPlugin(ctx, path, []byte(question.Stdin), question.Env)
		return err
	})
	if err != nil || !slices.Contains(question.Env, "CNI_COMMAND=VERSION") {
		return stdout, err
	}
	var info version.PluginInfo
	err = onItsOwn(ctx, func() (err error) {
		info, err = s.exec.Decode(stdout)
		return err
	})
	if err != nil || info == nil {
		return nil, err
	}
	if call := callOf(ctx); call != nil {
		s.mu.Lock()
		call.info = info
		s.mu.Unlock()
	}
	supported := info.SupportedVersions()
	if len(supported) == 0 {
		// The library takes an answer without versions for a broken one.
		supported = []string{""}
	}
	return json.Marshal(map[string]any{"cniVersion": version.Current(), "supportedVersions": supported})
}

// onItsOwn runs an Exec's method on a goroutine of its own: one that ends itself there must not end a thread of the
// library's. A panic goes on in the caller.
func onItsOwn(ctx context.Context, method func() error) error {
	var (
		err      error
		value    any
		returned bool
		panicked bool
		done     = make(chan struct{})
	)
	go func() {
		defer close(done)
		defer func() {
			// A panic with nil is a value, too; only Goexit has none.
			if value = recover(); value != nil {
				panicked = true
			}
		}()
		err = method()
		returned = true
	}()
	<-done
	call := callOf(ctx)
	switch {
	case panicked:
		panic(value)
	case !returned:
		if call != nil {
			call.session.mu.Lock()
			call.exited = true
			call.session.mu.Unlock()
		}
		return newError(ErrPanic, "the Exec ended its goroutine")
	case err == nil:
		return nil
	}
	if call != nil {
		call.session.mu.Lock()
		call.execErrors = append(call.execErrors, err)
		call.session.mu.Unlock()
	}
	return asPlugins(err)
}

// asPlugins is an Exec's error for the library: as if a plugin had said it, so that its words stay as they are.
func asPlugins(err error) error {
	var object *types.Error
	if errors.As(err, &object) && object.Error() == err.Error() {
		return &Cause{Code: uint64(object.Code), Msg: object.Msg, Details: object.Details}
	}
	return &Cause{Code: internalCode, Msg: err.Error()}
}

type callKey struct{}

// callOf is the call that a callback's context belongs to.
func callOf(ctx context.Context) *call {
	call, _ := ctx.Value(callKey{}).(*call)
	return call
}

// addTrace tells plugins which trace their call belongs to, as libcni does.
func addTrace(ctx context.Context, env map[string]string) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	for key, value := range map[string]string{
		"TRACEPARENT": carrier.Get("traceparent"),
		"TRACESTATE":  carrier.Get("tracestate"),
		"BAGGAGE":     baggage.FromContext(ctx).String(),
	} {
		if value != "" {
			env[key] = value
		}
	}
}
