"""Callbacks in Python, and what becomes of what they raise."""

import json
import threading

import pytest
from support import RESULT, VERSION, Node, thread

import cnirt


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    node.network("fake")
    return node


def command(call):
    return dict(line.split("=", 1) for line in call["env"])["CNI_COMMAND"]


def executor(add):
    """An exec_plugin that answers ADD so, tells its version, and takes the rest as done."""
    return lambda call: add(call) if command(call) == "ADD" else VERSION if command(call) == "VERSION" else None


def find(call):
    return f"/nowhere/{call['type']}"


def raiser(error):
    def callback(*_):
        raise error

    return callback


@pytest.mark.parametrize(
    "answer", [RESULT, json.dumps(RESULT), json.dumps(RESULT).encode()], ids=["dict", "str", "bytes"]
)
def test_the_host_runs_plugins(node, answer):
    calls = []

    def exec_plugin(call):
        if command(call) != "VERSION":
            calls.append(call)
        return executor(lambda call: answer)(call)

    with cnirt.Plugin(**node.options(), find_plugin=find, exec_plugin=exec_plugin) as plugin:
        request = {"id": "pod", "netns": node.NETNS, "call_id": "c1", "timeout_ms": 5000}
        assert plugin.setup_pod(**request)["ips"] == ["10.9.8.7"]
        plugin.teardown_pod(**request)
    assert [command(call) for call in calls] == ["ADD", "DEL"]
    assert {call["path"] for call in calls} == {"/nowhere/fake"}
    assert {call["callId"] for call in calls} == {"c1"}
    assert all(0 < call["timeoutMs"] <= 5000 for call in calls)
    assert json.loads(calls[0]["stdin"])["name"] == "net"


def test_the_host_is_asked_for_what_a_request_omits(node):
    text = json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "net",
            "plugins": [{"type": "fake", "capabilities": {"portMappings": True}}],
        }
    )
    (node.directory / "conf" / "net.conflist").write_text(text)
    asked, inputs = [], []

    def get_netns(pod):
        asked.append(pod)
        return node.NETNS

    def add(call):
        inputs.append(json.loads(call["stdin"]))
        return RESULT

    with cnirt.Plugin(
        **node.options(),
        get_netns=get_netns,
        get_pod_port_mappings=lambda pod: [{"hostPort": 8080, "containerPort": 80}],
        find_plugin=find,
        exec_plugin=executor(add),
    ) as plugin:
        plugin.setup_pod(id="pod", namespace="default", name="web", uid="42")
    assert asked == [{"id": "pod", "namespace": "default", "name": "web", "uid": "42"}]
    (mapping,) = inputs[0]["runtimeConfig"]["portMappings"]
    assert (mapping["hostPort"], mapping["containerPort"], mapping["protocol"]) == (8080, 80, "tcp")


def test_none_is_no_namespace_and_no_plugin(node):
    with cnirt.Plugin(**node.options(), get_netns=lambda pod: None) as plugin:
        assert plugin.teardown_pod(id="pod")["networks"] is not None
    with cnirt.Plugin(**node.options(), find_plugin=lambda call: None) as plugin:
        status = plugin.status()
    assert not status["ready"]


@pytest.mark.parametrize(
    ("callbacks", "error", "kind"),
    [
        ({"get_netns": None}, KeyError("x"), cnirt.IoError),
        ({"get_netns": None}, OSError(2, "gone"), cnirt.IoError),
        ({"get_netns": None}, cnirt.NotFoundError("no such pod"), cnirt.NotFoundError),
        ({"get_netns": None}, cnirt.TimeoutError("slow"), cnirt.TimeoutError),
        ({"get_netns": "", "get_pod_port_mappings": None}, KeyError("x"), cnirt.IoError),
        ({"get_netns": "", "find_plugin": find, "exec_plugin": "exec"}, KeyError("x"), cnirt.PluginError),
        (
            {"get_netns": "", "find_plugin": find, "exec_plugin": "exec"},
            cnirt.RetryError("x", code=11),
            cnirt.RetryError,
        ),
    ],
)
def test_what_a_callback_raises_is_the_cause(node, unraisable, callbacks, error, kind):
    def exec_plugin(call):
        return VERSION if command(call) == "VERSION" else raiser(error)()

    functions = {"": lambda pod: node.NETNS, None: raiser(error), "exec": exec_plugin}
    callbacks = {name: functions.get(function, function) for name, function in callbacks.items()}
    node.script("fake", "exit 1")
    with cnirt.Plugin(**node.options(), **callbacks) as plugin, pytest.raises(kind) as caught:
        plugin.setup_pod(id="pod")
    assert caught.value.__cause__ is error
    words = error.msg if isinstance(error, cnirt.Error) else f"{type(error).__name__}: {error}"
    assert words in caught.value.msg
    # Undoing asked exec_plugin a second time, and that exception is nobody's cause.
    rollback = "exec_plugin" in callbacks and not isinstance(error, cnirt.Error)
    assert unraisable == ([error] if rollback else [])


def test_a_raised_error_keeps_code_and_details(node):
    error = cnirt.PluginError("full", code=123, details="no address is left")
    callbacks = {"find_plugin": find, "exec_plugin": executor(raiser(error))}
    with cnirt.Plugin(**node.options(), **callbacks) as plugin, pytest.raises(cnirt.PluginError) as caught:
        plugin.setup_pod(id="pod", netns=node.NETNS)
    assert caught.value.cause == {"code": 123, "msg": "full", "details": "no address is left"}
    assert (caught.value.plugin, caught.value.command, caught.value.rollback) == (
        "fake",
        "ADD",
        {"done": True, "errors": []},
    )


def test_an_exception_in_a_call_that_succeeds_is_unraisable(node, unraisable):
    error = KeyError("x")
    with cnirt.Plugin(**node.options(), find_plugin=raiser(error)) as plugin:
        unraisable.clear()
        assert not plugin.reload()["ready"]
    assert error in unraisable


def test_an_answer_of_the_wrong_type_is_an_exception_of_the_callbacks(node):
    with cnirt.Plugin(**node.options(), get_netns=lambda pod: 7) as plugin, pytest.raises(cnirt.IoError) as caught:
        node.script("fake", "exit 1")
        plugin.setup_pod(id="pod")
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["KeyboardInterrupt", "SystemExit"])
def test_an_interruption_leaves_the_call_as_it_is(node, error):
    node.script("fake", "exit 1")
    with cnirt.Plugin(**node.options(), get_netns=raiser(error)) as plugin, pytest.raises(type(error)) as caught:
        plugin.setup_pod(id="pod")
    assert caught.value is error
    assert isinstance(error.__cause__, cnirt.IoError)


def test_log_lines_arrive(node):
    lines = []
    node.script("fake", "echo from-the-plugin >&2; exit 1")
    with (
        cnirt.Plugin(**node.options(), log=lambda *line: lines.append(line)) as plugin,
        pytest.raises(cnirt.PluginError),
    ):
        plugin.setup_pod(id="pod", netns=node.NETNS)
    assert lines
    for level, target, message, fields in lines:
        assert 1 <= level <= 5
        assert isinstance(target, str)
        assert isinstance(message, str)
        assert isinstance(fields, dict)
    assert any("from-the-plugin" in f"{message}{fields}" for _, _, message, fields in lines)


def test_a_log_callback_that_raises_fails_no_call(node, unraisable):
    error = KeyError("x")
    node.script("fake", f"echo x >&2; echo '{json.dumps(RESULT)}'")
    with cnirt.Plugin(**node.options(), log=raiser(error)) as plugin:
        assert plugin.setup_pod(id="pod", netns=node.NETNS)["ips"] == ["10.9.8.7"]
    assert set(unraisable) == {error}


def test_calling_the_own_handle_is_refused(node):
    def get_netns(pod):
        return plugin.status()

    node.script("fake", "exit 1")
    with cnirt.Plugin(**node.options(), get_netns=get_netns) as plugin:
        with pytest.raises(cnirt.InvalidArgumentError) as caught:
            plugin.setup_pod(id="pod")
        assert type(caught.value.__cause__) is cnirt.InvalidArgumentError
        assert plugin.status()["ready"]


def test_exceptions_find_their_call_among_threads(node):
    """The older call's exception comes while the newer one is in its callback."""
    events = {name: threading.Event() for name in ("older is in", "newer is in", "older is done")}

    def get_netns(pod):
        if pod["id"] == "older":
            events["older is in"].set()
            assert events["newer is in"].wait(60)
        else:
            events["newer is in"].set()
            assert events["older is done"].wait(60)
        raise KeyError(pod["id"])

    node.script("fake", "exit 1")
    with cnirt.Plugin(**node.options(), get_netns=get_netns) as plugin, thread(plugin.setup_pod, id="older") as older:
        assert events["older is in"].wait(60)
        with thread(plugin.setup_pod, id="newer") as newer:
            with pytest.raises(cnirt.IoError) as caught:
                older()
            assert caught.value.__cause__.args == ("older",)
            events["older is done"].set()
            with pytest.raises(cnirt.IoError) as caught:
                newer()
            assert caught.value.__cause__.args == ("newer",)


@pytest.fixture
def small_stacks():
    """With less than 512 KiB left the library works, and calls back, on a helper thread."""
    before = threading.stack_size(256 * 1024)
    yield
    threading.stack_size(before)


def test_an_exception_on_a_helper_thread_finds_the_call(node, small_stacks):
    threads = []

    def get_netns(pod):
        threads.append(threading.get_ident())
        raise KeyError(pod["id"])

    def call():
        threads.append(threading.get_ident())
        plugin.setup_pod(id="pod")

    node.script("fake", "exit 1")
    with cnirt.Plugin(**node.options(), get_netns=get_netns) as plugin, thread(call) as wait:
        with pytest.raises(cnirt.IoError) as caught:
            wait()
        assert caught.value.__cause__.args == ("pod",)
    assert len(set(threads)) == 2


def test_closing_on_a_helper_thread_does_not_hang(node, small_stacks):
    node.script("fake", "exit 1")
    plugin = cnirt.Plugin(**node.options(), get_netns=lambda pod: plugin.close())
    with thread(plugin.setup_pod, id="pod") as wait, pytest.raises(cnirt.Error):
        wait()
    assert plugin.closed
    assert plugin._pointer is None, "not freed"
