package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
)

var _ libcni.CNI = (*CNI)(nil)

// CNI is libcni's CNIConfig, on libcni's own types: a program that has one of libcni's can have this one in its place.
//
// It runs the plugins of one network for one container, and keeps what they said. It knows no pods and takes no lock.
// Any number of goroutines may use it. The error of a call that its context ended is also that context's error. A call
// whose context is over begins nothing, and no plugin has run where a plugin's text is not JSON.
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
