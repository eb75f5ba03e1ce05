package oracle

// Names for what plugins draw at random, so that two runs can be compared: hardware addresses and names of veths, which
// are numbered in the order in which one meets them. So that two are the same, or not, is compared too.

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	hardware = regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`)
	veth     = regexp.MustCompile(`\bveth[0-9a-f]{8}\b`)
)

// rename puts names in place; what is in the configuration is not random.
func (o outcome) rename(conf string) {
	names := map[string]string{"00:00:00:00:00:00": "nowhere", "ff:ff:ff:ff:ff:ff": "everywhere"}
	name := func(kind string) func(string) string {
		return func(found string) string {
			if strings.Contains(conf, found) {
				return found
			}
			if _, ok := names[found]; !ok {
				names[found] = fmt.Sprintf("%s-%d", kind, len(names))
			}
			return names[found]
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		o[key] = veth.ReplaceAllStringFunc(hardware.ReplaceAllStringFunc(o[key], name("MAC")), name("veth"))
	}
}
