package cnirt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The variable that makes the test binary be one host, of the kind that it names, in place of the tests; and where.
const (
	hostVariable          = "CNIRT_TEST_HOST"
	hostDirectoryVariable = "CNIRT_TEST_MARKER"
)

// Hosts that are odd in one way each, with real plugins: the library works in them, and they do not notice. Each is a
// process in network and mount namespaces of its own; silence and status 0 mean that all was as it should be.
var hostKinds = []struct {
	name string
	run  func(*host)
	// How its namespaces differ from the others'.
	unshare []string
	// What the shell does before it becomes the host.
	shell string
	// A command within the namespaces that takes its rights away.
	within []string
}{
	{name: "a plain one", run: plain},
	{name: "ignores SIGCHLD", run: ignoresSIGCHLD},
	{name: "has SA_NOCLDWAIT", run: hasSaNocldwait},
	{name: "waits for any child", run: waitsForAnyChild},
	{name: "is a subreaper", run: isASubreaper},
	{name: "is pid 1", run: isPID1, unshare: []string{"--pid", "--fork", "--mount-proc"}},
	{name: "runs commands", run: runsCommands},
	{name: "blocks and ignores signals", run: blocksAndIgnoresSignals},
	{name: "is signalled with its group", run: isSignalledWithItsGroup},
	{name: "has no stdio", run: hasNoStdio},
	{name: "has 20 000 descriptors", run: has20000Descriptors},
	{name: "runs out of descriptors", run: runsOutOfDescriptors},
	{name: "has umask 0777", run: hasUmask0777},
	{name: "has lost its directory", run: hasLostItsDirectory},
	{name: "has another root", run: hasAnotherRoot},
	{name: "keeps its memory", run: keepsItsMemory},
	{name: "changes its environment", run: changesItsEnvironment},
	{name: "has small stacks", run: hasSmallStacks, shell: "ulimit -s 64; "},
	{name: "has threads elsewhere", run: hasThreadsElsewhere},
	{name: "collects garbage", run: collectsGarbage},
	{name: "closes amid 64 calls", run: closesAmid64Calls},
	{name: "runs plugins itself", run: runsPluginsItself},
	{name: "answers slowly", run: answersSlowly},
	{name: "has no rights", run: hasNoRights, within: asNobody},
	{name: "runs out of processes", run: runsOutOfProcesses, within: slices.Concat(asNobody, asRootless)},
	{name: "is rootless", run: isRootless, within: slices.Concat(asNobody, asRootless)},
}

var asNobody = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--"}

var asRootless = []string{"unshare", "--user", "--map-root-user", "--net", "--mount", "--"}

func runHost(name string) {
	for _, kind := range hostKinds {
		if kind.name == name {
			h := newHost(os.Getenv(hostDirectoryVariable))
			kind.run(h)
			h.expectNoSIGCHLD()
			return
		}
	}
	panic("there is no such host: " + name)
}

func TestHosts(t *testing.T) {
	for _, kind := range hostKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			loses := kind.within != nil
			if loses && os.Getuid() != 0 {
				t.Skip("only root can become nobody")
			}
			dir := hostDirectory(t, loses)
			// Without an address of its own a bridge takes another one with each pod, and those beside it fail their check.
			script := kind.shell + "[ $(id -u) != 0 ] || " +
				`ip link add bridge0 address 02:00:00:00:00:01 type bridge && exec "$@"`
			program := []string{"sh", "-c", script, "sh", os.Args[0]}
			words := slices.Concat(kind.unshare, []string{"--"}, kind.within, program)
			command := onANode(t, words[0], words[1:]...)
			command.Env = append(os.Environ(), hostVariable+"="+kind.name, hostDirectoryVariable+"="+dir,
				"PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
			if loses {
				command.Args[len(command.Args)-1] = copyProgram(t, dir)
				command.Env = append(command.Env, "LD_LIBRARY_PATH="+dir)
			}
			if out, err := command.CombinedOutput(); err != nil || len(out) != 0 {
				t.Errorf("%v\n%s", err, out)
			}
			if left := marked(dir); len(left) != 0 {
				t.Errorf("still there: %q", left)
			}
		})
	}
}

// hostDirectory is not below one that only its owner may enter, as t.TempDir's is.
func hostDirectory(t *testing.T, nobodys bool) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cnirt-host-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A host with an odd umask has directories that it cannot enter.
		_ = exec.Command("chmod", "-R", "u+rwx", dir).Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if nobodys {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// copyProgram puts the test binary and its library where everybody may read them.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	library := regexp.MustCompile(`(?m)/\S*libcnirt\.so\S*$`).FindString(read(t, "/proc/self/maps"))
	soname := fmt.Sprintf("libcnirt.so.%d", ABIVersion())
	for name, from := range map[string]string{"program": os.Args[0], soname: library} {
		write(t, filepath.Join(dir, name), read(t, from))
	}
	return filepath.Join(dir, "program")
}

// marked are the processes with the host's marker in their environment: nannies, plugins, their children.
func marked(dir string) (left []string) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		environ, _ := os.ReadFile(path)
		for _, line := range bytes.Split(environ, []byte{0}) {
			if string(line) == hostDirectoryVariable+"="+dir {
				command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
				left = append(left, path+" "+strings.ReplaceAll(string(command), "\x00", " "))
			}
		}
	}
	return left
}
