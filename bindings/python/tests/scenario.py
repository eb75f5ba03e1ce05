"""Does one scenario of tests/scenarios/scenarios.json, named by the argument, through the package's public face.

Without an argument it does the steps on its standard input: that is how a process beside another one begins.

The format is described in tests/scenarios/README.md.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import cnirt

SCENARIOS = Path(__file__).resolve().parents[3] / "tests" / "scenarios" / "scenarios.json"

#: Functions with other names, or other answers, than in C.
CALLS = {
    "plugin_status": lambda plugin, step: plugin.status(),
    "plugin_reload": lambda plugin, step: plugin.reload(),
    "plugin_capabilities": lambda plugin, step: plugin.capabilities(),
    "plugin_event": lambda plugin, step: plugin.event(step["event"], step.get("request")) or {},
    "netns_create": lambda plugin, step: cnirt.create_netns(step["request"]) or {},
    "netns_remove": lambda plugin, step: cnirt.remove_netns(step["request"]) or {},
    "list_pods": lambda plugin, step: plugin.list_pods(),
    "plugin_gc": lambda plugin, step: plugin.gc(step["request"]),
    **{
        name: lambda plugin, step: getattr(plugin, step["call"])(step["request"])
        for name in ("setup_pod", "teardown_pod", "check_pod", "pod_status")
    },
}


def sh(plugin, step):
    done = subprocess.run(["/bin/sh", "-ec", step["sh"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}"


def write(plugin, step):
    path = Path(step["write"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(step["content"]))


def remove(plugin, step):
    Path(step["remove"]).unlink()


def call(plugin, step):
    try:
        rc, answer = "CNI_OK", CALLS[step["call"]](plugin, step)
    except cnirt.Error as error:
        rc, answer = error.class_name, error.object
    assert rc == step.get("rc", "CNI_OK"), f"{rc}, wanted {step.get('rc', 'CNI_OK')}\n{answer}"
    for pointer, wanted in step.get("expect", {}).items():
        try:
            found = cnirt.json_get(answer, pointer)
        except cnirt.NotFoundError:
            found = None
        if wanted is not None and not isinstance(wanted, str):
            wanted = json.dumps(wanted, separators=(",", ":"))
        assert found == wanted, f"{pointer} is {found!r}, wanted {wanted!r}\n{answer}"
    if "save" in step:
        Path(step["save"]).write_text(json.dumps(answer))


STEPS = {"sh": sh, "write": write, "remove": remove, "call": call}


def begin_beside(scenario):
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps(scenario))
    process.stdin.close()
    return process


def do(scenario):
    besides = []
    try:
        with cnirt.Plugin(scenario["options"]) as plugin:
            for number, step in enumerate(scenario["steps"], 1):
                if "beside" in step:
                    besides.append(begin_beside({"options": scenario["options"], "steps": step["beside"]}))
                    continue
                (kind,) = STEPS.keys() & step.keys()
                try:
                    STEPS[kind](plugin, step)
                except AssertionError as error:
                    raise SystemExit(f"step {number} {json.dumps(step)}: {error}") from None
    finally:
        for process in besides:
            process.kill()
    for process in besides:
        assert process.wait() in (0, -signal.SIGKILL), "the process beside this one failed"


def main(name):
    scenarios = {scenario["name"]: scenario for scenario in json.loads(SCENARIOS.read_text())}
    directory = tempfile.mkdtemp()
    try:
        do(json.loads(json.dumps(scenarios[name]).replace("${dir}", directory)))
    finally:
        # What is mounted there goes with this mount namespace, and may not be removable before.
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1]) if sys.argv[1:] else do(json.load(sys.stdin))
