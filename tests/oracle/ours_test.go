package oracle

import (
	"testing"

	"github.com/cnirt/cnirt/bindings/go"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
)

func ours(t testing.TB, path []string, cacheDir string, exec invoke.Exec) libcni.CNI {
	cni := cnirt.NewCNI(path, cacheDir, cnirt.WithExec(exec), cnirt.WithDurability("atomic"))
	t.Cleanup(func() {
		if err := cni.Close(); err != nil {
			t.Error(err)
		}
	})
	return cni
}
