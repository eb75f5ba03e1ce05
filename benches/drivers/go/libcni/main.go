// A host of Go's libcni: the directory of its plugins, that of its cache, then what package driver wants.
package main

import (
	"os"

	"github.com/containernetworking/cni/libcni"

	"github.com/cnirt/cnirt/benches/drivers/go/driver"
)

func main() {
	cni := libcni.NewCNIConfigWithCacheDir([]string{os.Args[1]}, os.Args[2], nil)
	driver.Main(cni, os.Args[3:])
}
