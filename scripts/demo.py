"""The demo: run by scripts/demo, inside a network namespace that plays the node."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import cnirt

HOST_PORT = 8080
SERVER = """
import socket
listener = socket.create_server(("0.0.0.0", 80))
print("listening", flush=True)
while True:
    peer, address = listener.accept()
    peer.sendall(f"hello from pod two, {address[0]}".encode())
    peer.close()
"""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def in_pod(netns, *command):
    return ("nsenter", f"--net={netns}", *command)


def say(what, begun=None):
    took = "" if begun is None else f"  {(time.monotonic() - begun) * 1000:6.1f} ms"
    print(f"{what:<78}{took}", flush=True)


def configure(directory):
    network = {
        "cniVersion": "1.0.0",
        "name": "demo",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni-demo",
                "isGateway": True,
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(directory / "ipam"),
                    "ranges": [[{"subnet": "10.88.0.0/24"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }
    (directory / "net.d").mkdir()
    (directory / "net.d" / "10-demo.conflist").write_text(json.dumps(network, indent=2))


def snapshot(directory):
    """What pods could leave behind, by kind."""
    links = [link["ifname"] for link in json.loads(run("ip", "-json", "link"))]
    addresses = [
        f"{info['local']}/{info['prefixlen']} on {link['ifname']}"
        for link in json.loads(run("ip", "-json", "address"))
        for info in link["addr_info"]
        if info["scope"] == "global"
    ]
    reservations = [path.name for path in (directory / "ipam" / "demo").glob("*.*.*.*") if path.name[0].isdigit()]
    rules = [line for line in run("iptables-save").splitlines() if line.startswith("-A")]
    cache = [path.name for path in (directory / "cache").rglob("*") if path.is_file()]
    kinds = {"links": links, "addresses": addresses, "IP reservations": reservations, "rules": rules, "cache files": cache}
    return {kind: sorted(items) for kind, items in kinds.items()}


def compare(before, during, after):
    print(f"\n{'':<20}{'before':>8}{'with pods':>12}{'after':>8}")
    for kind, items in before.items():
        verdict = "equal" if items == after[kind] else f"LEFT: {sorted(set(after[kind]) ^ set(items))}"
        print(f"{kind:<20}{len(items):>8}{len(during[kind]):>12}{len(after[kind]):>8}   {verdict}")
    return before == after


def demo(directory, undo):
    configure(directory)
    run("ip", "link", "set", "lo", "up")
    # builtin: the plugin loopback instead of the library's own, to show the real thing.
    options = {"conf_dir": directory / "net.d", "cache_dir": directory / "cache", "bin_dirs": ["/usr/lib/cni"]}
    plugin = undo.enter_context(cnirt.Plugin(**options, builtin=[]))
    default = plugin.status()["defaultNetwork"]
    print(f"libcnirt {cnirt.version()}, network \"{default}\": bridge, host-local, portmap; loopback\n")

    netns = {}
    for pod in ("first", "one", "two"):
        netns[pod] = str(directory / "netns" / pod)
        cnirt.create_netns(netns[pod])
        undo.callback(cnirt.remove_netns, netns[pod])

    # A node's first pod makes the bridge and portmap's chains, which the plugins keep for all pods to come.
    begun = time.monotonic()
    mapping = {"hostPort": HOST_PORT, "containerPort": 80}
    undo.callback(plugin.teardown_pod, id="first")
    plugin.setup_pod(id="first", netns=netns["first"], port_mappings=[mapping])
    plugin.teardown_pod(id="first")
    say("a first pod came and went: the plugins keep their bridge and their chains", begun)
    before = snapshot(directory)

    ips = {}
    for pod, ports in (("one", []), ("two", [mapping])):
        begun = time.monotonic()
        undo.callback(plugin.teardown_pod, id=pod)
        answer = plugin.setup_pod(id=pod, namespace="demo", name=pod, netns=netns[pod], port_mappings=ports)
        ips[pod] = answer["ips"][0]
        port = f", host port {HOST_PORT} leads to its port 80" if ports else ""
        say(f"set up pod {pod}: {ips[pod]}{port}", begun)
    during = snapshot(directory)

    begun = time.monotonic()
    answer = run(*in_pod(netns["one"], "ping", "-c", "1", "-W", "2", ips["two"])).splitlines()[1]
    say(f"pod one pings pod two: {answer.split(': ')[-1]}", begun)

    server = subprocess.Popen(in_pod(netns["two"], sys.executable, "-c", SERVER), stdout=subprocess.PIPE, text=True)
    undo.callback(server.wait)
    undo.callback(server.kill)
    server.stdout.readline()
    begun = time.monotonic()
    client = f"import socket; print(socket.create_connection(('127.0.0.1', {HOST_PORT}), 5).recv(100).decode())"
    say(f"the node connects to 127.0.0.1:{HOST_PORT}: {run(sys.executable, '-c', client).strip()!r}", begun)
    server.kill()

    for pod in ("one", "two"):
        begun = time.monotonic()
        plugin.teardown_pod(id=pod)
        say(f"tore down pod {pod}", begun)
    return compare(before, during, snapshot(directory))


def interrupted(number, _frame):
    sys.exit(128 + number)


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    with contextlib.ExitStack() as undo:
        directory = pathlib.Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="cnirt-demo-")))
        clean = demo(directory, undo)
    print("\nNothing is left." if clean else "\nSomething is left.")
    return 0 if clean else 1


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
