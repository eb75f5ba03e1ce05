// Package driver does what lines on standard input say, as ../driver.h has it for C.
package driver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
)

type answer struct {
	Wall int64   `json:"wall"`
	CPU  int64   `json:"cpu"`
	Ns   []int64 `json:"ns"`
}

// Main obeys until the end of its input. The arguments are a network list, the containers' namespace, in which %d becomes
// the container's number where it is there, and the interface's name.
func Main(cni libcni.CNI, args []string) {
	list, err := libcni.NetworkConfFromBytes([]byte(args[0]))
	if err != nil {
		log.Fatal(err)
	}
	call := func(command string, id int64) {
		netns := args[1]
		if strings.Contains(netns, "%") {
			netns = fmt.Sprintf(netns, id)
		}
		rt := &libcni.RuntimeConf{ContainerID: fmt.Sprintf("c%d", id), NetNS: netns, IfName: args[2]}
		if strings.Contains(args[0], "portMappings") {
			rt.CapabilityArgs = map[string]any{"portMappings": []map[string]any{
				{"hostPort": 20000 + id, "containerPort": 80, "protocol": "tcp"}}}
		}
		var err error
		if command == "ADD" {
			_, err = cni.AddNetworkList(context.Background(), list, rt)
		} else {
			err = cni.DelNetworkList(context.Background(), list, rt)
		}
		if err != nil {
			log.Fatalf("%s of %d: %v", command, id, err)
		}
	}
	var added, deleted int64
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var command string
		var number, threads int64
		_, _ = fmt.Sscan(lines.Text(), &command, &number, &threads)
		var said any = struct{}{}
		switch command {
		case "add":
			said = calls(call, "ADD", added, number, threads)
			added += number
		case "del":
			said = calls(call, "DEL", deleted, number, threads)
			deleted += number
		case "fds":
			openFiles(number)
		case "touch":
			touch(number)
		case "memory":
			said = map[string]int64{"private": private()}
		default:
			log.Fatalf("what is %q?", lines.Text())
		}
		if err := out.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}

func calls(call func(string, int64), command string, first, number, threads int64) answer {
	taken := make([]int64, number)
	var next atomic.Int64
	work := func() {
		for index := next.Add(1) - 1; index < number; index = next.Add(1) - 1 {
			begun := time.Now()
			call(command, first+index)
			taken[index] = time.Since(begun).Nanoseconds()
		}
	}
	used, begun := cpu(), time.Now()
	if threads == 1 {
		work()
	} else {
		var group sync.WaitGroup
		for range threads {
			group.Go(work)
		}
		group.Wait()
	}
	return answer{Wall: time.Since(begun).Nanoseconds(), CPU: cpu() - used, Ns: taken}
}

func cpu() (sum int64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		_ = syscall.Getrusage(who, &usage)
		sum += usage.Utime.Nano() + usage.Stime.Nano()
	}
	return sum
}

// Clean and dirty private pages: what would be free if this process were not there.
func private() (sum int64) {
	rollup, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(rollup)) {
		var name string
		var kib int64
		_, _ = fmt.Sscan(line, &name, &kib)
		if name == "Private_Clean:" || name == "Private_Dirty:" {
			sum += kib * 1024
		}
	}
	return sum
}

func openFiles(number int64) {
	for range number {
		if _, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
			log.Fatal(err)
		}
	}
}

func touch(mib int64) {
	flags := syscall.MAP_PRIVATE | syscall.MAP_ANONYMOUS
	space, err := syscall.Mmap(-1, 0, int(mib<<20)+1, syscall.PROT_READ|syscall.PROT_WRITE, flags)
	if err != nil {
		log.Fatal(err)
	}
	for at := 0; at < len(space); at += 4096 {
		space[at] = 1
	}
}
