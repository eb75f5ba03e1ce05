package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
)

var _ libcni.CNI = (*CNI)(nil)

// CNI is libcni's CNIConfig, on libcni's own types: a program that has one of libcni's can have this one in its place.
//
// It runs the plugins of one network for one container, and keeps what they said. It knows no pods and takes no lock.
// Any number of goroutines may use it. The error of a call that its context ended is also that context's error.
type CNI struct {
	// The handle, or why there is none.
	s   *session
	err error
	// In place of the process's environment; nil is that one.
	env      map[string]string
	cacheDir string
	// Full while a call runs that has no name for the Exec to be told by.
	nameless chan struct{}
}

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
// the method that needs it, and so does runtime.Goexit. They must not call [CNI.Close].
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

// NewCNI stands in for libcni.NewCNIConfigWithCacheDir: path has the directories of plugin binaries, cacheDir is where
// attachments are recorded; empty, it is that of each call, or else libcni.CacheDir.
//
// Options that cannot be are the error of every call.
func NewCNI(path []string, cacheDir string, opts ...Option) *CNI {
	options := cniOptions{BinDirs: path, CacheDir: cacheDir}
	for _, option := range opts {
		option(&options)
	}
	if options.BinDirs == nil {
		options.BinDirs = []string{}
	}
	c := &CNI{env: options.Env, cacheDir: cacheDir, nameless: make(chan struct{}, 1)}
	exec := options.exec
	options.exec = nil
	text, err := encode("options", options)
	if err == nil {
		c.s, err = openSession(text, &session{isRuntime: true, exec: exec, timeout: options.timeout})
	}
	if c.err = err; err == nil {
		// Nobody closes libcni's. Not in the runtime's own goroutine, which must not wait.
		runtime.AddCleanup(c, func(s *session) { go s.close() }, c.s)
	}
	return c
}

// Close ends the running calls and the library's threads, and returns when they have ended. libcni has no such method:
// what is not closed ends when nobody has it any more. The error is always nil.
func (c *CNI) Close() error {
	if c.s != nil {
		c.s.close()
	}
	runtime.KeepAlive(c)
	return nil
}

// AddNetworkList runs ADD of every plugin, each with the result of the one before.
func (c *CNI) AddNetworkList(ctx context.Context, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (types.Result, error) {
	return c.add(ctx, listConf(list), rt)
}

// AddNetwork runs ADD of one plugin.
func (c *CNI) AddNetwork(ctx context.Context, net *libcni.PluginConfig, rt *libcni.RuntimeConf) (types.Result, error) {
	return c.add(ctx, pluginConf(net), rt)
}

func (c *CNI) add(ctx context.Context, conf conf, rt *libcni.RuntimeConf) (types.Result, error) {
	text, err := c.onContainer(ctx, "add", conf, rt)
	if err != nil {
		return nil, err
	}
	return create.CreateFromBytes([]byte(text))
}

// DelNetworkList runs DEL of every plugin in reverse order, up to the first error.
func (c *CNI) DelNetworkList(ctx context.Context, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
	_, err := c.onContainer(ctx, "del", listConf(list), rt)
	return err
}

// DelNetwork runs DEL of one plugin.
func (c *CNI) DelNetwork(ctx context.Context, net *libcni.PluginConfig, rt *libcni.RuntimeConf) error {
	_, err := c.onContainer(ctx, "del", pluginConf(net), rt)
	return err
}

// CheckNetworkList runs CHECK of every plugin. The error is libcni.ErrorCheckNotSupp below version 0.4.0.
func (c *CNI) CheckNetworkList(ctx context.Context, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
	_, err := c.onContainer(ctx, "check", listConf(list), rt)
	return err
}

// CheckNetwork runs CHECK of one plugin. The error is libcni.ErrorCheckNotSupp below version 0.4.0.
func (c *CNI) CheckNetwork(ctx context.Context, net *libcni.PluginConfig, rt *libcni.RuntimeConf) error {
	_, err := c.onContainer(ctx, "check", pluginConf(net), rt)
	return err
}

// GetNetworkListCachedResult returns what ADD answered, in the list's version; nil where nothing is cached.
func (c *CNI) GetNetworkListCachedResult(list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (types.Result, error) {
	return c.cachedResult(listConf(list), rt)
}

// GetNetworkCachedResult returns what ADD answered, in the network's version; nil where nothing is cached.
func (c *CNI) GetNetworkCachedResult(net *libcni.PluginConfig, rt *libcni.RuntimeConf) (types.Result, error) {
	return c.cachedResult(pluginConf(net), rt)
}

// GetNetworkListCachedConfig returns the cached text of the list, and rt with the cached arguments; nil where nothing is
// cached.
func (c *CNI) GetNetworkListCachedConfig(list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) ([]byte, *libcni.RuntimeConf, error) {
	return c.cachedConfig(listConf(list), rt)
}

// GetNetworkCachedConfig returns the cached text of the network, and rt with the cached arguments; nil where nothing is
// cached.
func (c *CNI) GetNetworkCachedConfig(net *libcni.PluginConfig, rt *libcni.RuntimeConf) ([]byte, *libcni.RuntimeConf, error) {
	return c.cachedConfig(pluginConf(net), rt)
}

// cached is what the library knows of an attachment.
type cached struct {
	Result      json.RawMessage `json:"result"`
	ResultError *Error          `json:"resultError"`
	Config      *string         `json:"config"`
	ConfigError *Error          `json:"configError"`
	RT          *struct {
		Args           [][2]string    `json:"args"`
		CapabilityArgs map[string]any `json:"capabilityArgs"`
	} `json:"rt"`
}

func (c *CNI) cached(conf conf, rt *libcni.RuntimeConf) (answer cached, err error) {
	text, err := c.onContainer(context.Background(), "cached", conf, rt)
	if err != nil {
		return answer, err
	}
	return decode[cached](text)
}

func (c *CNI) cachedResult(conf conf, rt *libcni.RuntimeConf) (types.Result, error) {
	answer, err := c.cached(conf, rt)
	switch {
	case err != nil:
		return nil, err
	case answer.ResultError != nil:
		return nil, libcniError(answer.ResultError, nil)
	case len(answer.Result) == 0 || string(answer.Result) == "null":
		return nil, nil
	}
	return create.CreateFromBytes(answer.Result)
}

func (c *CNI) cachedConfig(conf conf, rt *libcni.RuntimeConf) ([]byte, *libcni.RuntimeConf, error) {
	answer, err := c.cached(conf, rt)
	switch {
	case err != nil:
		return nil, nil, err
	case answer.ConfigError != nil:
		return nil, nil, libcniError(answer.ConfigError, nil)
	case answer.Config == nil || answer.RT == nil:
		return nil, nil, nil
	}
	recorded := *rt
	if len(answer.RT.Args) > 0 || len(rt.Args) > 0 {
		recorded.Args = answer.RT.Args
	}
	recorded.CapabilityArgs = orNil(answer.RT.CapabilityArgs)
	return []byte(*answer.Config), &recorded, nil
}

// ValidateNetworkList says whether every plugin is there and supports the list's version, and returns the capabilities
// that they declare.
func (c *CNI) ValidateNetworkList(ctx context.Context, list *libcni.NetworkConfigList) ([]string, error) {
	return c.validate(ctx, listConf(list))
}

// ValidateNetwork says whether the plugin is there and supports the network's version, and returns the capabilities
// that it declares.
func (c *CNI) ValidateNetwork(ctx context.Context, net *libcni.PluginConfig) ([]string, error) {
	return c.validate(ctx, pluginConf(net))
}

func (c *CNI) validate(ctx context.Context, conf conf) ([]string, error) {
	text, err := c.onNetwork(ctx, "validate", conf)
	if err != nil {
		return nil, err
	}
	answer, err := decode[struct {
		Capabilities []string `json:"capabilities"`
	}](text)
	return answer.Capabilities, err
}

// GetStatusNetworkList asks every plugin whether it can serve an ADD, up to the first that cannot.
func (c *CNI) GetStatusNetworkList(ctx context.Context, list *libcni.NetworkConfigList) error {
	_, err := c.onNetwork(ctx, "status", listConf(list))
	return err
}

// GCNetworkList runs DEL of the network's cached attachments that are not valid, then, from version 1.1.0 on, GC of
// every plugin. Everything is tried.
func (c *CNI) GCNetworkList(ctx context.Context, list *libcni.NetworkConfigList, args *libcni.GCArgs) error {
	if args == nil {
		// The library takes no arguments as "no attachment is valid", and has no other word for it.
		_, err := c.call(ctx, &call{}, "gc", listConf(list), nil)
		return joined(err)
	}
	_, err := c.call(ctx, &call{}, "gc", listConf(list), &gcArgs{&callOptions{}, args.ValidAttachments})
	return joined(err)
}

// GetVersionInfo returns which versions of the specification a plugin supports.
func (c *CNI) GetVersionInfo(ctx context.Context, pluginType string) (version.PluginInfo, error) {
	call := &call{}
	text, err := c.call(ctx, call, "plugin_version", conf{text: func() (string, error) { return pluginType, nil }}, &callOptions{})
	switch {
	case err != nil:
		return nil, err
	case call.info != nil:
		return call.info, nil
	}
	return (&version.PluginDecoder{}).Decode([]byte(text))
}

// GetCachedAttachments returns what is cached, of all networks; of one container, if the ID is not empty.
func (c *CNI) GetCachedAttachments(containerID string) ([]*libcni.NetworkAttachment, error) {
	text, err := c.call(context.Background(), &call{}, "attachments",
		conf{text: func() (string, error) { return containerID, nil }}, &callOptions{})
	if err != nil {
		return nil, err
	}
	answer, err := decode[[]struct {
		ContainerID    string         `json:"containerID"`
		Network        string         `json:"network"`
		IfName         string         `json:"ifName"`
		Config         string         `json:"config"`
		NetNS          string         `json:"netns"`
		CniArgs        [][2]string    `json:"cniArgs"`
		CapabilityArgs map[string]any `json:"capabilityArgs"`
	}](text)
	if err != nil {
		return nil, err
	}
	if len(answer) == 0 {
		dir := c.cacheDir
		if dir == "" {
			dir = libcni.CacheDir
		}
		if _, err := os.Stat(filepath.Join(dir, "results")); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	attachments := make([]*libcni.NetworkAttachment, 0, len(answer))
	for _, one := range answer {
		attachment := libcni.NetworkAttachment{
			ContainerID: one.ContainerID, Network: one.Network, IfName: one.IfName, NetNS: one.NetNS,
			CapabilityArgs: orNil(one.CapabilityArgs),
		}
		if one.Config != "" {
			attachment.Config = []byte(one.Config)
		}
		if len(one.CniArgs) > 0 {
			attachment.CniArgs = one.CniArgs
		}
		attachments = append(attachments, &attachment)
	}
	return attachments, nil
}

func orNil(arguments map[string]any) map[string]any {
	if len(arguments) == 0 {
		return nil
	}
	return arguments
}

// callOptions are what every call is told.
type callOptions struct {
	CallID    string            `json:"callId"`
	Env       map[string]string `json:"env,omitempty"`
	TimeoutMs *int64            `json:"timeoutMs,omitempty"`
}

func (o *callOptions) options() *callOptions { return o }

type gcArgs struct {
	*callOptions
	// Never left out: the library would take that for a mistake.
	ValidAttachments []types.GCAttachment `json:"validAttachments"`
}

type runtimeConf struct {
	*callOptions
	ContainerID    string                     `json:"containerID"`
	NetNS          string                     `json:"netns"`
	IfName         string                     `json:"ifName"`
	Args           [][2]string                `json:"args"`
	CapabilityArgs map[string]json.RawMessage `json:"capabilityArgs"`
	CacheDir       string                     `json:"cacheDir,omitempty"`
}

// onNetwork does an operation that is about no container.
func (c *CNI) onNetwork(ctx context.Context, operation string, conf conf) (string, error) {
	return c.call(ctx, &call{}, operation, conf, &callOptions{})
}

// onContainer does an operation that is about one container.
func (c *CNI) onContainer(ctx context.Context, operation string, conf conf, rt *libcni.RuntimeConf) (string, error) {
	if rt == nil {
		return "", newError(ErrInvalidArgument, "rt: nil is not allowed")
	}
	object := runtimeConf{
		callOptions: &callOptions{},
		ContainerID: rt.ContainerID, NetNS: rt.NetNS, IfName: rt.IfName, Args: rt.Args, CacheDir: rt.CacheDir,
		CapabilityArgs: make(map[string]json.RawMessage, len(rt.CapabilityArgs)),
	}
	if object.CacheDir == "" {
		object.CacheDir = libcni.CacheDir
	}
	if strings.IndexByte(rt.NetNS+object.CacheDir, 0) >= 0 || !utf8.ValidString(rt.NetNS+object.CacheDir) {
		return "", newError(ErrInvalidArgument, "rt: a path has a NUL or is not UTF-8")
	}
	for key, value := range rt.CapabilityArgs {
		text, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		object.CapabilityArgs[key] = text
	}
	return c.call(ctx, &call{}, operation, conf, &object)
}

// call does an operation; a nil request is none.
func (c *CNI) call(ctx context.Context, call *call, operation string, conf conf, request interface{ options() *callOptions }) (string, error) {
	defer runtime.KeepAlive(c)
	if c.err != nil {
		return "", c.err
	}
	if ctx.Err() != nil {
		return "", libcniError(contextError(ctx), nil)
	}
	text, err := conf.text()
	if err != nil {
		return "", err
	}
	first, second := argument{"conf", text}, argument{name: "rt"}
	if request != nil {
		options := request.options()
		call.callID = uniqueCallID()
		options.CallID = call.callID
		options.Env = c.environment(ctx)
		var timeout time.Duration
		if timeout, call.limited = limit(ctx, 0, c.s.timeout); timeout != 0 {
			options.TimeoutMs = milliseconds(timeout)
		}
		encoded, err := json.Marshal(request)
		if err != nil {
			return "", err
		}
		second.text = string(encoded)
	}
	if request == nil && c.s.exec != nil {
		select {
		case c.nameless <- struct{}{}:
			defer func() { <-c.nameless }()
		case <-ctx.Done():
			return "", libcniError(contextError(ctx), nil)
		}
	}
	answer, err := c.s.call(ctx, call, operation, first, second)
	var ours *Error
	if errors.As(err, &ours) {
		return "", libcniError(ours, call)
	}
	return answer, err
}

// environment is what the plugins of a call get besides CNI's variables: the environment as it is now, which the library
// itself reads only once, and the trace of the caller.
func (c *CNI) environment(ctx context.Context) map[string]string {
	env := make(map[string]string)
	if c.env == nil {
		for _, line := range os.Environ() {
			if key, value, ok := strings.Cut(line, "="); ok && key != "" && utf8.ValidString(line) {
				env[key] = value
			}
		}
	}
	if c.s.exec == nil {
		addTrace(ctx, env)
	}
	return env
}

// conf is a network's configuration for the library.
type conf struct{ text func() (string, error) }

type plainPlugin struct {
	Type         string          `json:"type"`
	Name         string          `json:"name"`
	CNIVersion   string          `json:"cniVersion"`
	Capabilities map[string]bool `json:"capabilities"`
	Bytes        string          `json:"bytes"`
}

// pluginConf is a single network's.
func pluginConf(net *libcni.PluginConfig) conf {
	return conf{func() (string, error) {
		plugin, err := plainPluginOf(net)
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(plugin)
		return string(text), err
	}}
}

// listConf is a list's.
func listConf(list *libcni.NetworkConfigList) conf {
	return conf{func() (string, error) {
		if list == nil {
			return "", newError(ErrInvalidArgument, "list: nil is not allowed")
		}
		object := struct {
			Name                   string        `json:"name"`
			CNIVersion             string        `json:"cniVersion"`
			DisableCheck           bool          `json:"disableCheck"`
			DisableGC              bool          `json:"disableGC"`
			LoadOnlyInlinedPlugins bool          `json:"loadOnlyInlinedPlugins"`
			Plugins                []plainPlugin `json:"plugins"`
			Bytes                  string        `json:"bytes"`
		}{
			list.Name, list.CNIVersion, list.DisableCheck, list.DisableGC, list.LoadOnlyInlinedPlugins,
			make([]plainPlugin, 0, len(list.Plugins)), string(list.Bytes),
		}
		for _, net := range list.Plugins {
			plugin, err := plainPluginOf(net)
			if err != nil {
				return "", err
			}
			object.Plugins = append(object.Plugins, plugin)
		}
		text, err := json.Marshal(object)
		return string(text), err
	}}
}

func plainPluginOf(net *libcni.PluginConfig) (plugin plainPlugin, err error) {
	if net == nil || net.Network == nil {
		return plugin, newError(ErrInvalidArgument, "a plugin's configuration is nil")
	}
	bytes, err := typed(net)
	if err != nil {
		return plugin, err
	}
	plugin = plainPlugin{net.Network.Type, net.Network.Name, net.Network.CNIVersion, net.Network.Capabilities, bytes}
	if plugin.Capabilities == nil {
		plugin.Capabilities = map[string]bool{}
	}
	return plugin, nil
}

// typed is the text of a plugin's configuration. Programs that make one without a file may have left the type out of
// the text, or all of it; the library wants it there.
func typed(net *libcni.PluginConfig) (string, error) {
	var object map[string]json.RawMessage
	if len(net.Bytes) > 0 {
		if err := json.Unmarshal(net.Bytes, &object); err != nil {
			return "", fmt.Errorf("unmarshal existing network bytes: %w", err)
		}
	}
	for key, value := range object {
		if strings.EqualFold(key, "type") && string(value) != "null" && string(value) != `""` {
			return string(net.Bytes), nil
		}
	}
	if object == nil {
		object = make(map[string]json.RawMessage)
	}
	kind := net.Network.Type
	if kind == "" {
		// It is looked for by its empty name, and not found.
		kind = "none"
	}
	object["type"], _ = json.Marshal(kind)
	text, err := json.Marshal(object)
	return string(text), err
}
