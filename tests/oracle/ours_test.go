package oracle

import (
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
)

func ours(t testing.TB, path []string, cacheDir string, _ invoke.Exec) libcni.CNI {
	cni, err := newABI(path, cacheDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cni.Close)
	return cni
}

// passedBy are keys that are not compared: how deep an error lies is the Go module's business.
var passedBy = []string{": depth"}
