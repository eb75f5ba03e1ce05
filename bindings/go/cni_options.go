package cnirt

import (
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
)

// Option is one of [NewCNI]'s.
type Option func(*cniOptions)

type cniOptions struct {
	BinDirs     []string          `json:"binDirs"`
	CacheDir    string            `json:"cacheDir,omitempty"`
	TimeoutMs   *int64            `json:"timeoutMs,omitempty"`
	KillGraceMs *int64            `json:"killGraceMs,omitempty"`
	Rollback    bool              `json:"rollback,omitempty"`
	Durability  string            `json:"durability,omitempty"`
	OpThreads   int               `json:"opThreads,omitempty"`
	Env         map[string]string `json:"env,omitzero"`

	timeout time.Duration
	exec    invoke.Exec
}

// WithExec has exec find and run the plugins. Nil and libcni's own invoke.DefaultExec mean the library itself, which
// does not print what plugins write to their standard error.
//
// Exec's methods run on goroutines of their own, several at a time. A panic in one of them goes on in the goroutine of
// the method that needs it, and so does runtime.Goexit. They must not call [CNI.Close]; another method of the same CNI
// takes one more of the threads that [WithOpThreads] allows.
func WithExec(exec invoke.Exec) Option {
	return func(o *cniOptions) {
		switch exec.(type) {
		case *invoke.DefaultExec:
			o.exec = nil
		default:
			o.exec = exec
		}
	}
}

// WithTimeout limits each call, of all its plugins together; without it there is no limit but the context's.
func WithTimeout(timeout time.Duration) Option {
	return func(o *cniOptions) { o.timeout, o.TimeoutMs = max(timeout, 0), milliseconds(timeout) }
}

// WithKillGrace sets the time between the polite and the forced end of a plugin, 2 s; a negative one is none.
func WithKillGrace(grace time.Duration) Option {
	return func(o *cniOptions) { o.KillGraceMs = milliseconds(grace) }
}

// WithRollback says whether a failed ADD is followed by DEL of the plugins that were started. libcni does not do that,
// so it is off.
func WithRollback(rollback bool) Option { return func(o *cniOptions) { o.Rollback = rollback } }

// WithEnv sets the exact environment of plugins, in place of the process's.
func WithEnv(env map[string]string) Option {
	return func(o *cniOptions) { o.Env = env }
}

// WithDurability says what a cache entry survives: DurabilityFull (the default) or DurabilityAtomic.
func WithDurability(durability string) Option {
	return func(o *cniOptions) { o.Durability = durability }
}

// WithOpThreads sets how many calls, at most, run at a time; 64. More wait, without a thread of their own.
func WithOpThreads(threads int) Option { return func(o *cniOptions) { o.OpThreads = threads } }
