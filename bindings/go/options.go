package cnirt

import (
	"encoding/json"
	"math"
	"time"
)

// Kinds of network plugins, for Options.Plugin.
const (
	// PluginCNI attaches pods by CNI plugins.
	PluginCNI = "cni"
	// PluginNoop does nothing and always succeeds.
	PluginNoop = "noop"
)

// What a cache entry survives, for Options.Durability.
const (
	// DurabilityFull survives a power cut.
	DurabilityFull = "full"
	// DurabilityAtomic survives a crash of the process.
	DurabilityAtomic = "atomic"
)

// The order of a pod's addresses, for Options.IPPreference.
const (
	// IPPreferenceCNI is the order of the CNI result.
	IPPreferenceCNI = "cni"
	// IPPreferenceIPv4 puts IPv4 addresses first.
	IPPreferenceIPv4 = "ipv4"
	// IPPreferenceIPv6 puts IPv6 addresses first.
	IPPreferenceIPv6 = "ipv6"
)

// BuiltinAuto, as the only element of Options.Builtin, stands for every type that the library can do itself.
const BuiltinAuto = "auto"

// NoLimit is a duration for fields whose zero means the default: there is no limit.
const NoLimit = time.Duration(-1)

// The library's default of Options.Timeout, which a context's deadline never extends.
const defaultTimeout = 220 * time.Second

// Options of a network plugin. The zero value is the library's defaults, and so is the zero value of every field.
//
// In JSON the keys are the library's; the durations are whole milliseconds (timeoutMs, killGraceMs, rollbackTimeoutMs).
type Options struct {
	// Plugin is PluginCNI (the default) or PluginNoop.
	Plugin string `json:"plugin,omitempty"`
	// ConfDir has the network configurations; /etc/cni/net.d.
	ConfDir string `json:"confDir,omitempty"`
	// BinDirs have the plugin binaries, the first that has one wins; /opt/cni/bin and /usr/lib/cni.
	BinDirs []string `json:"binDirs,omitzero"`
	// CacheDir is where attachments are recorded; /var/lib/cni.
	CacheDir string `json:"cacheDir,omitempty"`
	// DefaultNetwork names the default network; else it is the first valid file.
	DefaultNetwork string `json:"defaultNetwork,omitempty"`
	// PodCIDR is the node's, for the capability ipRanges; two with a comma between for dual stack.
	PodCIDR string `json:"podCidr,omitempty"`
	// IfName is the interface of the default network; eth0.
	IfName string `json:"ifName,omitempty"`
	// Timeout limits one call, 220 s; NoLimit is none.
	Timeout time.Duration `json:"-"`
	// KillGrace is between the polite and the forced end of a plugin, 2 s; a negative one is none.
	KillGrace time.Duration `json:"-"`
	// Rollback says whether a failed set-up is undone; true. Use Ptr.
	Rollback *bool `json:"rollback,omitempty"`
	// RollbackTimeout limits that undoing, 60 s; NoLimit is none.
	RollbackTimeout time.Duration `json:"-"`
	// Loopback says whether the pod's lo is set up; true. Use Ptr.
	Loopback *bool `json:"loopback,omitempty"`
	// Builtin lists the plugin types that the library does itself, or is {BuiltinAuto}; {"loopback"}.
	Builtin []string `json:"-"`
	// Durability of cache entries: DurabilityFull (the default) or DurabilityAtomic.
	Durability string `json:"durability,omitempty"`
	// MaxOutputBytes limits what a plugin may print; 4 MiB.
	MaxOutputBytes int64 `json:"maxOutputBytes,omitempty"`
	// Env, if not nil, is the exact environment of plugins, in place of the process's.
	Env map[string]string `json:"env,omitzero"`
	// PluginEnv is added to the environment of plugins.
	PluginEnv map[string]string `json:"pluginEnv,omitempty"`
	// Owner tags cache entries; "cnirt".
	Owner string `json:"owner,omitempty"`
	// OpThreads is how many calls, at most, run at a time; 64. More wait, without a thread of their own.
	OpThreads int `json:"opThreads,omitempty"`
	// IPPreference orders a pod's addresses: IPPreferenceCNI (the default), IPPreferenceIPv4 or IPPreferenceIPv6.
	IPPreference string `json:"ipPreference,omitempty"`

	// Callbacks are what the program does itself.
	Callbacks Callbacks `json:"-"`
}

// Ptr returns a pointer to value, for optional fields.
func Ptr[T any](value T) *T { return &value }

type plainOptions Options

type optionsJSON struct {
	plainOptions
	TimeoutMs         *int64          `json:"timeoutMs,omitempty"`
	KillGraceMs       *int64          `json:"killGraceMs,omitempty"`
	RollbackTimeoutMs *int64          `json:"rollbackTimeoutMs,omitempty"`
	BuiltinTypes      json.RawMessage `json:"builtin,omitempty"`
}

// MarshalJSON makes the JSON object that the library reads.
func (o Options) MarshalJSON() ([]byte, error) {
	object := optionsJSON{
		plainOptions:      plainOptions(o),
		TimeoutMs:         milliseconds(o.Timeout),
		KillGraceMs:       milliseconds(o.KillGrace),
		RollbackTimeoutMs: milliseconds(o.RollbackTimeout),
	}
	var err error
	switch {
	case len(o.Builtin) == 1 && o.Builtin[0] == BuiltinAuto:
		object.BuiltinTypes, err = json.Marshal(BuiltinAuto)
	case o.Builtin != nil:
		object.BuiltinTypes, err = json.Marshal(o.Builtin)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(object)
}

// UnmarshalJSON reads what MarshalJSON makes.
func (o *Options) UnmarshalJSON(text []byte) error {
	object := optionsJSON{plainOptions: plainOptions(*o)}
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	options := Options(object.plainOptions)
	setDuration(&options.Timeout, object.TimeoutMs)
	setDuration(&options.KillGrace, object.KillGraceMs)
	setDuration(&options.RollbackTimeout, object.RollbackTimeoutMs)
	if len(object.BuiltinTypes) > 0 {
		var word string
		if json.Unmarshal(object.BuiltinTypes, &word) == nil && word != "" {
			options.Builtin = []string{word}
		} else if err := json.Unmarshal(object.BuiltinTypes, &options.Builtin); err != nil {
			return err
		}
	}
	*o = options
	return nil
}

// timeout is the limit that the library puts on a call by itself; 0 is none.
func (o Options) timeout() time.Duration {
	switch {
	case o.Timeout < 0:
		return 0
	case o.Timeout == 0:
		return defaultTimeout
	}
	return o.Timeout
}

// milliseconds rounds up: what is not zero must not become "no limit". Zero stays out, a negative one becomes 0.
func milliseconds(d time.Duration) *int64 {
	switch {
	case d == 0:
		return nil
	case d < 0:
		return Ptr(int64(0))
	}
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond != 0 {
		ms++
	}
	return &ms
}

func setDuration(d *time.Duration, ms *int64) {
	switch {
	case ms == nil:
	case *ms == 0:
		*d = NoLimit
	case *ms > math.MaxInt64/int64(time.Millisecond):
		*d = math.MaxInt64
	default:
		*d = time.Duration(*ms) * time.Millisecond
	}
}
