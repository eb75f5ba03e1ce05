package cnirt

import (
	"encoding/json"
	"time"
)

// PodRequest is what an operation on a pod is told. Only ID is needed everywhere; a set-up needs a namespace too, here
// or by Callbacks.GetNetNS.
//
// In JSON the keys are the library's; the timeout is whole milliseconds (timeoutMs).
type PodRequest struct {
	// ID is the container ID of the pod's sandbox.
	ID string `json:"id"`
	// Namespace is the pod's Kubernetes namespace (K8S_POD_NAMESPACE).
	Namespace string `json:"namespace,omitempty"`
	// Name is the pod's name (K8S_POD_NAME).
	Name string `json:"name,omitempty"`
	// UID is the pod's (K8S_POD_UID).
	UID string `json:"uid,omitempty"`
	// NetNS is the path of the pod's network namespace.
	NetNS string `json:"netns,omitempty"`
	// IfName is the default network's interface; else the option's.
	IfName string `json:"ifName,omitempty"`
	// Annotations are the pod's; bandwidth limits are taken from them.
	Annotations map[string]string `json:"annotations,omitempty"`
	// PortMappings, if nil, are asked of Callbacks.GetPodPortMappings.
	PortMappings []PortMapping `json:"portMappings,omitzero"`
	// Bandwidth limits; else those of the annotations.
	Bandwidth *Bandwidth `json:"bandwidth,omitempty"`
	// IPRanges are the capability ipRanges; else the pod CIDR's.
	IPRanges [][]IPRange `json:"ipRanges,omitzero"`
	// DNS is the pod's resolver (capability dns).
	DNS *DNS `json:"dns,omitempty"`
	// IPs are wanted addresses, with or without prefix, for the first network.
	IPs []string `json:"ips,omitempty"`
	// MAC is the wanted hardware address, for the first network.
	MAC string `json:"mac,omitempty"`
	// Aliases are the capability aliases.
	Aliases []string `json:"aliases,omitempty"`
	// CgroupPath is the capability cgroupPath.
	CgroupPath string `json:"cgroupPath,omitempty"`
	// CNIArgs are more CNI_ARGS, key and value, in order, after the kubelet's.
	CNIArgs [][2]string `json:"cniArgs,omitempty"`
	// CapabilityArgs win over everything above.
	CapabilityArgs map[string]any `json:"capabilityArgs,omitempty"`
	// Networks, if nil, are the default network; else exactly these, in order.
	Networks []NetworkRequest `json:"networks,omitzero"`
	// Timeout limits this call; zero is the option's, NoLimit is none. A context's deadline only shortens it.
	Timeout time.Duration `json:"-"`
	// Env is for every plugin of this call.
	Env map[string]string `json:"env,omitempty"`
	// CallID names the call for callbacks and Plugin.Cancel; without one it gets one of its own. Of two calls with the
	// same one that run at a time, either gets the callbacks.
	CallID string `json:"callId,omitempty"`
	// Replace makes a set-up remove first what the pod has of the requested networks and on their interfaces.
	Replace bool `json:"replace,omitempty"`
	// Force makes a teardown go on after errors and forget the attachments in any case. See TearDownResult.Errors.
	Force bool `json:"force,omitempty"`
}

// NetworkRequest is one network of a pod request: exactly one of Name, Default and Config says which.
type NetworkRequest struct {
	// Name of a network in the configuration directory.
	Name string `json:"name,omitempty"`
	// Default stands for the default network.
	Default bool `json:"default,omitempty"`
	// Config is a configuration, a list or a single plugin's.
	Config json.RawMessage `json:"config,omitempty"`
	// IfName is the interface in the pod; else the first free ethN.
	IfName string `json:"ifName,omitempty"`
	// IPs are wanted addresses.
	IPs []string `json:"ips,omitempty"`
	// MAC is the wanted hardware address.
	MAC string `json:"mac,omitempty"`
	// Args are merged into each plugin's args.
	Args map[string]any `json:"args,omitempty"`
	// CNIArgs are more CNI_ARGS.
	CNIArgs [][2]string `json:"cniArgs,omitempty"`
	// CapabilityArgs win over the pod's.
	CapabilityArgs map[string]any `json:"capabilityArgs,omitempty"`
}

// PortMapping is a port of the host that leads to one of the pod.
type PortMapping struct {
	// HostPort is the host's; a mapping without one is dropped.
	HostPort int32 `json:"hostPort,omitempty"`
	// ContainerPort is the pod's.
	ContainerPort int32 `json:"containerPort"`
	// Protocol is tcp (the default), udp or sctp.
	Protocol string `json:"protocol,omitempty"`
	// HostIP is the host's address; empty for all.
	HostIP string `json:"hostIP,omitempty"`
}

// Bandwidth limits a pod's traffic: rates in bits per second, bursts in bits.
type Bandwidth struct {
	// IngressRate and IngressBurst are into the pod.
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	// EgressRate and EgressBurst are out of the pod.
	EgressRate  uint64 `json:"egressRate,omitempty"`
	EgressBurst uint64 `json:"egressBurst,omitempty"`
}

// IPRange is a range that a pod's address comes from.
type IPRange struct {
	// Subnet in CIDR notation.
	Subnet string `json:"subnet"`
	// RangeStart is the first address.
	RangeStart string `json:"rangeStart,omitempty"`
	// RangeEnd is the last address.
	RangeEnd string `json:"rangeEnd,omitempty"`
	// Gateway is the address of the gateway.
	Gateway string `json:"gateway,omitempty"`
}

// DNS is a pod's resolver configuration.
type DNS struct {
	// Servers are the name servers.
	Servers []string `json:"servers,omitempty"`
	// Searches are the search domains.
	Searches []string `json:"searches,omitempty"`
	// Options are the resolver's.
	Options []string `json:"options,omitempty"`
}

type plainPodRequest PodRequest

type podRequestJSON struct {
	plainPodRequest
	TimeoutMs *int64 `json:"timeoutMs,omitempty"`
}

// MarshalJSON makes the JSON object that the library reads.
func (r PodRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(podRequestJSON{plainPodRequest(r), milliseconds(r.Timeout)})
}

// UnmarshalJSON reads what MarshalJSON makes.
func (r *PodRequest) UnmarshalJSON(text []byte) error {
	object := podRequestJSON{plainPodRequest: plainPodRequest(*r)}
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	*r = PodRequest(object.plainPodRequest)
	setDuration(&r.Timeout, object.TimeoutMs)
	return nil
}
