"""A Python host of the library, on pods: options, then the request, in which each %ld becomes the pod's number."""

import json
import sys
import time
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import cnirt


def cpu() -> int:
    usages = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    return int(sum(usage.ru_utime + usage.ru_stime for usage in usages) * 1e9)


def main() -> None:
    plugin = cnirt.Plugin(json.loads(sys.argv[1]))
    taken = {"add": 0, "del": 0}
    for line in sys.stdin:
        command, number, threads = line.split()
        assert threads == "1"
        call = plugin.setup_pod if command == "add" else plugin.teardown_pod
        begun, used, each = time.perf_counter_ns(), cpu(), []
        for pod in range(taken[command], taken[command] + int(number)):
            request = json.loads(sys.argv[2].replace("%ld", str(pod)))
            start = time.perf_counter_ns()
            call(request)
            each.append(time.perf_counter_ns() - start)
        taken[command] += int(number)
        said = {"wall": time.perf_counter_ns() - begun, "cpu": cpu() - used, "ns": each}
        print(json.dumps(said), flush=True)


main()
