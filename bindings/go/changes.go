package cnirt

// #include <cnirt.h>
import "C"

import (
	"os"
	"runtime"
)

// Changed returns a channel that gets a value when the configuration may have changed: network files, plugin
// directories, or what leads to them; and one at first. Call Status or Reload for each value, or there may be no further
// one. Changes that were not received yet are one value, and not every value means that there is something new.
//
//	changed, err := plugin.Changed()
//	…
//	for range changed {
//		status, err := plugin.Status(ctx)
//		…
//	}
//
// It tells of changes on disk and of nothing else: a plugin that says that it is not ready has to be asked again from
// time to time. Every call returns the same channel, and a value is for one receiver. Close closes it; until then it
// takes a goroutine and no thread.
//
// The error is ErrUnsupported with the no-op network plugin, ErrClosed after Close, and ErrIO where the system has no
// descriptor to spare, which a later call may mend, and in a callback of the network plugin.
func (p *Plugin) Changed() (<-chan struct{}, error) {
	defer runtime.KeepAlive(p)
	return p.s.changed()
}

// changes tells of changes until it is stopped.
type changes struct {
	file *os.File
	told chan struct{}
}

func (s *session) changed() (<-chan struct{}, error) {
	handle, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer s.leave()
	fd := C.cni_plugin_fd(handle.plugin)
	if fd < 0 && s.name != "cni" {
		return nil, newError(ErrUnsupported, "network plugin "+s.name+": there is no configuration to watch")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == nil {
		file := pollable(fd, "cnirt changes")
		if file == nil {
			return nil, newError(ErrIO, "there is no descriptor for changes of the configuration; Log was told why")
		}
		s.changes = &changes{file, make(chan struct{}, 1)}
		go s.changes.watch()
	}
	return s.changes.told, nil
}

func (c *changes) watch() {
	defer close(c.told)
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	// Go's poller wakes at every change, whatever came before, so nothing has to be read. It ends when the file is closed.
	_ = raw.Read(func(uintptr) (done bool) {
		select {
		case c.told <- struct{}{}:
		default:
		}
		return false
	})
}

// stop returns when the goroutine no longer needs anything.
func (c *changes) stop() {
	_ = c.file.Close()
	for range c.told {
	}
}
