package cnirt_test

import (
	"context"
	"errors"
	"fmt"

	cnirt "github.com/cnirt/cnirt/bindings/go"
)

func Example() {
	// The plugin that does nothing; without Plugin it is CNI's.
	plugin, err := cnirt.NewPlugin(cnirt.Options{Plugin: cnirt.PluginNoop})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer plugin.Close()
	result, err := plugin.SetUpPod(context.Background(), cnirt.PodRequest{ID: "4f1c", Name: "web", NetNS: "/run/netns/web"})
	fmt.Println(plugin.Name(), result.Pod.Name, err)
	// Output: kubernetes.io/no-op web <nil>
}

func ExampleError() {
	_, err := cnirt.NewPlugin(cnirt.Options{IPPreference: "ipv5"})
	var details *cnirt.Error
	if errors.Is(err, cnirt.ErrInvalidArgument) && errors.As(err, &details) {
		fmt.Println(details.Class, details.Msg)
	}
	// Output: CNI_E_INVALID_ARGUMENT plugin options, key "ipPreference": "ipv5" is none of cni, ipv4, ipv6
}
