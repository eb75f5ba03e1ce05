// Pod attaches a pod to the default network, prints its addresses, and takes it off again. It needs root, a network
// configuration and CNI plugins.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"time"

	cnirt "github.com/cnirt/cnirt/bindings/go"
)

func main() {
	conf := flag.String("conf", "/etc/cni/net.d", "where network configurations are")
	cache := flag.String("cache", "/var/lib/cni", "where attachments are recorded")
	netns := flag.String("netns", "/run/netns/example", "a network namespace to create for the pod")
	flag.Parse()
	if err := run(*conf, *cache, *netns); err != nil {
		log.Fatal(err)
	}
}

func run(conf, cache, netns string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	plugin, err := cnirt.NewPlugin(cnirt.Options{ConfDir: conf, CacheDir: cache})
	if err != nil {
		return err
	}
	defer plugin.Close()

	if err := cnirt.CreateNetNS(netns); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cnirt.RemoveNetNS(netns)) }()

	pod := cnirt.PodRequest{ID: "example", Namespace: "default", Name: "web", NetNS: netns}
	result, err := plugin.SetUpPod(ctx, pod)
	if errors.Is(err, cnirt.ErrNotReady) {
		return fmt.Errorf("put a network configuration into %s: %w", conf, err)
	}
	if err != nil {
		return err
	}
	fmt.Println(result.Pod.Name, "has", result.IPs)

	_, err = plugin.TearDownPod(ctx, pod)
	return err
}
