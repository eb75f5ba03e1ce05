package cnirt

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// PodIdentity says which pod.
type PodIdentity struct {
	// Namespace is the pod's Kubernetes namespace, or empty.
	Namespace string `json:"namespace"`
	// Name is the pod's name, or empty.
	Name string `json:"name"`
	// ID is the container ID of its sandbox.
	ID string `json:"id"`
}

// PodResult is the answer of a set-up.
type PodResult struct {
	// Pod says which one.
	Pod PodIdentity `json:"pod"`
	// IPs are the addresses of the first network's interface.
	IPs []netip.Addr `json:"ips"`
	// Networks are in the order in which they were attached.
	Networks []NetworkResult `json:"networks"`
}

// NetworkResult is one network's result.
type NetworkResult struct {
	Attachment
	// Result is the CNI result as it is, in the network's version; null where nothing is recorded. See Decode.
	Result json.RawMessage `json:"result"`
}

// Attachment names one network of a pod.
type Attachment struct {
	// Network is its name.
	Network string `json:"network"`
	// IfName is the interface in the pod.
	IfName string `json:"ifName"`
}

// PodStatus is the answer of Plugin.PodStatus.
type PodStatus struct {
	PodResult
	// Source of the addresses: "netlink" (the pod's namespace), or "cache" where that is gone.
	Source string `json:"source"`
}

// TearDownResult says what a teardown removed.
type TearDownResult struct {
	// Pod says which one.
	Pod PodIdentity `json:"pod"`
	// Networks are the removed attachments.
	Networks []Attachment `json:"networks"`
	// Errors are those of a forced teardown: what may be left behind although its record is gone.
	Errors []*Error `json:"errors,omitempty"`
}

// CheckResult is the answer of Plugin.CheckPod.
type CheckResult struct {
	// Pod says which one.
	Pod PodIdentity `json:"pod"`
	// Networks are the pod's attachments.
	Networks []CheckedNetwork `json:"networks"`
}

// CheckedNetwork is one attachment that is as it was made, as far as its plugins can tell.
type CheckedNetwork struct {
	Attachment
	// Checked is false where the network's version has no CHECK, or its configuration says disableCheck.
	Checked bool `json:"checked"`
}

// KnownPod is a pod that is recorded.
type KnownPod struct {
	// Pod says which one.
	Pod PodIdentity `json:"pod"`
	// Networks are its attachments.
	Networks []KnownNetwork `json:"networks"`
}

// KnownNetwork is a recorded attachment.
type KnownNetwork struct {
	Attachment
	// NetNS is the recorded path of the namespace, or empty.
	NetNS string `json:"netns"`
	// Owner is who made it; nil where another runtime did.
	Owner *string `json:"owner"`
	// Unfinished says that a set-up is under way, or neither ended well nor could be undone.
	Unfinished bool `json:"unfinished"`
}

// Status is whether pods can be set up, and what is configured.
type Status struct {
	// Ready says whether pods can be set up on the default network.
	Ready bool `json:"ready"`
	// Reason says why not, or what is limited.
	Reason string `json:"reason,omitempty"`
	// Code is the CNI code behind Reason (50, 51, …).
	Code uint64 `json:"code,omitempty"`
	// LimitedConnectivity says that plugins answered with code 51.
	LimitedConnectivity bool `json:"limitedConnectivity,omitempty"`
	// DefaultNetwork is the default network's name.
	DefaultNetwork string `json:"defaultNetwork,omitempty"`
	// PodCIDR is the node's.
	PodCIDR string `json:"podCidr,omitempty"`
	// LastLoad tells how the last reading of the configuration went.
	LastLoad LastLoad `json:"lastLoad"`
	// Networks are all network files, valid or not.
	Networks []NetworkStatus `json:"networks"`
}

// LastLoad tells how a reading of the configuration went.
type LastLoad struct {
	// OK says whether it found a default network.
	OK bool `json:"ok"`
	// Error says why not.
	Error string `json:"error,omitempty"`
}

// NetworkStatus is one network file.
type NetworkStatus struct {
	// Name of the network, empty where the file cannot be read.
	Name string `json:"name"`
	// File is its path.
	File string `json:"file"`
	// CNIVersion is what its plugins run with.
	CNIVersion string `json:"cniVersion"`
	// Valid says whether it could serve as default network.
	Valid bool `json:"valid"`
	// Reason says why not.
	Reason string `json:"reason,omitempty"`
	// Capabilities that its plugins declare, sorted.
	Capabilities []string `json:"capabilities"`
	// Plugins, in order.
	Plugins []PluginStatus `json:"plugins"`
}

// PluginStatus is one plugin of a network.
type PluginStatus struct {
	// Type is the plugin's.
	Type string `json:"type"`
	// File that configures it.
	File string `json:"file"`
	// Path of the binary, where there is one.
	Path string `json:"path,omitempty"`
	// Engine that runs it: "process" or "builtin".
	Engine string `json:"engine"`
}

// Result is a CNI result of version 0.3.0 or later, as far as runtimes need it.
type Result struct {
	// CNIVersion of the result.
	CNIVersion string `json:"cniVersion"`
	// Interfaces that plugins made, the host's ones too.
	Interfaces []Interface `json:"interfaces"`
	// IPs of the interfaces.
	IPs []IPConfig `json:"ips"`
	// Routes in the pod.
	Routes []Route `json:"routes"`
	// DNS is what the network says about it.
	DNS ResultDNS `json:"dns"`
}

// Interface is one of a result.
type Interface struct {
	// Name of the interface.
	Name string `json:"name"`
	// MAC is its hardware address.
	MAC string `json:"mac"`
	// MTU of the interface, 0 where unknown.
	MTU int `json:"mtu"`
	// Sandbox is the path of its namespace; empty for the host's.
	Sandbox string `json:"sandbox"`
}

// IPConfig is one address of a result.
type IPConfig struct {
	// Address with its prefix.
	Address netip.Prefix `json:"address"`
	// Gateway, if valid.
	Gateway netip.Addr `json:"gateway"`
	// Interface is an index into the result's interfaces, or nil.
	Interface *int `json:"interface"`
}

// Route is one of a result.
type Route struct {
	// Dst is its destination.
	Dst netip.Prefix `json:"dst"`
	// GW is the gateway, if valid.
	GW netip.Addr `json:"gw"`
}

// ResultDNS is what a network says about name servers.
type ResultDNS struct {
	// Nameservers in order of preference.
	Nameservers []string `json:"nameservers"`
	// Domain is the local one.
	Domain string `json:"domain"`
	// Search domains.
	Search []string `json:"search"`
	// Options of the resolver.
	Options []string `json:"options"`
}

// Decode reads the CNI result. Results before version 0.3.0 have another shape and are ErrUnsupported, and null is
// ErrNotFound.
func (n NetworkResult) Decode() (*Result, error) {
	var result *Result
	if err := json.Unmarshal(n.Result, &result); err != nil {
		return nil, fmt.Errorf("cnirt: the result of network %q: %w", n.Network, err)
	}
	if result == nil {
		return nil, newError(ErrNotFound, fmt.Sprintf("there is no result of network %q", n.Network))
	}
	switch result.CNIVersion {
	case "", "0.1.0", "0.2.0":
		return nil, newError(ErrUnsupported, fmt.Sprintf("the result of network %q is of version %q", n.Network, result.CNIVersion))
	}
	return result, nil
}
