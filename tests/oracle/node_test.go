package oracle

// Nodes and the reference plugins on them: Debian's, and those that scripts/plugins builds. A node is a network and a
// mount namespace of its own, in which the test program runs once more.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// release is where the plugins of one release lie.
type release struct{ name, dir string }

// releases are both. That one is missing is a failure, not a reason to skip: then nothing would be compared.
func releases(t *testing.T) []release {
	t.Helper()
	build.Do(func() {
		if output, err := exec.Command("../../scripts/plugins").CombinedOutput(); err != nil {
			buildError = fmt.Errorf("scripts/plugins: %w\n%s", err, output)
		}
	})
	if buildError != nil {
		t.Fatal(buildError)
	}
	built, err := filepath.Abs("../../target/cni-plugins")
	if err != nil {
		t.Fatal(err)
	}
	both := []release{{"Debian's", "/usr/lib/cni"}, {"v1.9.1", built}}
	for _, release := range both {
		if _, err := os.Stat(filepath.Join(release.dir, "bridge")); err != nil {
			t.Fatal("no CNI plugins: ", err)
		}
	}
	return both
}

var (
	build      sync.Once
	buildError error
)

// insideOf is the variable that tells the program on a node what to do there.
const insideOf = "ORACLE_INSIDE"

// onANode runs the test of this name again, on a node.
func onANode(test, what string) error {
	inside := nodeCommand(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	inside.Env = append(os.Environ(), insideOf+"="+what, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	if output, err := inside.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

// nodeCommand runs a program on a node, as root there.
func nodeCommand(program string, args ...string) *exec.Cmd {
	own := []string{"120", "unshare", "--net", "--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		own = append(own, "--user", "--map-root-user")
	}
	return exec.Command("timeout", append(append(own, "--", program), args...)...)
}

// kernelLacks says that the kernel has no links of this type.
func kernelLacks(t *testing.T, device string) bool {
	t.Helper()
	more := ""
	if device == "vrf" {
		more = " table 10"
	}
	output, err := nodeCommand("sh", "-c", "PATH=$PATH:/usr/sbin:/sbin ip link add probe0 type "+device+more).CombinedOutput()
	if err == nil {
		return false
	}
	if !strings.Contains(string(output), "Unknown device type") {
		t.Fatalf("%v\n%s", err, output)
	}
	return true
}
