package oracle

// #include <stdlib.h>
// #include <cnirt.h>
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"
)

// abiCNI is libcni.CNI straight over cni_runtime_*: what the C library does, without the Go module.
type abiCNI struct{ handle *C.cni_runtime }

var _ libcni.CNI = (*abiCNI)(nil)

func newABI(path []string, cacheDir string) (*abiCNI, error) {
	options, err := json.Marshal(map[string]any{"binDirs": path, "cacheDir": cacheDir, "durability": "atomic"})
	if err != nil {
		return nil, err
	}
	text := C.CString(string(options))
	defer C.free(unsafe.Pointer(text))
	var handle *C.cni_runtime
	var failure *C.char
	if C.cni_runtime_new(text, nil, &handle, &failure) != C.CNI_OK {
		defer C.cni_string_free(failure)
		return nil, errors.New(C.GoString(failure))
	}
	return &abiCNI{handle}, nil
}

func (a *abiCNI) Close() { C.cni_runtime_free(a.handle) }

// abiError has the words of an error object, and the plugin's own error below them.
type abiError struct {
	msg   string
	below error
}

func (e *abiError) Error() string { return e.msg }
func (e *abiError) Unwrap() error { return e.below }

func toError(text string) error {
	var object struct {
		Msg, Class, Details string
		Cause               *types.Error
	}
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return err
	}
	failure := &abiError{msg: object.Msg}
	if object.Cause != nil {
		failure.below = object.Cause
	} else if strings.HasSuffix(object.Msg, libcni.ErrorCheckNotSupp.Error()) {
		failure.below = libcni.ErrorCheckNotSupp
	}
	return failure
}

// start runs a call in the background and waits, so that a context can end it.
func (a *abiCNI) start(ctx context.Context, operation, conf string, rt any) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	cOperation, cConf, cRT := C.CString(operation), C.CString(conf), (*C.char)(nil)
	defer C.free(unsafe.Pointer(cOperation))
	defer C.free(unsafe.Pointer(cConf))
	if rt != nil {
		text, err := json.Marshal(rt)
		if err != nil {
			return "", err
		}
		cRT = C.CString(string(text))
		defer C.free(unsafe.Pointer(cRT))
	}
	var op *C.cni_op
	var out *C.char
	if C.cni_runtime_start(a.handle, cOperation, cConf, cRT, &op, &out) != C.CNI_OK {
		defer C.cni_string_free(out)
		return "", toError(C.GoString(out))
	}
	for C.cni_op_wait(op, 5) == C.CNI_E_TIMEOUT {
		if ctx.Err() != nil {
			_ = C.cni_op_cancel(op)
		}
		time.Sleep(0)
	}
	rc := C.cni_op_finish(op, &out)
	defer C.cni_string_free(out)
	if rc != C.CNI_OK {
		return "", toError(C.GoString(out))
	}
	return C.GoString(out), nil
}

func toConf(plugin *libcni.PluginConfig) map[string]any {
	capabilities := plugin.Network.Capabilities
	if capabilities == nil {
		capabilities = map[string]bool{}
	}
	return map[string]any{"type": plugin.Network.Type, "name": plugin.Network.Name, "cniVersion": plugin.Network.CNIVersion,
		"capabilities": capabilities, "bytes": string(plugin.Bytes)}
}

func listText(list *libcni.NetworkConfigList) string {
	plugins := []any{}
	for _, plugin := range list.Plugins {
		conf := toConf(plugin)
		delete(conf, "cniVersion")
		plugins = append(plugins, conf)
	}
	text, err := json.Marshal(map[string]any{"name": list.Name, "cniVersion": list.CNIVersion, "disableCheck": list.DisableCheck,
		"disableGC": list.DisableGC, "loadOnlyInlinedPlugins": list.LoadOnlyInlinedPlugins, "plugins": plugins, "bytes": string(list.Bytes)})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func oneText(one *libcni.PluginConfig) string {
	text, err := json.Marshal(toConf(one))
	if err != nil {
		panic(err)
	}
	return string(text)
}

func toRT(rt *libcni.RuntimeConf) map[string]any {
	object := map[string]any{"containerID": rt.ContainerID, "netns": rt.NetNS, "ifName": rt.IfName}
	if rt.Args != nil {
		object["args"] = rt.Args
	}
	if rt.CapabilityArgs != nil {
		object["capabilityArgs"] = rt.CapabilityArgs
	}
	if rt.CacheDir != "" {
		object["cacheDir"] = rt.CacheDir
	}
	return object
}

func toResult(text string, err error) (types.Result, error) {
	if err != nil || text == "null" {
		return nil, err
	}
	return create.CreateFromBytes([]byte(text))
}

func (a *abiCNI) cachedOf(conf string, rt *libcni.RuntimeConf) (types.Result, error, []byte, *libcni.RuntimeConf, error) {
	text, err := a.start(context.Background(), "cached", conf, toRT(rt))
	if err != nil {
		return nil, err, nil, nil, err
	}
	var cached struct {
		Result, ResultError, ConfigError json.RawMessage
		Config                           *string
		RT                               *libcni.RuntimeConf
	}
	if err := json.Unmarshal([]byte(text), &cached); err != nil {
		return nil, err, nil, nil, err
	}
	result, resultErr := toResult(string(cached.Result), nil)
	if len(cached.ResultError) > 0 {
		resultErr = toError(string(cached.ResultError))
	}
	if len(cached.ConfigError) > 0 {
		return result, resultErr, nil, nil, toError(string(cached.ConfigError))
	}
	if cached.Config == nil {
		return result, resultErr, nil, nil, nil
	}
	cached.RT.Args, cached.RT.CapabilityArgs = orNil(cached.RT.Args), orNilMap(cached.RT.CapabilityArgs)
	return result, resultErr, []byte(*cached.Config), cached.RT, nil
}

// orNil and orNilMap: in the C ABI what is absent is empty, in Go it is nil.
func orNil(list [][2]string) [][2]string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func orNilMap(values map[string]any) map[string]any {
	if len(values) == 0 {
		return nil
	}
	return values
}

func (a *abiCNI) AddNetworkList(ctx context.Context, net *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (types.Result, error) {
	return toResult(a.start(ctx, "add", listText(net), toRT(rt)))
}

func (a *abiCNI) CheckNetworkList(ctx context.Context, net *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
	_, err := a.start(ctx, "check", listText(net), toRT(rt))
	return err
}

func (a *abiCNI) DelNetworkList(ctx context.Context, net *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
	_, err := a.start(ctx, "del", listText(net), toRT(rt))
	return err
}

func (a *abiCNI) GetNetworkListCachedResult(net *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (types.Result, error) {
	result, err, _, _, _ := a.cachedOf(listText(net), rt)
	return result, err
}

func (a *abiCNI) GetNetworkListCachedConfig(net *libcni.NetworkConfigList, rt *libcni.RuntimeConf) ([]byte, *libcni.RuntimeConf, error) {
	_, _, config, cached, err := a.cachedOf(listText(net), rt)
	return config, cached, err
}

func (a *abiCNI) AddNetwork(ctx context.Context, net *libcni.PluginConfig, rt *libcni.RuntimeConf) (types.Result, error) {
	return toResult(a.start(ctx, "add", oneText(net), toRT(rt)))
}

func (a *abiCNI) CheckNetwork(ctx context.Context, net *libcni.PluginConfig, rt *libcni.RuntimeConf) error {
	_, err := a.start(ctx, "check", oneText(net), toRT(rt))
	return err
}

func (a *abiCNI) DelNetwork(ctx context.Context, net *libcni.PluginConfig, rt *libcni.RuntimeConf) error {
	_, err := a.start(ctx, "del", oneText(net), toRT(rt))
	return err
}

func (a *abiCNI) GetNetworkCachedResult(net *libcni.PluginConfig, rt *libcni.RuntimeConf) (types.Result, error) {
	result, err, _, _, _ := a.cachedOf(oneText(net), rt)
	return result, err
}

func (a *abiCNI) GetNetworkCachedConfig(net *libcni.PluginConfig, rt *libcni.RuntimeConf) ([]byte, *libcni.RuntimeConf, error) {
	_, _, config, cached, err := a.cachedOf(oneText(net), rt)
	return config, cached, err
}

func capabilitiesOf(text string, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	var said struct{ Capabilities []string }
	err = json.Unmarshal([]byte(text), &said)
	return said.Capabilities, err
}

func (a *abiCNI) ValidateNetworkList(ctx context.Context, net *libcni.NetworkConfigList) ([]string, error) {
	return capabilitiesOf(a.start(ctx, "validate", listText(net), nil))
}

func (a *abiCNI) ValidateNetwork(ctx context.Context, net *libcni.PluginConfig) ([]string, error) {
	return capabilitiesOf(a.start(ctx, "validate", oneText(net), nil))
}

func (a *abiCNI) GCNetworkList(ctx context.Context, net *libcni.NetworkConfigList, args *libcni.GCArgs) error {
	var given any
	if args != nil {
		given = map[string]any{"validAttachments": args.ValidAttachments}
	}
	_, err := a.start(ctx, "gc", listText(net), given)
	return err
}

func (a *abiCNI) GetStatusNetworkList(ctx context.Context, net *libcni.NetworkConfigList) error {
	_, err := a.start(ctx, "status", listText(net), nil)
	return err
}

func (a *abiCNI) GetCachedAttachments(containerID string) ([]*libcni.NetworkAttachment, error) {
	text, err := a.start(context.Background(), "attachments", containerID, nil)
	if err != nil {
		return nil, err
	}
	var said []struct {
		ContainerID, Network, IfName, Config, NetNS string
		CniArgs                                     [][2]string
		CapabilityArgs                              map[string]any
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return nil, err
	}
	list := []*libcni.NetworkAttachment{}
	for _, one := range said {
		list = append(list, &libcni.NetworkAttachment{ContainerID: one.ContainerID, Network: one.Network, IfName: one.IfName,
			Config: []byte(one.Config), NetNS: one.NetNS, CniArgs: orNil(one.CniArgs), CapabilityArgs: orNilMap(one.CapabilityArgs)})
	}
	return list, nil
}

func (a *abiCNI) GetVersionInfo(ctx context.Context, pluginType string) (version.PluginInfo, error) {
	text, err := a.start(ctx, "plugin_version", pluginType, nil)
	if err != nil {
		return nil, err
	}
	var said struct{ SupportedVersions []string }
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return nil, fmt.Errorf("plugin_version: %w", err)
	}
	return version.PluginSupports(said.SupportedVersions...), nil
}
