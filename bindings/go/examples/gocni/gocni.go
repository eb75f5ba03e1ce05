// Package gocni shows containerd's go-cni (github.com/containerd/go-cni v1.1.14) over cnirt.
//
// go-cni has no way to be given a libcni.CNI: gocni.New and its option WithPluginDir make libcni's CNIConfig themselves,
// with invoke.DefaultExec, and a gocni.Opt changes a type that is not exported. What a runtime holds, though, is the
// interface gocni.CNI, and [CNI] is the smallest type that satisfies it over any libcni.CNI, such as a [cnirt.CNI].
//
// What differs from go-cni's own:
//   - The options of go-cni cannot be read. [Options] stands for gocni.Opt, [WithCapability] and [WithArgs] for
//     gocni.NamespaceOpts of the same names. Go-cni's own are refused with [ErrOption], not ignored.
//   - Result.Raw is nil, as its field is not exported.
//   - Networks are attached one after another by Setup, too.
package gocni

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	gocni "github.com/containerd/go-cni"
	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// ErrOption is the error of a method that got an option of go-cni's own.
var ErrOption = errors.New("an option of go-cni cannot be read: use this package's")

var _ gocni.CNI = (*CNI)(nil)

// Options stand for gocni.Opt. The zero value is go-cni's defaults, with the default network and no loopback.
type Options struct {
	// PluginDirs are what GetConfig tells; who finds plugins is the libcni.CNI.
	PluginDirs []string
	// ConfDir has the network configurations; /etc/cni/net.d.
	ConfDir string
	// MaxConf is how many of them, at most, are networks of every pod; 1, and a negative one is all.
	MaxConf int
	// Prefix of interface names; eth.
	Prefix string
	// Loopback adds the network of the interface lo.
	Loopback bool
}

// CNI is go-cni's interface over a libcni.CNI.
type CNI struct {
	cni     libcni.CNI
	options Options

	mu       sync.RWMutex
	networks []network
}

type network struct {
	list   *libcni.NetworkConfigList
	ifName string
}

// New makes a CNI; nothing is configured before Load.
func New(cni libcni.CNI, options Options) *CNI {
	if options.ConfDir == "" {
		options.ConfDir = gocni.DefaultNetDir
	}
	if options.MaxConf == 0 {
		options.MaxConf = gocni.DefaultMaxConfNum
	}
	if options.Prefix == "" {
		options.Prefix = gocni.DefaultPrefix
	}
	return &CNI{cni: cni, options: options}
}

const loopback = `{"cniVersion":"0.3.1","name":"cni-loopback","plugins":[{"type":"loopback"}]}`

// Load reads the configuration directory.
func (c *CNI) Load(opts ...gocni.Opt) error {
	if len(opts) > 0 {
		return fmt.Errorf("%w: %w", gocni.ErrLoad, ErrOption)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.networks = nil
	if c.options.Loopback {
		list, err := libcni.ConfListFromBytes([]byte(loopback))
		if err != nil {
			return err
		}
		c.networks = append(c.networks, network{list, "lo"})
	}
	files, err := libcni.ConfFiles(c.options.ConfDir, []string{".conf", ".conflist", ".json"})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w: %w", gocni.ErrLoad, gocni.ErrRead, err)
	case len(files) == 0:
		return fmt.Errorf("%w: no network config found in %s: %w", gocni.ErrLoad, c.options.ConfDir, gocni.ErrCNINotInitialized)
	}
	slices.Sort(files)
	if c.options.MaxConf > 0 && len(files) > c.options.MaxConf {
		files = files[:c.options.MaxConf]
	}
	for i, file := range files {
		list, err := load(file)
		if err != nil {
			return fmt.Errorf("%w: %s: %w: %w", gocni.ErrLoad, file, gocni.ErrInvalidConfig, err)
		}
		c.networks = append(c.networks, network{list, fmt.Sprint(c.options.Prefix, i)})
	}
	return nil
}

func load(file string) (*libcni.NetworkConfigList, error) {
	if filepath.Ext(file) == ".conflist" {
		return libcni.ConfListFromFile(file)
	}
	conf, err := libcni.ConfFromFile(file)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromConf(conf)
}

// Status says whether a network is configured, and whether its plugins can serve.
func (c *CNI) Status() error {
	networks, err := c.ready()
	if err != nil {
		return err
	}
	for _, network := range networks {
		if err := c.cni.GetStatusNetworkList(context.Background(), network.list); err != nil {
			return err
		}
	}
	return nil
}

func (c *CNI) ready() ([]network, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.networks) == 0 {
		return nil, gocni.ErrCNINotInitialized
	}
	return c.networks, nil
}

// Setup attaches a container to every network.
func (c *CNI) Setup(ctx context.Context, id, path string, opts ...gocni.NamespaceOpts) (*gocni.Result, error) {
	return c.SetupSerially(ctx, id, path, opts...)
}

// SetupSerially attaches a container to every network, one after another.
func (c *CNI) SetupSerially(ctx context.Context, id, path string, opts ...gocni.NamespaceOpts) (*gocni.Result, error) {
	networks, err := c.ready()
	if err != nil {
		return nil, err
	}
	rt, err := runtimeConf(id, path, opts)
	if err != nil {
		return nil, err
	}
	var results []*types100.Result
	for _, network := range networks {
		added, err := c.cni.AddNetworkList(ctx, network.list, rt(network.ifName))
		if err != nil {
			return nil, err
		}
		result, err := types100.NewResultFromResult(added)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return c.result(results)
}

// Remove detaches a container from every network. What is gone already is no error.
func (c *CNI) Remove(ctx context.Context, id, path string, opts ...gocni.NamespaceOpts) error {
	networks, err := c.ready()
	if err != nil {
		return err
	}
	rt, err := runtimeConf(id, path, opts)
	if err != nil {
		return err
	}
	for _, network := range networks {
		err := c.cni.DelNetworkList(ctx, network.list, rt(network.ifName))
		switch {
		case err == nil:
		case path == "" && strings.Contains(err.Error(), "no such file or directory"):
		case strings.Contains(err.Error(), "not found"):
		default:
			return err
		}
	}
	return nil
}

// Check asks whether a container's networks are as they were made.
func (c *CNI) Check(ctx context.Context, id, path string, opts ...gocni.NamespaceOpts) error {
	networks, err := c.ready()
	if err != nil {
		return err
	}
	rt, err := runtimeConf(id, path, opts)
	if err != nil {
		return err
	}
	for _, network := range networks {
		if err := c.cni.CheckNetworkList(ctx, network.list, rt(network.ifName)); err != nil {
			return err
		}
	}
	return nil
}

// GetConfig returns what Load read.
func (c *CNI) GetConfig() *gocni.ConfigResult {
	c.mu.RLock()
	defer c.mu.RUnlock()
	config := &gocni.ConfigResult{
		PluginDirs: c.options.PluginDirs, PluginConfDir: c.options.ConfDir, PluginMaxConfNum: c.options.MaxConf,
		Prefix: c.options.Prefix,
	}
	for _, network := range c.networks {
		list := &gocni.NetworkConfList{
			Name: network.list.Name, CNIVersion: network.list.CNIVersion, Source: string(network.list.Bytes),
		}
		for _, plugin := range network.list.Plugins {
			list.Plugins = append(list.Plugins, &gocni.NetworkConf{Network: plugin.Network, Source: string(plugin.Bytes)})
		}
		config.Networks = append(config.Networks, &gocni.ConfNetwork{Config: list, IFName: network.ifName})
	}
	return config
}

// result is what go-cni makes of CNI results.
func (c *CNI) result(results []*types100.Result) (*gocni.Result, error) {
	first := c.options.Prefix + "0"
	all := &gocni.Result{Interfaces: map[string]*gocni.Config{first: {}}}
	for _, result := range results {
		for _, one := range result.Interfaces {
			all.Interfaces[one.Name] = &gocni.Config{
				Mac: one.Mac, Sandbox: one.Sandbox, SocketPath: one.SocketPath, PciID: one.PciID,
			}
		}
		for _, ip := range result.IPs {
			name := first
			if ip.Interface != nil {
				if *ip.Interface < 0 || *ip.Interface >= len(result.Interfaces) {
					return nil, fmt.Errorf("there is no interface number %d: %w", *ip.Interface, gocni.ErrInvalidResult)
				}
				name = result.Interfaces[*ip.Interface].Name
			}
			all.Interfaces[name].IPConfigs = append(all.Interfaces[name].IPConfigs,
				&gocni.IPConfig{IP: ip.Address.IP, Gateway: ip.Gateway})
		}
		all.DNS = append(all.DNS, result.DNS)
		all.Routes = append(all.Routes, result.Routes...)
	}
	return all, nil
}

// settings are what this package's options say. They find theirs by the namespace that they are called with, which
// go-cni lets nobody write to.
type settings struct {
	args           [][2]string
	capabilityArgs map[string]any
}

var open sync.Map

func setting(set func(*settings)) gocni.NamespaceOpts {
	return func(namespace *gocni.Namespace) error {
		found, ok := open.Load(namespace)
		if !ok {
			return errors.New("this option is for a CNI of its own package")
		}
		set(found.(*settings))
		return nil
	}
}

// WithCapability sets a capability argument: "portMappings" and a []gocni.PortMapping, and so on.
func WithCapability(name string, capability any) gocni.NamespaceOpts {
	return setting(func(s *settings) { s.capabilityArgs[name] = capability })
}

// WithArgs adds one of the CNI_ARGS.
func WithArgs(key, value string) gocni.NamespaceOpts {
	return setting(func(s *settings) { s.args = append(s.args, [2]string{key, value}) })
}

// runtimeConf reads the options.
func runtimeConf(id, path string, opts []gocni.NamespaceOpts) (func(ifName string) *libcni.RuntimeConf, error) {
	s := &settings{capabilityArgs: make(map[string]any)}
	namespace := new(gocni.Namespace)
	open.Store(namespace, s)
	defer open.Delete(namespace)
	for _, opt := range opts {
		if err := apply(opt, namespace); err != nil {
			return nil, err
		}
	}
	return func(ifName string) *libcni.RuntimeConf {
		return &libcni.RuntimeConf{
			ContainerID: id, NetNS: path, IfName: ifName, Args: s.args, CapabilityArgs: s.capabilityArgs,
		}
	}, nil
}

// apply calls an option. Go-cni's own write to maps that only go-cni can make.
func apply(opt gocni.NamespaceOpts, namespace *gocni.Namespace) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrOption
		}
	}()
	return opt(namespace)
}
