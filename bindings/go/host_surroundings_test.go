package cnirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Hosts whose surroundings are odd: umask, directory, environment, rights, memory.

func hasUmask0777(h *host) {
	syscall.Umask(0o777)
	h.guest(Callbacks{}, func(plugin *Plugin) {
		h.attached(plugin, PodRequest{ID: "pod", NetNS: h.path("pod")}, func() {
			for name, mode := range map[string]os.FileMode{"results": 0o700, "results/net-pod-eth0": 0o600} {
				info, err := os.Stat(h.path("cache/" + name))
				expect(err == nil && info.Mode().Perm() == mode, "%s: %v %v", name, info, err)
			}
		})
	})
}

func hasLostItsDirectory(h *host) {
	noError(os.Mkdir(h.path("gone"), 0o755))
	noError(os.Chdir(h.path("gone")))
	noError(os.Remove(h.path("gone")))
	plain(h)
}

// Each plugin has stacks of its own in the host's memory.
func keepsItsMemory(h *host) {
	h.guest(Callbacks{}, func(plugin *Plugin) {
		for range 3 {
			h.pod(plugin, "pod")
		}
		before := mappings()
		for range 10 {
			h.pod(plugin, "pod")
		}
		// A few are the runtime's; these were sixty plugins.
		expect(mappings() < before+100, "%d mappings became %d", before, mappings())
	})
}

// The library reads the environment once, when the handle is made, so that nobody meets a setenv on another thread.
func changesItsEnvironment(h *host) {
	noError(os.Setenv("CNIRT_TEST_VALUE", "old"))
	number := 0
	change := func() {
		number++
		noError(os.Setenv("CNIRT_TEST_VALUE", "new"))
		for i := range 200 {
			noError(os.Setenv(fmt.Sprint("CNIRT_TEST_", i), strings.Repeat(fmt.Sprint(number), 100)))
		}
		for i := range 200 {
			noError(os.Unsetenv(fmt.Sprint("CNIRT_TEST_", i)))
		}
	}
	h.guest(Callbacks{}, func(plugin *Plugin) {
		repeating(change, func() {
			for range 5 {
				h.attached(plugin, h.beside("pod", "look"), func() {})
				given := linesOf(h.path("environment"), "CNIRT_TEST_VALUE", "CNIRT_TEST_1")
				expect(len(given) == 1 && given[0] == "CNIRT_TEST_VALUE=old", "%q", given)
			}
		})
		noError(os.Setenv("CNIRT_TEST_VALUE", "old"))
	})
}

// Neither root nor in a user namespace: a clear error, and nothing is left.
func hasNoRights(h *host) {
	expect(os.Getuid() != 0, "root")
	h.guest(Callbacks{}, func(plugin *Plugin) {
		refused := func(err error, class Class) {
			expect(errors.Is(err, class) && strings.Contains(strings.ToLower(err.Error()), "operation not permitted"), "%v", err)
		}
		refused(CreateNetNS(h.path("pod")), ErrIO)
		_, err := os.Lstat(h.path("pod"))
		expect(errors.Is(err, os.ErrNotExist), "%v", err)
		_, err = plugin.SetUpPod(context.Background(), PodRequest{ID: "pod", NetNS: "/proc/self/ns/net"})
		refused(err, ErrPlugin)
		_, err = plugin.TearDownPod(context.Background(), PodRequest{ID: "pod", Force: true})
		noError(err)
	})
}

// Root in a user namespace only, with nobody's rights outside.
func isRootless(h *host) {
	outside := strings.Fields(linesOf("/proc/self/uid_map", "")[0])[1]
	expect(os.Getuid() == 0 && outside == "65534", "root is %s", outside)
	plain(h)
}
