"""What comes out: the library's JSON, with its own keys; at run time plain dictionaries."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Pod(TypedDict):
    """Which pod; namespace and name may be empty."""

    namespace: str
    name: str
    id: str


class Attachment(TypedDict):
    """One network of a pod, by one interface."""

    network: str
    ifName: str


class NetworkResult(Attachment):
    """`result` is the last plugin's, in the network's CNI version."""

    result: Any


class PodResult(TypedDict):
    """The answer of setup_pod; `ips` are those of the first network's interface, without prefix."""

    pod: Pod
    ips: list[str]
    networks: list[NetworkResult]


class PodStatus(PodResult):
    """The answer of pod_status; `source` says where `ips` were read."""

    source: Literal["netlink", "cache"]


class _PodAttachments(TypedDict):
    pod: Pod
    networks: list[Attachment]


class PodAttachments(_PodAttachments, total=False):
    """The answer of teardown_pod: what was removed. `errors` are error objects, only where the removal was forced: what
    may be left behind although its record is gone."""

    errors: list[dict[str, Any]]


class CheckedNetwork(Attachment):
    """`checked` is False where the version has no CHECK or the configuration says disableCheck."""

    checked: bool


class PodChecks(TypedDict):
    """The answer of check_pod."""

    pod: Pod
    networks: list[CheckedNetwork]


class KnownNetwork(Attachment):
    """`unfinished`: a set-up that is under way, or neither ended well nor could be undone. `owner` is None where another
    runtime made it."""

    netns: str
    owner: str | None
    unfinished: bool


class KnownPod(TypedDict):
    """One element of list_pods."""

    pod: Pod
    networks: list[KnownNetwork]


class CollectedNetwork(Attachment):
    """An attachment that gc deleted; `id` is the pod's."""

    id: str


class Collected(TypedDict):
    """The answer of gc."""

    deleted: list[CollectedNetwork]


class LastLoad(TypedDict, total=False):
    """How reading the configuration went; `error` only where it failed."""

    ok: bool
    error: str


class _PluginStatus(TypedDict):
    type: str
    file: str
    engine: str


class PluginStatus(_PluginStatus, total=False):
    """One plugin of a network; `path` is absent where there is no binary."""

    path: str


class _NetworkStatus(TypedDict):
    name: str
    file: str
    cniVersion: str
    valid: bool
    capabilities: list[str]
    plugins: list[PluginStatus]


class NetworkStatus(_NetworkStatus, total=False):
    """One network file; `reason` says why it is not valid."""

    reason: str


class _Status(TypedDict):
    ready: bool
    lastLoad: LastLoad
    networks: list[NetworkStatus]


class Status(_Status, total=False):
    """The answer of status and reload."""

    reason: str
    code: int
    limitedConnectivity: bool
    defaultNetwork: str
    podCidr: str
