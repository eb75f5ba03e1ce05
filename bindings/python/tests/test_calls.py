"""Calls: how requests go in, how answers come out, and the functions without a handle."""

import ipaddress
import pathlib
import typing

import pytest
from support import RESULT, Node

import cnirt
from cnirt import _requests

#: A value for each keyword that the library takes.
OPTIONS = {
    "plugin": "noop",
    "conf_dir": pathlib.Path("/c"),
    "bin_dirs": ["/a", pathlib.Path("/b")],
    "cache_dir": "/k",
    "default_network": "net",
    "pod_cidr": "10.0.0.0/24",
    "if_name": "net1",
    "timeout_ms": 1000,
    "kill_grace_ms": 1,
    "rollback": False,
    "rollback_timeout_ms": 1,
    "loopback": False,
    "builtin": "auto",
    "durability": "atomic",
    "max_output_bytes": 1024,
    "op_threads": 8,
    "env": {"A": "b"},
    "plugin_env": {"A": "b"},
    "owner": "me",
    "ip_preference": "ipv6",
}
REQUEST = {
    "id": "pod",
    "namespace": "default",
    "name": "web",
    "uid": "42",
    "netns": pathlib.Path("/run/netns/pod"),
    "if_name": "net1",
    "annotations": {"kubernetes.io/ingress-bandwidth": "1M"},
    "port_mappings": ({"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "10.0.0.1"},),
    "bandwidth": {"ingressRate": 1, "ingressBurst": 2, "egressRate": 3, "egressBurst": 4},
    "ip_ranges": [[{"subnet": "10.0.0.0/24"}]],
    "dns": {"servers": ["10.0.0.1"], "searches": ["x"], "options": ["y"]},
    "ips": [ipaddress.ip_address("10.0.0.2"), ipaddress.ip_interface("fd00::2/64")],
    "mac": "02:00:00:00:00:01",
    "aliases": ["a"],
    "cgroup_path": "/x",
    "cni_args": [("K", "v")],
    "capability_args": {"x": 1},
    "networks": [{"default": True, "ifName": "eth1"}],
    "timeout_ms": 1000,
    "env": {"TRACEPARENT": "x"},
    "call_id": "c1",
    "replace": False,
    "force": False,
}
GC = {
    "valid_pods": ({"id": "pod"}, {"id": "other", "networks": [{"network": "net", "ifName": "eth0"}]}),
    "timeout_ms": 1000,
    "call_id": "c1",
}


@pytest.fixture
def noop():
    with cnirt.Plugin(plugin="noop") as plugin:
        yield plugin


def test_every_keyword_has_a_row_above():
    assert OPTIONS.keys() == typing.cast(typing.Any, cnirt.PluginOptions).__annotations__.keys()
    assert REQUEST.keys() == typing.cast(typing.Any, cnirt.PodRequest).__annotations__.keys()
    assert GC.keys() == typing.cast(typing.Any, cnirt.GcRequest).__annotations__.keys()


@pytest.mark.parametrize("keyword", OPTIONS)
def test_the_library_knows_the_option(keyword):
    with cnirt.Plugin(**{"plugin": "noop", keyword: OPTIONS[keyword]}):
        pass


@pytest.mark.parametrize("keyword", REQUEST)
def test_the_library_knows_the_request_key(noop, keyword):
    noop.setup_pod(**{"id": "pod", keyword: REQUEST[keyword]})


@pytest.mark.parametrize("keyword", GC)
def test_the_library_knows_the_gc_key(noop, keyword):
    assert noop.gc(**{"valid_pods": [], keyword: GC[keyword]}) == {"deleted": []}


@pytest.mark.parametrize(
    ("given", "keywords", "made"),
    [
        (None, {"if_name": "a", "timeout_ms": 1, "id": "x"}, {"ifName": "a", "timeoutMs": 1, "id": "x"}),
        (None, {"port_mappings": [{"host_port": 1}]}, {"portMappings": [{"host_port": 1}]}),
        ({"ifName": "a", "other_key": None}, {}, {"ifName": "a", "other_key": None}),
        ({"ifName": "a", "id": "x"}, {"if_name": "b"}, {"ifName": "b", "id": "x"}),
        ({"ifName": "a"}, {"if_name": None, "netns": None}, {"ifName": "a"}),
    ],
    ids=["keywords", "only the first level", "an object as it is", "keywords win", "None is not given"],
)
def test_requests(given, keywords, made):
    assert _requests.to_object(given, keywords) == made


def test_what_is_no_json_is_refused(noop):
    with pytest.raises(TypeError, match="object is not JSON"):
        noop.setup_pod(id="pod", env={"A": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        noop.setup_pod(id="pod", capability_args={"x": float("nan")})


def test_a_noop_plugin_answers_every_call(noop):
    assert noop.name == "kubernetes.io/no-op"
    pod = {"namespace": "default", "name": "web", "id": "pod"}
    answer = noop.setup_pod(id="pod", namespace="default", name="web")
    assert (answer["pod"], answer["ips"], answer["networks"]) == (pod, [], [])
    assert noop.teardown_pod(id="pod")["networks"] == []
    assert noop.list_pods() == []
    assert noop.gc(valid_pods=[]) == {"deleted": []}
    assert noop.status()["ready"]
    assert noop.reload()["ready"]
    assert noop.capabilities() == []
    assert noop.event("pod-cidr-change", {"pod-cidr": "10.1.0.0/16"}) is None
    assert noop.event("whatever") is None
    assert noop.cancel() is None
    assert noop.cancel("pod") is None
    assert isinstance(noop.metrics(), str)


def test_a_pod_comes_and_goes(tmp_path):
    node = Node(tmp_path)
    node.network("fake")
    node.script("fake", f"echo '{_requests.dumps(RESULT)}'")
    with cnirt.Plugin(**node.options()) as plugin:
        assert plugin.name == "cni"
        assert plugin.status()["defaultNetwork"] == "net"
        answer = plugin.setup_pod(id="pod", netns=node.NETNS, name="web")
        assert answer["ips"] == ["10.9.8.7"]
        assert answer["networks"][0]["result"]["ips"][0]["address"] == "10.9.8.7/24"
        with pytest.raises(cnirt.ExistsError):
            plugin.setup_pod(id="pod", netns=node.NETNS)
        assert plugin.check_pod(id="pod")["networks"] == [{"network": "net", "ifName": "eth0", "checked": True}]
        (known,) = plugin.list_pods()
        assert (known["pod"]["name"], known["networks"][0]["owner"]) == ("web", "cnirt")
        assert plugin.teardown_pod(id="pod")["networks"] == [{"network": "net", "ifName": "eth0"}]
        with pytest.raises(cnirt.NotFoundError):
            plugin.pod_status(id="pod")
        assert "cnirt_" in plugin.metrics()


def test_gc_deletes_what_is_not_valid(tmp_path):
    node = Node(tmp_path)
    node.network("fake")
    node.script("fake", f"echo '{_requests.dumps(RESULT)}'")
    with cnirt.Plugin(**node.options()) as plugin:
        for pod in ("one", "two"):
            plugin.setup_pod(id=pod, netns=node.NETNS)
        with pytest.raises(cnirt.InvalidArgumentError, match="validPods"):
            plugin.gc()
        assert plugin.gc(valid_pods=[{"id": "one"}]) == {"deleted": [{"id": "two", "network": "net", "ifName": "eth0"}]}
        assert [known["pod"]["id"] for known in plugin.list_pods()] == ["one"]
        assert plugin.gc({"validPods": []})["deleted"][0]["id"] == "one"
        assert plugin.list_pods() == []


def test_a_forced_teardown_tells_what_failed(tmp_path):
    node = Node(tmp_path)
    node.network("fake")
    stuck = "echo '{\"code\":100,\"msg\":\"stuck\"}'; exit 1"
    node.script("fake", f"echo '{_requests.dumps(RESULT)}' ;;\nDEL) {stuck}")
    with cnirt.Plugin(**node.options()) as plugin:
        plugin.setup_pod(id="pod", netns=node.NETNS)
        with pytest.raises(cnirt.PluginError, match="stuck"):
            plugin.teardown_pod(id="pod")
        answer = plugin.teardown_pod(id="pod", force=True)
        assert answer["networks"] == [{"network": "net", "ifName": "eth0"}]
        assert [error["cause"]["msg"] for error in answer["errors"]] == ["stuck"]
        assert plugin.list_pods() == []


def test_a_set_up_replaces(tmp_path):
    node = Node(tmp_path)
    node.network("fake")
    node.script("fake", f"echo '{_requests.dumps(RESULT)}'")
    with cnirt.Plugin(**node.options()) as plugin:
        for replace in (None, True):
            answer = plugin.setup_pod(id="pod", netns=node.NETNS, replace=replace)
            assert answer["networks"][0]["ifName"] == "eth0"


@pytest.mark.parametrize(
    ("value", "pointer", "found"),
    [
        ('{"ips": ["10.0.0.1"]}', "/ips/0", "10.0.0.1"),
        ({"ips": ["10.0.0.1", "ü"]}, "/ips", '["10.0.0.1","ü"]'),
        ([1, {"a/b": None}], "/1/a~1b", "null"),
        ("{}", "", "{}"),
    ],
)
def test_json_get(value, pointer, found):
    assert cnirt.json_get(value, pointer) == found


def test_json_get_of_nothing():
    with pytest.raises(cnirt.NotFoundError):
        cnirt.json_get({}, "/a")


@pytest.mark.parametrize(
    ("text", "pointer", "value", "made"),
    [
        (None, "/a/b", 1, '{"a":{"b":1}}'),
        ('{"a": [1]}', "/a/-", {"x": None}, '{"a":[1,{"x":null}]}'),
        ({"a": 1}, "/a", '"quoted"', '{"a":"\\"quoted\\""}'),
        ("{}", "/path", pathlib.PurePosixPath("/x"), '{"path":"/x"}'),
    ],
)
def test_json_set(text, pointer, value, made):
    assert cnirt.json_set(text, pointer, value) == made


@pytest.mark.parametrize(
    "call",
    [
        lambda plugin: plugin.event("a\0b"),
        lambda plugin: plugin.cancel("a\0b"),
        lambda plugin: cnirt.create_netns("/tmp/a\0b"),
        lambda plugin: cnirt.remove_netns("/tmp/a\0b"),
        lambda plugin: cnirt.json_get("{}\0", ""),
        lambda plugin: cnirt.json_set("{}", "/a", "a\0b"),
    ],
)
def test_a_nul_does_not_cut_a_string_short(noop, call):
    with pytest.raises(ValueError, match="NUL"):
        call(noop)


def test_versions():
    assert cnirt.abi_version() == 0
    assert cnirt.version().count(".") == 2


def test_errors_of_functions_without_a_handle(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(cnirt.ExistsError):
        cnirt.create_netns(file)
    with pytest.raises(cnirt.NetnsError):
        cnirt.remove_netns(file)
    cnirt.remove_netns(tmp_path / "gone")
