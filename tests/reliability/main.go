// Program reliability has the same things go wrong for a runtime on libcni v1.3.1 and for one on cnirt, with the same
// plugins, and counts what is left. It makes the table of docs/reliability.md, or checks that what the page says is so.
//
// Each case runs in network, mount and pid namespaces of its own, each call of a runtime in a process of its own. This
// program is also the runtime on libcni, and the plugins that fail.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := role(); err != nil {
		if os.Getenv("CNI_COMMAND") != "" {
			text, _ := json.Marshal(map[string]any{"cniVersion": "1.0.0", "code": 999, "msg": err.Error()})
			fmt.Println(string(text))
		} else {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}

func role() error {
	switch {
	case os.Getenv("CNI_COMMAND") != "":
		return plugin()
	case len(os.Args) == 4 && os.Args[1] == "libcni":
		return libcniCall(os.Args[2], os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "case":
		return oneCase(os.Args[2], os.Args[3], os.Args[4])
	}
	runs := flag.Int("runs", 5, "how often each case runs")
	check := flag.Bool("check", false, "check what the page says, and print no table")
	flag.Parse()
	return all(*runs, *check)
}

// oneCase runs on a node of its own, and prints the outcome.
func oneCase(number, side, dir string) error {
	index, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	f := faults[index]
	if f.main == "" {
		f.main = "bridge"
	}
	n := &node{dir: dir, side: side}
	if err := os.Setenv(dirVariable, dir); err != nil {
		return err
	}
	if err := n.prepare(f.main, f.last...); err != nil {
		return err
	}
	var o outcome
	if err := f.run(n, &o); err != nil {
		return err
	}
	text, err := json.Marshal(o)
	fmt.Println(string(text))
	return err
}

// toTheFault runs one case, again where it did not come to the fault.
func toTheFault(index int, side string) (o outcome, err error) {
	for range 10 {
		if o, err = onNode(index, side); err != nil || !o.Missed {
			return o, err
		}
	}
	return o, fmt.Errorf("the machine is too busy: the time is over before the plugin runs")
}

// onNode runs one case, with a node of its own.
func onNode(index int, side string) (o outcome, err error) {
	dir, err := os.MkdirTemp("", "reliability")
	if err != nil {
		return o, err
	}
	// What was mounted in it went with its namespace.
	defer os.RemoveAll(dir)
	this, err := os.Executable()
	if err != nil {
		return o, err
	}
	args := []string{"--signal=KILL", "120", "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"}
	if os.Geteuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	command := exec.Command("timeout", append(args, "--", this, "case", strconv.Itoa(index), side, dir)...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err == nil {
		err = json.Unmarshal(output, &o)
	}
	return o, err
}

func all(runs int, check bool) error {
	var rows, wrong []string
	for index, f := range faults {
		for _, side := range sides {
			var outcomes []outcome
			for range runs {
				o, err := toTheFault(index, side)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", f.title, side, err)
				}
				outcomes = append(outcomes, o)
				if why := f.untrue(side, o); why != "" {
					wrong = append(wrong, fmt.Sprintf("%s, %s: %s: %+v", f.title, side, why, o))
				}
			}
			row := f.row(side, outcomes)
			rows = append(rows, row)
			fmt.Fprintln(os.Stderr, row)
		}
	}
	if wrong != nil {
		return fmt.Errorf("docs/reliability.md would be wrong:\n%s", strings.Join(wrong, "\n"))
	}
	if check {
		fmt.Printf("reliability: %d faults on 2 runtimes are as docs/reliability.md says\n", len(faults))
		return nil
	}
	fmt.Println("| fault | runtime | the call took, ms | left at once | DEL took, ms | left then | left after GC |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, row := range rows {
		fmt.Println(row)
	}
	return nil
}

// untrue says what of the page is not so.
func (f fault) untrue(side string, o outcome) string {
	switch {
	case side == "libcni" && !f.libcni(o):
		return "not what the page says"
	case side == "libcni":
	case f.keptByGC != (o.AfterGC != state{}):
		return "something is left, or was to be"
	case !f.kept && o.AtOnce != state{}:
		return "the call left something"
	case o.AtOnce.Processes != 0:
		return "a process is left"
	case o.Call > float64(childLife.Milliseconds())*0.9:
		return "the call blocked"
	}
	return ""
}

func (f fault) row(side string, outcomes []outcome) string {
	times := func(of func(outcome) float64) string {
		var all []float64
		for _, o := range outcomes {
			all = append(all, of(o))
		}
		slices.Sort(all)
		if all[len(all)-1] == 0 {
			return "-"
		}
		median := all[len(all)/2]
		return fmt.Sprintf("%.0f (%.0f to %.0f)", median, all[0], all[len(all)-1])
	}
	texts := func(of func(outcome) string) string {
		var all []string
		for _, o := range outcomes {
			if text := of(o); !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
		return strings.Join(all, " or ")
	}
	title := f.title
	if side != sides[0] {
		title = ""
	}
	atOnce := texts(func(o outcome) string {
		if o.Note != "" {
			return o.AtOnce.String() + "; " + o.Note
		}
		return o.AtOnce.String()
	})
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", title, side,
		times(func(o outcome) float64 { return o.Call }), atOnce,
		times(func(o outcome) float64 { return o.Recovery }),
		texts(func(o outcome) string { return o.AfterDel.String() }),
		texts(func(o outcome) string { return o.AfterGC.String() }))
}
