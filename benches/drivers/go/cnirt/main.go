// A Go host of the library, in libcni's place: the arguments are those of ../libcni.
package main

import (
	"os"

	cnirt "github.com/cnirt/cnirt/bindings/go"

	"github.com/cnirt/cnirt/benches/drivers/go/driver"
)

func main() {
	cni := cnirt.NewCNI([]string{os.Args[1]}, os.Args[2], cnirt.WithDurability(cnirt.DurabilityAtomic))
	defer cni.Close()
	driver.Main(cni, os.Args[3:])
}
