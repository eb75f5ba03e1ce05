"""What goes in: options and requests, by keyword or as the library's own JSON object.

A keyword is the JSON key in snake_case: `if_name` is `ifName`. That is the whole rule, and it ends at the first level:
what is inside a value (a port mapping's `hostPort`) is CNI's and stays as it is. None means not given.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Union

Path = Union[str, "os.PathLike[str]"]
Address = Union[str, ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Interface, ipaddress.IPv6Interface]


class PluginOptions(TypedDict, total=False):
    """Keywords of Plugin."""

    plugin: Literal["cni", "noop"] | None
    conf_dir: Path | None
    bin_dirs: Sequence[Path] | None
    cache_dir: Path | None
    default_network: str | None
    pod_cidr: str | None
    if_name: str | None
    timeout_ms: int | None
    kill_grace_ms: int | None
    rollback: bool | None
    rollback_timeout_ms: int | None
    loopback: bool | None
    builtin: Literal["auto"] | Sequence[str] | None
    durability: Literal["full", "atomic"] | None
    max_output_bytes: int | None
    op_threads: int | None
    env: Mapping[str, str] | None
    plugin_env: Mapping[str, str] | None
    owner: str | None
    ip_preference: Literal["cni", "ipv4", "ipv6"] | None


class _PortMapping(TypedDict):
    containerPort: int


class PortMapping(_PortMapping, total=False):
    """A port of the host that leads to one of the pod."""

    hostPort: int
    protocol: str
    hostIP: str


class Bandwidth(TypedDict, total=False):
    """Limits of the pod's traffic: rates in bits per second, bursts in bits."""

    ingressRate: int
    ingressBurst: int
    egressRate: int
    egressBurst: int


class Dns(TypedDict, total=False):
    """The pod's resolver."""

    servers: Sequence[str]
    searches: Sequence[str]
    options: Sequence[str]


class NetworkRequest(TypedDict, total=False):
    """One network of a pod: exactly one of name, default and config says which."""

    name: str
    default: bool
    config: Mapping[str, Any]
    ifName: str
    ips: Sequence[Address]
    mac: str
    args: Mapping[str, Any]
    cniArgs: Sequence[Sequence[str]]
    capabilityArgs: Mapping[str, Any]


class PodRequest(TypedDict, total=False):
    """Keywords of the calls on a pod; only `id` is needed."""

    id: str
    namespace: str | None
    name: str | None
    uid: str | None
    netns: Path | None
    if_name: str | None
    annotations: Mapping[str, str] | None
    port_mappings: Sequence[PortMapping] | None
    bandwidth: Bandwidth | None
    ip_ranges: Sequence[Sequence[Mapping[str, Any]]] | None
    dns: Dns | None
    ips: Sequence[Address] | None
    mac: str | None
    aliases: Sequence[str] | None
    cgroup_path: str | None
    cni_args: Sequence[Sequence[str]] | None
    capability_args: Mapping[str, Any] | None
    networks: Sequence[NetworkRequest] | None
    timeout_ms: int | None
    env: Mapping[str, str] | None
    call_id: str | None
    replace: bool | None
    force: bool | None


class ValidNetwork(TypedDict):
    """One attachment of a pod that is there."""

    network: str
    ifName: str


class _ValidPod(TypedDict):
    id: str


class ValidPod(_ValidPod, total=False):
    """A pod that is there; without `networks` all of its attachments are in use."""

    networks: Sequence[ValidNetwork]


class GcRequest(TypedDict, total=False):
    """Keywords of gc; `valid_pods` is needed, and an empty list says that no pod is there."""

    valid_pods: Sequence[ValidPod]
    timeout_ms: int | None
    call_id: str | None


def key(keyword: str) -> str:
    """if_name → ifName"""
    first, *others = keyword.split("_")
    return first + "".join(word.capitalize() for word in others)


def to_object(given: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object for a call: `given` as it is, keywords over it."""
    made = dict(given or {})
    made.update((key(keyword), value) for keyword, value in keywords.items() if value is not None)
    return made


def dumps(value: Any) -> str:
    """JSON; paths and addresses are their text."""
    return json.dumps(value, default=_text_of, allow_nan=False, separators=(",", ":"))


def _text_of(value: object) -> Any:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return dict(value)
    if type(value).__module__ == ipaddress.__name__:
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
