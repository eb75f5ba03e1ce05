package main

import (
	"fmt"
	"os"
)

// outcome is what became of one case on one node.
type outcome struct {
	// How long the call took that met the fault, in milliseconds; 0 where it was killed.
	Call float64
	// How long the first thing took that the runtime's user would do then.
	Recovery float64
	// What was left at once, after that, and after GC of a node without pods.
	AtOnce, AfterDel, AfterGC state
	// What there is to say besides.
	Note string
	// The machine was too busy to come to the fault.
	Missed bool
}

// a fault, and what to do about it.
type fault struct {
	title string
	// main is the first plugin of the list, if not bridge; last are those after portmap.
	main string
	last []string
	run  func(n *node, o *outcome) error
	// What the page says of libcni, so that it stays true; cnirt leaves nothing.
	libcni func(o outcome) bool
	// Whether cnirt has something left at once, for its teardown to do.
	kept bool
	// Whether cnirt keeps it after GC, too, on purpose.
	keptByGC bool
}

var faults = []fault{
	{
		title: "a plugin hangs, and so does its child; the call is limited to 2 s",
		last:  []string{"hang"},
		run: func(n *node, o *outcome) error {
			if err := n.failing(o, request{Operation: "add", Pod: "pod1", Limit: 2000}); err != nil {
				return err
			}
			_, err := os.Stat(n.path("reached"))
			o.Missed = err != nil
			return nil
		},
		libcni: func(o outcome) bool {
			return o.Call >= float64(childLife.Milliseconds())*0.9 && o.AtOnce.Addresses == 1 && o.AtOnce.Links == 2
		},
	},
	{
		title: "the runtime is killed while a plugin hangs",
		last:  []string{"hang"},
		run: func(n *node, o *outcome) error {
			if err := n.killed(request{Operation: "add", Pod: "pod1"}); err != nil {
				return err
			}
			return n.recovering(o)
		},
		libcni: func(o outcome) bool { return o.AtOnce.Processes == 2 && o.AtOnce.Addresses == 1 },
		kept:   true,
	},
	{
		title: "the runtime is killed while a plugin is slow, which then goes on",
		main:  "slow",
		run: func(n *node, o *outcome) error {
			if err := n.killed(request{Operation: "add", Pod: "pod1"}); err != nil {
				return err
			}
			var err error
			if o.AtOnce, err = n.look(); err != nil {
				return err
			}
			said, err := n.call(request{Operation: "del", Pod: "pod1"})
			if err != nil {
				return err
			}
			o.Recovery = said.MS
			if err := os.WriteFile(n.path("go"), nil, 0o600); err != nil {
				return err
			}
			n.settle(childLife)
			if o.AfterDel, err = n.look(); err != nil {
				return err
			}
			return n.collecting(o)
		},
		libcni: func(o outcome) bool { return o.AfterGC.Addresses == 1 && o.AfterGC.Links == 2 },
		kept:   true,
	},
	{
		title: "a cache entry has no content any more",
		run: func(n *node, o *outcome) error {
			if err := n.emptied(); err != nil {
				return err
			}
			return n.recovering(o)
		},
		libcni: func(o outcome) bool { return o.AfterDel == state{} },
		kept:   true,
	},
	{
		title: "the same, and there is only GC",
		run: func(n *node, o *outcome) error {
			if err := n.emptied(); err != nil {
				return err
			}
			var err error
			if o.AtOnce, err = n.look(); err != nil {
				return err
			}
			o.AfterDel = o.AtOnce
			return n.collecting(o)
		},
		libcni:   func(o outcome) bool { return o.AfterGC.Addresses == 1 },
		kept:     true,
		keptByGC: true,
	},
	{
		title: "the last plugin of the list fails",
		last:  []string{"fail"},
		run: func(n *node, o *outcome) error {
			return n.failing(o, request{Operation: "add", Pod: "pod1"})
		},
		libcni: func(o outcome) bool { return o.AtOnce.Addresses == 1 && o.AfterDel == state{} },
	},
	{
		title: "the last plugin of the list is missing",
		last:  []string{"missing"},
		run: func(n *node, o *outcome) error {
			return n.failing(o, request{Operation: "add", Pod: "pod1"})
		},
		libcni: func(o outcome) bool { return o.AfterGC.Addresses == 1 && o.AfterGC.Links == 2 },
	},
	{
		title: "the last plugin's binary comes after the configuration",
		last:  []string{"pass"},
		run: func(n *node, o *outcome) error {
			if err := os.Remove(n.path("bin/pass")); err != nil {
				return err
			}
			said, err := n.call(request{Operation: "add", Pod: "pod1"})
			if err != nil || !said.failed() {
				return fmt.Errorf("it did not fail: %w", err)
			}
			o.Call = said.MS
			if o.AtOnce, err = n.look(); err != nil {
				return err
			}
			if err := n.install("pass"); err != nil {
				return err
			}
			again, err := n.call(request{Operation: "add", Pod: "pod1"})
			if err != nil {
				return err
			}
			o.Note = "ADD again, with the binary there: done"
			if again.failed() {
				o.Note = "ADD again, with the binary there: fails"
			}
			return n.removing(o)
		},
		libcni: func(o outcome) bool { return o.AtOnce.Addresses == 1 && o.Note != "" },
	},
	{
		title: "two runtimes share a cache directory, and one runs GC with its own pods",
		run: func(n *node, o *outcome) error {
			for pod, owner := range map[string]string{"pod1": "one", "pod2": "two"} {
				if said, err := n.call(request{Operation: "add", Pod: pod, Owner: owner}); err != nil || said.failed() {
					return fmt.Errorf("add: %s: %w", said.Error, err)
				}
			}
			said, err := n.call(request{Operation: "gc", Pod: "pod2", Owner: "two"})
			if err != nil || said.failed() {
				return fmt.Errorf("gc: %s: %w", said.Error, err)
			}
			o.Call = said.MS
			if o.AtOnce, err = n.look(); err != nil {
				return err
			}
			o.Note = fmt.Sprintf("%d of 2 pods have their network", o.AtOnce.Addresses)
			if said, err = n.call(request{Operation: "del", Pod: "pod2", Owner: "two"}); err != nil || said.failed() {
				return fmt.Errorf("del: %s: %w", said.Error, err)
			}
			return n.removing(o)
		},
		libcni: func(o outcome) bool { return o.AtOnce.Addresses == 1 },
		kept:   true,
	},
	{
		title: "the cache's disk is full",
		run: func(n *node, o *outcome) error {
			if err := n.fill(); err != nil {
				return err
			}
			return n.failing(o, request{Operation: "add", Pod: "pod1"})
		},
		libcni: func(o outcome) bool { return o.AtOnce.Addresses == 1 && o.AtOnce.Links == 2 },
	},
}

// emptied sets a pod up, and empties its cache entry.
func (n *node) emptied() error {
	said, err := n.call(request{Operation: "add", Pod: "pod1"})
	if err != nil || said.failed() {
		return fmt.Errorf("add: %s: %w", said.Error, err)
	}
	return os.Truncate(n.path("cache/results/"+network+"-pod1-"+ifName), 0)
}

// failing makes a call that must fail, and then does what a user does.
func (n *node) failing(o *outcome, r request) error {
	said, err := n.call(r)
	if err != nil {
		return err
	}
	if !said.failed() {
		return fmt.Errorf("%s did not fail", r.Operation)
	}
	o.Call = said.MS
	return n.recovering(o)
}

// recovering looks, and goes on.
func (n *node) recovering(o *outcome) (err error) {
	if o.AtOnce, err = n.look(); err != nil {
		return err
	}
	return n.removing(o)
}

// removing takes the pod away, as its runtime would, and then all.
func (n *node) removing(o *outcome) error {
	said, err := n.call(request{Operation: "del", Pod: "pod1"})
	if err != nil {
		return err
	}
	o.Recovery = said.MS
	if o.AfterDel, err = n.look(); err != nil {
		return err
	}
	return n.collecting(o)
}

func (n *node) collecting(o *outcome) error {
	// Its errors are seen in what it leaves.
	if _, err := n.call(request{Operation: "gc"}); err != nil {
		return err
	}
	var err error
	o.AfterGC, err = n.look()
	return err
}
