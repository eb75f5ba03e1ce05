package cnirt

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

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
