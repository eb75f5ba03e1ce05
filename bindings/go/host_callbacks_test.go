package cnirt

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Hosts that find and run the real plugins themselves, and hosts that are slow to answer.

func runsPluginsItself(h *host) {
	var mu sync.Mutex
	var ran []string
	callbacks := Callbacks{
		FindPlugin: func(_ context.Context, call FindCall) (string, error) {
			for _, dir := range call.Dirs {
				if path := filepath.Join(dir, call.Type); exists(path) {
					return path, nil
				}
			}
			return "", os.ErrNotExist
		},
		ExecPlugin: func(ctx context.Context, call ExecCall) ([]byte, error) {
			command := exec.CommandContext(ctx, call.Path)
			command.Env, command.Stdin = call.Env, strings.NewReader(call.Stdin)
			mu.Lock()
			ran = append(ran, valueOf(call.Env, "CNI_COMMAND"))
			mu.Unlock()
			return h.run(command)
		},
	}
	// What Go makes once is no doing of the library's.
	_, err := h.run(exec.Command("true"))
	noError(err)
	h.guest(callbacks, func(plugin *Plugin) {
		for range 3 {
			h.pod(plugin, "pod")
		}
	})
	for _, command := range []string{"ADD", "CHECK", "DEL"} {
		expect(slices.Contains(ran, command), "it ran %v", ran)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Only the pod that is asked about waits; its limit is the call's, once the answer has come.
func answersSlowly(h *host) {
	asked, answer := make(chan struct{}), make(chan struct{})
	callbacks := Callbacks{GetNetNS: func(_ context.Context, pod PodQuestion) (string, error) {
		if pod.ID == "slow" {
			close(asked)
			<-answer
		}
		return h.path(pod.ID), nil
	}}
	h.guest(callbacks, func(plugin *Plugin) {
		h.withNetNS("slow", func() {
			const limit = time.Second
			begun, ended := time.Now(), make(chan error)
			go func() {
				_, err := plugin.SetUpPod(context.Background(), PodRequest{ID: "slow", Timeout: limit})
				ended <- err
			}()
			select {
			case <-asked:
			case err := <-ended:
				expect(false, "it was not asked: %v", err)
			}
			h.pod(plugin, "pod")
			h.attached(plugin, PodRequest{ID: "asked"}, func() {})
			time.Sleep(time.Until(begun.Add(2 * limit)))
			close(answer)
			err := <-ended
			expect(errors.Is(err, ErrTimeout), "%v", err)
		})
	})
}
