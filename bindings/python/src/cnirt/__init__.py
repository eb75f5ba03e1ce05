"""The container-runtime side of CNI: gives pods their networks through the standard CNI plugins.

    with cnirt.Plugin(conf_dir="/etc/cni/net.d") as plugin:
        plugin.setup_pod(id="0123abcd", netns="/run/netns/blue")["ips"]

Or, in asyncio's tasks:

    async with cnirt.AsyncPlugin(conf_dir="/etc/cni/net.d") as plugin:
        await plugin.setup_pod(id="0123abcd", netns="/run/netns/blue")

This is libcnirt through ctypes. Errors are cnirt.Error and its subclasses, one for each of the library's return codes.
"""

from ._answers import (
    Attachment,
    CheckedNetwork,
    Collected,
    CollectedNetwork,
    KnownNetwork,
    KnownPod,
    LastLoad,
    NetworkResult,
    NetworkStatus,
    PluginStatus,
    Pod,
    PodAttachments,
    PodChecks,
    PodResult,
    PodStatus,
    Status,
)
from ._async_plugin import AsyncPlugin
from ._callbacks import (
    ExecPlugin,
    ExecQuestion,
    FindPlugin,
    FindQuestion,
    GetNetns,
    GetPodPortMappings,
    Log,
    PodQuestion,
)
from ._errors import (
    CacheError,
    CancelledError,
    Cause,
    ConfigError,
    Error,
    ExistsError,
    ForkedError,
    InvalidArgumentError,
    IoError,
    NetnsError,
    NotFoundError,
    NotReadyError,
    PanicError,
    PluginError,
    PluginNotFoundError,
    RetryError,
    Rollback,
    TimeoutError,
    UnsupportedError,
)
from ._functions import abi_version, create_netns, json_get, json_set, remove_netns, version
from ._plugin import Plugin
from ._requests import (
    Bandwidth,
    Dns,
    GcRequest,
    NetworkRequest,
    PluginOptions,
    PodRequest,
    PortMapping,
    ValidNetwork,
    ValidPod,
)

__all__ = [
    "AsyncPlugin",
    "Attachment",
    "Bandwidth",
    "CacheError",
    "CancelledError",
    "Cause",
    "CheckedNetwork",
    "Collected",
    "CollectedNetwork",
    "ConfigError",
    "Dns",
    "Error",
    "ExecPlugin",
    "ExecQuestion",
    "ExistsError",
    "FindPlugin",
    "FindQuestion",
    "ForkedError",
    "GcRequest",
    "GetNetns",
    "GetPodPortMappings",
    "InvalidArgumentError",
    "IoError",
    "KnownNetwork",
    "KnownPod",
    "LastLoad",
    "Log",
    "NetnsError",
    "NetworkRequest",
    "NetworkResult",
    "NetworkStatus",
    "NotFoundError",
    "NotReadyError",
    "PanicError",
    "Plugin",
    "PluginError",
    "PluginNotFoundError",
    "PluginOptions",
    "PluginStatus",
    "Pod",
    "PodAttachments",
    "PodChecks",
    "PodQuestion",
    "PodRequest",
    "PodResult",
    "PodStatus",
    "PortMapping",
    "RetryError",
    "Rollback",
    "Status",
    "TimeoutError",
    "UnsupportedError",
    "ValidNetwork",
    "ValidPod",
    "abi_version",
    "create_netns",
    "json_get",
    "json_set",
    "remove_netns",
    "version",
]
