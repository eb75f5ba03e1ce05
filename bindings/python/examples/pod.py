"""Gives a pod a network, prints its address, and takes it off again.

Run it as root, or try it on a node of its own: unshare --net --mount --user --map-root-user python examples/pod.py
"""

import json
import pathlib
import tempfile

import cnirt

with tempfile.TemporaryDirectory() as directory:
    node = pathlib.Path(directory)
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipam": {"type": "host-local", "subnet": "10.22.0.0/24", "dataDir": str(node / "addresses")},
    }
    network = {"cniVersion": "1.0.0", "name": "example", "plugins": [bridge]}
    (node / "10-example.conflist").write_text(json.dumps(network))

    netns = node / "netns"
    cnirt.create_netns(netns)
    try:
        with cnirt.Plugin(conf_dir=node, cache_dir=node / "cache") as plugin:
            pod = plugin.setup_pod(id="pod1", netns=netns, namespace="default", name="web")
            print(pod["ips"][0])
            plugin.teardown_pod(id="pod1")
    except cnirt.Error as error:
        raise SystemExit(f"{error}: {error.hint or error.class_name}") from error
    finally:
        cnirt.remove_netns(netns)
