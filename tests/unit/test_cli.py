# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``p2-hook``, as people call it: the file itself, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from p2hooks import VERSION, configuration, run_command
from p2hooks.cli import parser, texts
from p2hooks.cli.quiet_parser import HelpWanted
from p2hooks.console import UsageError
from p2hooks.hook_key import HookKey
from p2hooks.hook_options import read_manifest
from p2hooks.manifest import parse
from p2hooks.rollout_record import FAILURES, Cohort, Limits, Rollout
from p2hooks.store import ABSENT, Change
from p2hooks.store import options as store_options
from p2hooks.store.consul import ConsulStore
from p2hooks.store.directory import DirectoryStore
from support_rollout import Fleet, moment
from support_run import eventually, write_script

TOP = Path(__file__).parents[2]
COMMAND = TOP / "bin/p2-hook"
EVENT = "before_install"
COMMANDS = (
    "bin2pod", "schedule", "unschedule", "list", "info", "install", "listen", "run", "rollout", "audit", "audit-prune",
    "audit-import", "compile",
)  # fmt: skip
MISCONFIGURED_LISTENER = "listen (?!.*-file)" if importlib.util.find_spec("consul") else "listen "
SYSTEM_PYTHON = "/usr/bin/python3"


def system_has_yaml() -> bool:
    found = subprocess.run([SYSTEM_PYTHON, "-c", "import yaml"], capture_output=True, check=False)
    return found.returncode == 0


class Result:
    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def data(self) -> dict[str, Any]:
        loaded = json.loads(self.out)
        assert isinstance(loaded, dict)
        return loaded

    @property
    def error(self) -> str:
        """The one line of standard error, without the name of the command."""
        assert re.fullmatch(r"p2-hook: [^\n]+\n", self.err), self.err
        return self.err[len("p2-hook: ") : -1]


class Host:
    """A store and a host below a temporary directory, and the command that works on them."""

    def __init__(self, path: Path, interpreter: Sequence[str] = (sys.executable, "-IS")) -> None:
        self.path = path
        self.root = path / "root"
        self.audit = path / "audit.jsonl"
        self.start = [*interpreter, str(COMMAND)]

    def line(self, arguments: str, *more: str) -> list[str]:
        """Return the whole command line; options that only some sub-commands have are filled in."""
        words = shlex.split(arguments)
        command = words[0] if words else ""
        if command in ("info", "install", "list", "listen", "run"):
            words += ["--root", str(self.root)]
        if command in ("info", "install", "list", "listen", "schedule", "unschedule") or (
            command == "rollout" and "--help" not in words
        ):
            words += ["--store-path", str(self.path / "store")]
        if command in ("audit", "listen", "run") or (command.startswith("audit-") and "--audit-database" not in words):
            words += ["--audit-log", str(self.audit)]
        if command == "run":
            words += ["--pod-root", str(self.path / "pods"), "--node", "node1"]
        return [*self.start, *words, *more]

    def call(self, arguments: str, *more: str, env: dict[str, str] | None = None) -> Result:
        return Result(
            subprocess.run(
                self.line(arguments, *more),
                cwd=self.path,
                env={"PATH": os.environ["PATH"], **(env or {})},
                capture_output=True,
                text=True,
                check=False,
            )
        )

    def done(self, arguments: str, *more: str) -> str:
        """Call what must succeed without a complaint; return standard output."""
        result = self.call(arguments, *more)
        assert (result.code, result.err) == (0, "")
        return result.out

    def executable(self, name: str, body: str = "echo hello") -> None:
        write_script(self.path / name, body)

    def hook(self, name: str, body: str = "echo hello") -> str:
        """Build a hook and return the path of its manifest."""
        self.executable(name, body)
        path = json.loads(self.done(f"bin2pod {name}"))["manifest_path"]
        assert isinstance(path, str)
        return path

    def install_hook(self, name: str, body: str = "echo hello") -> None:
        self.done(f"install {self.hook(name, body)} --event {EVENT} --local")

    def script(self, name: str, body: str = "echo hello", mode: int = 0o755) -> None:
        (self.root / "exec" / EVENT).mkdir(parents=True, exist_ok=True)
        write_script(self.root / "exec" / EVENT / name, body, mode)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture(params=["as it is", "this Python"])
def any_host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    """A host where the command is called by its name, or by the Python that runs the tests."""
    if request.param == "this Python":
        return Host(tmp_path)
    if not system_has_yaml():
        pytest.skip(f"{SYSTEM_PYTHON} has no PyYAML")
    return Host(tmp_path, interpreter=())


# --- from an executable to an audited run --------------------------------------------------------------------------


def test_the_way_of_a_hook_from_an_executable_to_its_removal(any_host: Host) -> None:
    host = any_host
    host.executable("ensure_user", 'echo "$POD_ID in $HOOK_EVENT"')
    built = json.loads(host.done("bin2pod ensure_user --json"))
    assert Path(built["tar_path"]).parent == host.path
    assert built["final_location"] == f"file://{built['tar_path']}"

    schedule = f"schedule --event {EVENT} {built['manifest_path']}"
    assert host.done(f"{schedule} --check") == f"would add hooks/{EVENT}/ensure_user\n"
    assert host.done(schedule) == f"added hooks/{EVENT}/ensure_user\n"
    assert host.done(schedule) == "nothing to change\n"

    assert host.done("install --check") == f"would install {EVENT}/ensure_user\n"
    assert host.done("install") == f"installed {EVENT}/ensure_user\n"
    assert host.done("install") == "nothing to change\n"
    short = built["sha256"][:12]
    assert host.done("list").splitlines()[1].split() == [EVENT, "ensure_user", short, "store"]
    assert host.done("list --scheduled").splitlines()[1].split() == [EVENT, "ensure_user", short, "installed"]

    ran = json.loads(host.done(f"run {EVENT} hello --json"))
    assert [(hook["hook_id"], hook["outcome"], hook["output"]) for hook in ran["hooks"]] == [
        ("ensure_user", "succeeded", f"hello in {EVENT}\n")
    ]
    (record,) = json.loads(host.done("audit --hook-id ensure_user --since 1h --json"))["records"]
    assert (record["run_id"], record["outcome"]) == (ran["run_id"], "succeeded")

    assert host.done(f"unschedule --event {EVENT} ensure_user") == f"removed hooks/{EVENT}/ensure_user\n"
    assert host.done("install --allow-empty") == f"removed {EVENT}/ensure_user\n"
    assert host.done("list") == "no hook is installed here\n"


def test_the_way_of_a_new_version_to_a_few_hosts_and_then_to_all(host: Host) -> None:
    old = shutil.copy(host.hook("greet"), host.path / "old.yaml")
    host.done(f"schedule --event {EVENT} {old}")
    manifest = host.hook("greet", "echo hello again")
    fleet = Fleet(host.path / "store")
    fleet.report("web1", "web2", at=time.time())
    assert host.done("rollout show") == f"no rollout is under way in the store in '{host.path}/store'\n"
    start = f"rollout start {manifest} --event {EVENT} --nodes web1 --no-wait --started-by alice"
    assert host.done(f"{start} --check").startswith(f"would start {EVENT}/greet\nfor 1 of 2 hosts (web1)\n")
    *lines, waiting = host.done(start).splitlines()
    assert lines[:2] == [f"started {EVENT}/greet", "for 1 of 2 hosts (web1)"]
    assert lines[2:] == ["0 converged, 1 waiting, 0 away, 0 failed", "runs: none yet"]
    assert re.fullmatch("waiting: web1: it does not have it yet, by its report of [0-9]+ s ago", waiting)
    assert host.done(start).startswith("nothing to change\nfor 1 of 2 hosts, as before\n")
    wider = host.call(f"rollout widen greet --event {EVENT} --percent 100 --no-wait --json").data
    assert (wider["changed"], sorted(wider["waiting"]), wider["rollout"]["percent"]) == (True, ["web1", "web2"], 100)
    assert host.done("rollout show").startswith(f"{EVENT}/greet: started by alice at ")
    (under_way,) = json.loads(host.done("rollout show --json"))["rollouts"]
    assert (under_way["id"], under_way["started_by"], under_way["converged"]) == ("greet", "alice", [])

    pod = read_manifest(manifest)
    shown = host.done("rollout show").splitlines()
    assert shown[1:4] == [
        f"  version {(pod.launchables[0].version or '')[:12]}, manifest {pod.sha[:12]}",
        "  for web1 and 100%: 2 of 2 hosts",
        f"  limits: failed_hosts 0, failed_runs 0, outcomes {','.join(FAILURES)}, watch_for 60.0, min_runs 0",
    ]
    assert shown[4].startswith("  0 converged, 2 waiting, ")
    assert shown[-1].startswith("  still waiting for 2 of its hosts (web1: it does not have it yet, by its report of ")
    hook = {"manifest_sha": pod.sha, "scheduled_sha": pod.sha}
    for node, second in (("web1", 30), ("web2", 10)):  # the last one has had it for 10 s
        since = moment(time.time() - second)
        document = {f"{EVENT}/greet": {**hook, "installed": since}}
        fleet.write(node, fleet.document(node, document, at=time.time()))
    assert re.fullmatch("  to be watched for [0-9]+ s more", host.done("rollout show").splitlines()[-1])
    (under_way,) = json.loads(host.done("rollout show --json"))["rollouts"]
    assert 0 < under_way["watch_left"] <= 60
    assert list(under_way["versions"]) == ["greet"]

    overtaken = f"{EVENT}/greet: what is scheduled was changed since the rollout was started; abort the rollout, and "
    host.call(f"rollout widen greet --event {EVENT} --min-runs 100 --no-wait")
    still = "  still waiting for the newest of its hosts to run it (0 of 100 times, min_runs)"
    assert host.done("rollout show").splitlines()[-1] == still
    host.call(f"rollout widen greet --event {EVENT} --min-runs 0 --no-wait")
    over = host.call(f"unschedule greet --event {EVENT}")
    assert "greet: a rollout of it is under way, which can be promoted only over what was scheduled when" in over.error
    assert host.done("rollout show").splitlines()[-1].startswith(f"  it cannot be promoted: {overtaken}")
    assert json.loads(host.done("rollout show --json"))["rollouts"][0]["overtaken"].startswith(overtaken)
    assert f"\n{overtaken}" in host.call("info").out
    host.call(f"schedule {old} --event {EVENT}")
    assert json.loads(host.done("rollout show --json"))["rollouts"][0]["overtaken"] is None

    told = "2 converged, 0 waiting, 0 away, 0 failed\n"
    result = host.call(f"rollout promote greet --event {EVENT} --diff")
    early = f"p2-hook: warning: {EVENT}/greet: this step comes early: still to be watched for [0-9]+ s\n"
    assert result.code == 0
    assert re.fullmatch(f"p2-hook: {EVENT}/greet: {told}{early}", result.err)
    promoted = result.out
    to = f"from manifest {read_manifest(str(old)).sha[:12]} to manifest {pod.sha[:12]}\n"
    assert promoted.startswith(f"promoted {EVENT}/greet\n{to}{told}runs: none yet\n--- hooks-rollout/{EVENT}/greet\n")
    assert f"\n+++ hooks/{EVENT}/greet\n" in promoted
    for step in ("start --nodes web1", "widen --percent 100", "promote --no-wait"):
        nothing = f"nothing to change\nmanifest {pod.sha[:12]} is scheduled already\n"
        assert host.done(f"rollout {step} {manifest} --event {EVENT}") == nothing
    again = host.call(f"rollout promote {manifest} --event {EVENT} --json").data
    assert (again["changed"], again["converged"]) == (False, ["web1", "web2"])
    assert "give the id in place of a manifest" in host.call(f"rollout rollback {manifest} --event {EVENT}").error
    rollback = f"rollout rollback greet --event {EVENT} --manifest-sha {pod.sha}"
    way = f"from manifest {pod.sha[:12]} to manifest {read_manifest(str(old)).sha[:12]}"
    assert host.done(f"{rollback} --check --no-wait") == f"would roll back {EVENT}/greet\n{way}\n"
    lacking = host.call(f"{rollback} --wait-timeout 0 --json")
    assert (lacking.code, lacking.data["changed"], sorted(lacking.data["waiting"])) == (1, True, ["web1", "web2"])
    assert f"run this again with manifest_sha {pod.sha} to go on waiting" in lacking.error
    assert lacking.data["summary"] == way
    assert re.fullmatch("nothing to change\nmanifest .* is scheduled, not .*\n", host.done(f"{rollback} --no-wait"))
    assert host.call(f"rollout abort greet --event {EVENT}").out == "nothing to change\n"


def test_a_rollback_from_nothing_is_not_to_be_run_again(host: Host) -> None:
    Fleet(host.path / "store").report("web1")
    host.done(f"schedule {host.hook('greet')} --event {EVENT}")
    host.done(f"unschedule greet --event {EVENT}")
    lacking = host.call(f"rollout rollback greet --event {EVENT} --wait-timeout 0 --json")
    assert lacking.error.endswith("; look at these hosts; 'p2-hook info' tells when they have it")
    assert "nothing was scheduled before" in host.call(f"rollout rollback greet --event {EVENT}").error


def test_a_rollout_that_breaks_its_limits_is_an_error(host: Host) -> None:
    manifest = host.hook("greet")
    sha = read_manifest(manifest).sha
    fleet = Fleet(host.path / "store")
    hook = {"manifest_sha": sha, "scheduled_sha": sha, "outcomes": {"failed": 2}}
    fleet.write("web1", fleet.document("web1", {f"{EVENT}/greet": hook}, at=time.time()))
    result = host.call(f"rollout start {manifest} --event {EVENT} --percent 100 --json")
    assert result.code == 1
    assert result.error.endswith("web1: runs: failed 2; the rollout is aborted")
    assert result.data["error"] == result.error
    assert list(result.data["failed_nodes"]) == ["web1"]
    assert (result.data["aborted"], result.data["rollout"]) == (True, None)
    assert [breach["node"] for breach in result.data["broken_by"]] == ["web1"]
    assert host.done("rollout show").startswith("no rollout is under way in ")
    host.call(f"rollout start {manifest} --event {EVENT} --percent 100 --no-wait")
    lines = host.call(f"rollout widen greet --event {EVENT}").out.splitlines()
    assert lines[:3] == [
        f"aborted {EVENT}/greet",
        "for 1 of 1 hosts, as before",
        "0 converged, 0 waiting, 0 away, 1 failed",
    ]


@pytest.mark.parametrize(("more", "told"), [("", True), (" --json", False)])
def test_who_waits_for_a_rollout_sees_each_change(host: Host, more: str, told: bool) -> None:
    manifest = host.hook("greet")
    sha = read_manifest(manifest).sha
    fleet = Fleet(host.path / "store")
    fleet.report("web1", "web2", at=time.time())

    def report(node: str) -> None:
        hook = {"manifest_sha": sha, "scheduled_sha": sha, "installed": moment(time.time())}
        fleet.write(node, fleet.document(node, {f"{EVENT}/greet": hook}, at=time.time()))

    command = host.line(f"rollout start {manifest} --event {EVENT} --percent 100 --watch-for 0{more}")
    waiting = subprocess.Popen(command, cwd=host.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr
    lines = [waiting.stderr.readline()] if told else []  # it looks at once, and then once in a second
    eventually = time.monotonic() + 30
    while fleet.store.get(f"hooks-rollout/{EVENT}/greet") is None and time.monotonic() < eventually:
        time.sleep(0.05)
    report("web1")
    lines += [waiting.stderr.readline()] if told else []
    report("web2")
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, json.loads(out)["converged"] if more else None) == (
        0,
        ["web1", "web2"] if more else None,
    )
    assert "".join(lines) + err == "".join(
        f"p2-hook: {EVENT}/greet: {converged} converged, {2 - converged} waiting, 0 away, 0 failed\n"
        for converged in (range(3) if told else ())
    )


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("start {} --percent 100", "the rollout is still under way, so run this again to go on waiting, or abort it"),
        ("promote {}", "it is scheduled; look at these hosts, and run this again to go on waiting"),
    ],
)
def test_who_interrupts_a_wait_is_told_how_to_go_on(host: Host, step: str, said: str) -> None:
    manifest = host.hook("greet")
    fleet = Fleet(host.path / "store")
    fleet.report("web1", at=time.time())
    if step.startswith("promote"):
        host.done(f"schedule {manifest} --event {EVENT}")
    command = host.line(f"rollout {step.format(manifest)} --event {EVENT}")
    waiting = subprocess.Popen(command, cwd=host.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr
    waiting.stderr.readline()  # it looked at the hosts
    waiting.send_signal(signal.SIGINT)
    dummy, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err.startswith(f"p2-hook: {EVENT}/greet: interrupted; {said}")) == (130, True)


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ("rollout begin", 2, "invalid choice: 'begin'"),
        ("rollout start greet", 2, "one of the arguments --event --global is required"),
        ("rollout start greet --global", 1, "greet: is missing; build it"),
        ("rollout widen greet --global --percent 10", 1, "greet: no rollout is under way in the store in '/"),
        ("rollout widen greet --global --percent 101", 1, "percent is 101; give a number from 0 to 100"),
        ("rollout widen greet --global --percent x", 1, "percent is 'x'; give a number from 0 to 100"),
        ("rollout widen greet --global --nodes a,,b", 2, "is empty"),
        ("rollout widen greet --global --nodes a", 1, "nodes: 'a' is none of the 0 hosts"),
        ("rollout widen greet --global --wait-timeout nan", 1, "wait_timeout is nan; give seconds"),
        ("rollout promote greet --global", 1, "'; start one, or, if there was one, look what is scheduled now"),
        ("rollout rollback greet --global", 1, "greet: nothing was scheduled before in the store in '/"),
        ("rollout rollback greet --global --manifest-sha=", 2, "is empty"),
    ],
)
def test_a_step_of_a_rollout_that_cannot_be_taken(host: Host, arguments: str, code: int, error: str) -> None:
    (host.path / "store").mkdir()
    result = host.call(arguments)
    assert (result.code, error in result.error) == (code, True)


@pytest.mark.parametrize("command", ["rollout start {}", "schedule {}", "install {} --local"])
def test_an_executable_in_place_of_its_manifest_is_told(host: Host, command: str) -> None:
    host.executable("greet")
    result = host.call(f"{command.format('./greet')} --event {EVENT}")
    assert result.code == 1
    assert result.error == f"{host.path}/greet: is an executable; build it with bin2pod, and give the manifest of that"


def test_to_abort_what_is_not_under_way_is_told(host: Host) -> None:
    (host.path / "store").mkdir()
    result = host.call("rollout abort grete --global")
    assert (result.code, result.out) == (0, "nothing to change\n")
    assert result.error == f"warning: grete: no rollout is under way in the store in '{host.path}/store'"


@pytest.mark.parametrize(
    "arguments",
    [
        "rollout show",
        "rollout start greet.yaml --global",
        "rollout widen greet --global --percent 10",
        "rollout promote greet --global",
        "rollout abort greet --global",
        "rollout rollback greet --global",
        "unschedule greet --global",
    ],
)
def test_a_store_that_is_missing_is_not_taken_for_an_empty_one(host: Host, arguments: str) -> None:
    host.hook("greet")
    result = host.call(arguments)
    assert result.error.startswith(f"the store in '{host.path}/store' does not exist; ")
    assert (result.code, (host.path / "store").exists()) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["rollout"], "required: STEP; see p2-hook rollout --help$"),
        (["rollout", "start"], "; see p2-hook rollout start --help$"),
        (["rollout", "show", "--nope"], "unrecognized arguments: --nope; see p2-hook rollout show --help$"),
        (["listen", "--nope"], "unrecognized arguments: --nope; see p2-hook listen --help$"),
        (["--nope", "listen"], "unrecognized arguments: --nope; see p2-hook --help$"),
    ],
)
def test_a_command_that_is_called_wrongly_says_where_to_look(arguments: list[str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        parser.parse(arguments)


@pytest.mark.parametrize("step", texts.ROLLOUT_STEPS)
def test_each_step_of_a_rollout_has_help(host: Host, step: str) -> None:
    text = host.done(f"rollout {step} --help")
    assert text.startswith(f"usage: p2-hook rollout {step}")
    for word in ("HOOK", "MANIFEST"):  # what the usage names is explained, and nothing else
        assert (f"rollout {step} {word} " in text) == (f"\n  {word} " in text)
    assert f"\n  p2-hook rollout {step}" in text


def test_the_example_of_the_documents_works_in_a_shell(host: Host, tmp_path: Path) -> None:
    host.executable("ensure_user")
    command = " ".join(map(shlex.quote, host.start))
    pick = "import json, sys; print(json.load(sys.stdin)['manifest_path'])"
    script = f"""
        MANIFEST=$({command} bin2pod ensure_user --json | {sys.executable} -c "{pick}") &&
        {command} schedule --event {EVENT} $MANIFEST --store-path store
    """
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"added hooks/{EVENT}/ensure_user\n", "")


def test_the_installed_command_finds_the_engine_beside_it_also_through_a_link(host: Host, tmp_path: Path) -> None:
    home = tmp_path / "lib/p2-hook"
    home.mkdir(parents=True)
    shutil.copy(COMMAND, home)
    shutil.copytree(TOP / "plugins/module_utils/p2hooks", home / "p2hooks")
    (tmp_path / "p2-hook").symlink_to(home / "p2-hook")
    host.start[-1] = str(tmp_path / "p2-hook")
    assert host.done("--version") == f"p2-hook {VERSION}\n"
    shutil.rmtree(home / "p2hooks")
    result = host.call("list")
    assert result.code == 1
    assert "engine is not here" in result.error


def test_the_version_is_that_of_the_collection(host: Host) -> None:
    assert yaml.safe_load((TOP / "galaxy.yml").read_text())["version"] == VERSION
    assert host.call("--version --json").data == {"version": VERSION}


# --- bin2pod, schedule, unschedule -----------------------------------------------------------------------------------


def test_bin2pod_takes_the_options_of_the_module(host: Host) -> None:
    host.executable("tool")
    host.done(
        "bin2pod tool --work-dir out --id hook --launchable-id main --location https://example.com/{} "
        "--env A=b=c --config 'limits={term: 10}' --config word=no --run-as nobody"
    )
    manifest = yaml.safe_load((host.path / "out/hook.yaml").read_text())
    launchable = manifest["launchables"]["main"]
    assert launchable["location"].startswith("https://example.com/hook_")
    assert launchable["env"] == {"A": "b=c"}
    assert (manifest["config"], manifest["run_as"]) == ({"limits": {"term": 10}, "word": "no"}, "nobody")


def test_bin2pod_checks_without_writing_and_shows_the_manifest(host: Host) -> None:
    host.executable("tool")
    data = json.loads(host.done("bin2pod tool --work-dir out --check --diff"))
    assert data["changed"]
    assert data["diff"][0]["after"].startswith("id: tool")
    assert not (host.path / "out").exists()


def test_many_hooks_are_scheduled_at_once_and_their_artifacts_uploaded(host: Host) -> None:
    manifests = [host.hook("one"), host.hook("two")]
    data = host.call("schedule --global --upload --json", *manifests).data
    assert (data["added"], len(data["uploaded"])) == (["hooks/one", "hooks/two"], 2)
    for artifact in host.path.glob("*.tar.gz"):
        artifact.unlink()
    assert host.done("install").splitlines() == ["installed one", "installed two"]
    assert host.done(f"unschedule one {manifests[1]} --global").splitlines() == [
        "removed hooks/one",
        "removed hooks/two",
    ]


def test_diffs_are_shown_to_those_who_ask(host: Host) -> None:
    manifest = host.hook("one")
    shown = host.done(f"schedule --event {EVENT} {manifest} --diff").splitlines()
    assert shown[:4] == [
        f"added hooks/{EVENT}/one",
        f"--- hooks/{EVENT}/one",
        f"+++ hooks/{EVENT}/one",
        "@@ -0,0 +1,6 @@",
    ]
    data = host.call("install --check --diff --json").data
    assert data["diff"] == [{"name": f"{EVENT}/one", "before": "", "after": Path(manifest).read_text()}]
    assert "diff" not in host.call("install --check --json").data


# --- list and install ------------------------------------------------------------------------------------------------


def test_a_local_hook_is_installed_listed_handed_back_and_removed(host: Host) -> None:
    manifest = host.hook("one")
    host.done(f"schedule --event {EVENT} {manifest}")
    assert host.done(f"install {manifest} --event {EVENT} --local") == f"installed {EVENT}/one\n"
    assert host.call("list --json").data["hooks"][0]["origin"] == "local"
    assert "a local one is installed instead" in host.done("list --scheduled")
    assert host.done("install") == f"left {EVENT}/one alone: a local hook stands in front of the scheduled one\n"
    assert host.done(f"install one --event {EVENT} --hand-back") == f"handed back {EVENT}/one\n"
    local = f"install {manifest} --event {EVENT} --local"
    assert host.done(f"{local} --check") == f"would change {EVENT}/one\n"  # the version stays the same
    assert host.done(local) == f"changed {EVENT}/one\n"
    host.done(f"install one --event {EVENT} --hand-back")
    assert host.call("list --json").data["hooks"][0]["origin"] == "store"
    refused = host.call(f"install one --event {EVENT} --absent")
    assert (refused.code, refused.out) == (1, "")
    assert "came from the store" in refused.error
    host.done(f"install {host.hook('two')} --global --local")
    assert host.done("install two --global --absent") == "removed two\n"


def test_list_says_how_the_host_differs_from_what_is_scheduled(host: Host) -> None:
    manifests = [host.hook(name) for name in ("same", "gone", "changed", "damaged")]
    host.done(f"schedule --event {EVENT} {' '.join(manifests)}")
    host.done("install")
    host.done(f"unschedule --event {EVENT} gone")
    host.done(f"schedule --event {EVENT} {' '.join(host.hook(name, 'echo 2') for name in ('changed', 'new', 'away'))}")
    (host.root / "exec" / EVENT / "damaged_damaged_launch").unlink()
    (away,) = host.path.glob("away*.tar.gz")
    away.unlink()
    (host.path / "store/hooks/after_launch").mkdir()
    (host.path / "store/hooks/after_launch/bad").write_text("id: [")
    hooks = host.call("list --scheduled --json").data["hooks"]
    states = {hook["id"]: hook["state"] for hook in hooks}
    assert states.pop("bad").startswith("error: the store in ")
    assert states == {
        "same": "installed",
        "gone": "installed, but no longer scheduled",
        "changed": "another version is installed",
        "damaged": "damaged: its links in exec/ are missing, or were changed",
        "new": "not installed",
        "away": f"not installed; cannot be installed: file://{away}: No such file or directory; put the artifact there "
        "on this host, or schedule it with upload_artifacts",
    }
    assert [hook["id"] for hook in host.call("list --scheduled --event after_launch --json").data["hooks"]] == ["bad"]


def test_info_says_where_hosts_differ(host: Host) -> None:
    host.done(f"schedule --event {EVENT} {host.hook('ensure_user')}")
    host.root.mkdir()
    [before, difference] = host.done("info --here --node node1").split("\n\n")
    assert before.splitlines()[1].split()[:2] == [EVENT, "ensure_user"]
    assert difference.splitlines()[1].split() == [f"{EVENT}/ensure_user", "node1", "missing"]
    host.done("install")
    assert host.done("info --here --node node1").splitlines()[1].endswith("  1 installed")

    reports = host.path / "store/hooks-status"
    reports.mkdir()
    failed = {"error": "no\x1b[31m space", "manifest_sha": None}
    content = {"schema": 1, "engine": "0.0.1", "reported": "2020-01-01T00:00:00Z", "valid_for": 9, "error": None}
    (reports / "web1").write_text(json.dumps({**content, "hooks": {f"{EVENT}/ensure_user": failed}}))
    text = host.done("info")
    assert re.search(r"web1 +failed +no\\x1b\[31m space$", text, re.MULTILINE)
    assert re.search(r"web1 +0\.0\.1 .*no longer reports; .*older", text)
    [hook] = json.loads(host.done("info --json"))["hooks"]
    assert hook["hosts"] == {"failed": 1}

    result = host.call("info --nodes web2")
    assert (result.code, result.error) == (0, "warning: web2 has never reported; is its listener running?")
    assert "give one of them" in host.call("info --here --nodes web1").error


def test_a_rollout_comes_to_the_hosts_that_it_includes(host: Host) -> None:
    host.done(f"schedule --event {EVENT} {host.hook('one')}")
    host.done("install")
    pod = parse(Path(host.hook("one", "echo new")).read_bytes(), "a test")
    moment = "2026-01-31T12:00:00.000Z"
    rollout = Rollout(HookKey.of(EVENT, "one"), pod, Cohort(("node1",)), Limits(), None, "alice", moment, moment)
    store = DirectoryStore(str(host.path / "store"))
    store.commit([Change(rollout.store_key, rollout.encode(), ABSENT)])

    assert host.done("install --node node2") == "nothing to change\n"
    assert host.call("list --scheduled --json --node node2").data["hooks"][0]["in_rollout"] is False
    assert "another version is installed, in rollout" in host.done("list --scheduled --node node1")
    assert host.done("install --node node1 --check") == f"would upgrade {EVENT}/one, in rollout\n"
    (host.path / "p2-hook.conf").write_text("node = node1\n")
    configured = f"--config {host.path}/p2-hook.conf"
    assert host.done(f"install {configured}") == f"upgraded {EVENT}/one, in rollout\n"
    assert host.call(f"install --json {configured}").data["in_rollout"] == [f"{EVENT}/one"]
    [hook] = host.call("list --scheduled --json --node node1").data["hooks"]
    assert (hook["manifest_sha"], hook["in_rollout"], hook["state"]) == (pod.sha, True, "installed")
    assert host.done("install --node node2") == f"upgraded {EVENT}/one\n"
    assert "node is '.x'" in host.call("install --node .x").error


def test_list_for_a_pod_says_what_would_run_and_what_would_not_and_why(host: Host) -> None:
    host.install_hook("one")
    host.script("two", mode=0o644)
    hooks = host.call(f"list --pod hello --event {EVENT} --json").data["hooks"]
    assert [(hook["hook"], hook["hook_id"], hook["reason"]) for hook in hooks] == [
        ("one_one_launch", "one", None),
        ("two", None, "not executable; chmod +x it"),
    ]
    header, *lines = host.done(f"list --pod hello --event {EVENT}").splitlines()
    assert header.split() == ["WOULD", "HOOK", "VERSION", "WHY", "NOT"]
    assert [line.split()[0] for line in lines] == ["run", "skip"]


def test_what_cannot_be_installed_does_not_keep_the_rest_from_it(host: Host) -> None:
    for name in ("good", "bad", "worse"):
        host.done(f"schedule --event {EVENT} {host.hook(name)}")
    for artifact in [*host.path.glob("bad_*.tar.gz"), *host.path.glob("worse_*.tar.gz")]:
        artifact.unlink()
    result = host.call("install")
    assert (result.code, result.out) == (4, f"installed {EVENT}/good\n")
    errors = result.err.splitlines()
    assert [line[: line.index("file://")] for line in errors] == [
        f"p2-hook: {EVENT}/bad: ",
        f"p2-hook: {EVENT}/worse: ",
    ]
    again = host.call("install --json")
    assert again.code == 4
    assert set(again.data["errors"]) == {f"{EVENT}/bad", f"{EVENT}/worse"}
    assert again.data["error"] == "; ".join(line[len("p2-hook: ") :] for line in errors)


def test_one_hook_that_cannot_be_installed_is_an_error(host: Host) -> None:
    manifest = host.hook("bad")
    next(host.path.glob("bad_*.tar.gz")).unlink()
    result = host.call(f"install {manifest} --event {EVENT} --local")
    assert (result.code, result.out) == (1, "")
    assert "No such file" in result.error


@pytest.mark.parametrize("line", ["x.yaml --global --local", "--global x.yaml --local", "--local --global x.yaml"])
def test_options_may_come_before_and_after_the_hook(line: str) -> None:
    options = parser.parse(["install", *shlex.split(line)])
    assert (options.hook, options.events, options.state) == ("x.yaml", [None], "present")


def test_only_the_hooks_of_the_named_events_are_installed(host: Host) -> None:
    for event, name in (("--event after_launch", "a"), (f"--event {EVENT}", "b"), ("--global", "c")):
        host.done(f"schedule {event} {host.hook(name)}")
    assert host.done("install --event after_launch --global").splitlines() == [
        "installed after_launch/a",
        "installed c",
    ]
    assert host.done("list --event after_launch").count("\n") == 2


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_tells_people_what_became_of_each_hook(host: Host) -> None:
    host.script("a_good")
    host.script("b_bad", "printf 'one\\033[31m\\ntwo\\n'; exit 3")
    host.script("c_plain", mode=0o644)
    good, *rest = host.done(f"run {EVENT} hello").splitlines()
    assert re.fullmatch(r"a_good succeeded in \d+\.\d{3} s", good)
    assert rest == [
        "b_bad failed with exit code 3",
        "    one\\x1b[31m",
        "    two",
        "c_plain was skipped: not executable; chmod +x it",
        "ran 2 of 3 hooks: 1 succeeded, 1 failed, 1 skipped",
    ]
    assert host.done("run after_launch hello") == "no hook runs on after_launch here\n"


def test_a_run_ends_with_what_became_of_its_hooks(host: Host) -> None:
    host.script("a")
    assert host.done(f"run {EVENT} hello").splitlines()[-1] == "ran 1 hook: 1 succeeded"
    host.script("b", "sleep 5")
    host.script("c")
    last = host.done(f"run {EVENT} hello --term-after 0.2").splitlines()[-1]
    assert last == "ran 3 hooks: 2 succeeded, 1 timed out"


def test_a_root_that_does_not_exist_is_told_from_one_without_hooks(host: Host) -> None:
    missing = f"root {host.root} does not exist, so there are no hooks; correct it, or install hooks there"
    for options in ("", "--check"):
        result = host.call(f"run {EVENT} hello {options}")
        assert (result.code, result.error) == (0, f"warning: {missing}")
        assert result.out == f"no hook runs on {EVENT} here: there is no {host.root}\n"
    assert host.call(f"run {EVENT} hello --json").data["warnings"] == [missing]
    result = host.call("list")
    assert (result.code, result.out, result.error) == (0, "no hook is installed here\n", f"warning: {missing}")
    result = host.call(f"list --pod hello --event {EVENT}")
    nothing = f"no hook runs on {EVENT} here: there is no {host.root}\n"
    assert (result.code, result.out, result.error) == (0, nothing, f"warning: {missing}")
    host.done(f"schedule --event {EVENT} {host.hook('a')}")
    result = host.call("list --scheduled")
    assert (result.code, result.error) == (0, f"warning: {missing}")
    assert result.out.splitlines()[1].endswith("not installed")
    result = host.call("info --here")
    assert (result.code, result.error) == (0, f"warning: {missing}")
    assert result.out.splitlines()[1].endswith("1 missing")
    host.root.mkdir()
    assert host.call("info --here").err == ""
    assert host.done("list") == "no hook is installed here\n"
    assert host.done(f"run {EVENT} hello") == f"no hook runs on {EVENT} here\n"


@pytest.mark.parametrize(
    "arguments",
    [
        f"run {EVENT} hello", f"run {EVENT} hello --check", "list", "list --scheduled",
        f"list --pod hello --event {EVENT}", "info --here", "install", "install --check",
        f"install a --absent --event {EVENT}",
    ],
)  # fmt: skip
def test_a_root_that_is_a_file_is_the_same_error_everywhere(host: Host, arguments: str) -> None:
    host.done(f"schedule --event {EVENT} {host.hook('a')}")
    host.root.write_text("")
    result = host.call(arguments)
    assert (result.code, result.out) == (1, "")
    assert result.error == f"root {host.root} is no directory; give the directory of all hooks"


def test_installing_warns_of_a_root_that_runs_will_refuse(host: Host) -> None:
    host.done(f"schedule --event {EVENT} {host.hook('a')}")
    host.root.mkdir()
    host.root.chmod(0o777)
    for options in ("--check", ""):
        result = host.call(f"install {options}")
        assert result.code == 0
        assert result.error == (
            f"warning: hooks below {host.root} will not run as long as this is so: "
            f"{host.root} is writable by group or others; chmod go-w it"
        )


def test_a_required_hook_that_does_not_succeed_has_an_exit_code_of_its_own(host: Host) -> None:
    host.script("bad", "exit 7")
    host.script("good")
    assert host.call(f"run {EVENT} hello --required good").code == 0
    result = host.call(f"run {EVENT} hello --required bad --json")
    assert (result.code, result.error) == (3, "required hook 'bad' failed with exit code 7")
    assert result.data["error"] == result.error
    assert result.data["required_failures"] == [result.error]
    assert [hook["outcome"] for hook in result.data["hooks"]] == ["failed", "succeeded"]
    assert "is missing" in host.call(f"run {EVENT} hello --required good --required none").error


def test_run_obeys_the_time_limits(host: Host) -> None:
    host.script("slow", "sleep 30")
    result = host.call(f"run {EVENT} hello --term-after 0.2 --kill-after 0.4 --json")
    assert (result.code, result.data["hooks"][0]["outcome"]) == (0, "timed_out")


def test_a_check_says_what_would_run_and_runs_nothing(host: Host) -> None:
    host.script("a", "touch ran")
    host.script("b", mode=0o644)
    assert host.done(f"run {EVENT} hello --check").splitlines() == [
        "would run   a",
        "would skip  b: not executable; chmod +x it",
    ]
    data = host.call(f"run {EVENT} hello --check --json").data
    assert [(hook["hook"], hook["reason"]) for hook in data["hooks"]] == [
        ("a", None),
        ("b", "not executable; chmod +x it"),
    ]
    assert not host.audit.exists()


def test_an_audit_that_cannot_be_written_is_a_warning(host: Host) -> None:
    host.script("a")
    host.audit.mkdir()
    result = host.call(f"run {EVENT} hello --json")
    assert result.code == 0
    assert result.error.startswith(f"warning: {host.audit}: Is a directory")
    assert len(result.data["warnings"]) == 1
    assert "error" not in result.data


def test_hooks_get_the_manifest_of_the_pod_although_the_interpreter_starts_without_libraries(any_host: Host) -> None:
    any_host.script("show", 'cat "$HOOKED_POD_MANIFEST"; echo $HOOKED_POD_READ_ONLY')
    (any_host.path / "manifest.yaml").write_text("id: hello\nreadonly: true\n")
    assert (
        any_host.call(f"run {EVENT} hello --json --pod-manifest manifest.yaml").data["hooks"][0]["output"]
        == "id: hello\nreadonly: true\ntrue\n"
    )
    (any_host.path / "pods/hello").mkdir(parents=True)
    shutil.copy(any_host.path / "manifest.yaml", any_host.path / "pods/hello/current_manifest.yaml")
    assert any_host.call(f"run {EVENT} hello --json").data["hooks"][0]["output"].endswith("true\n")


@pytest.mark.parametrize("arguments", ["", "--required one --term-after=5"])
def test_running_hooks_imports_neither_libraries_nor_argparse(host: Host, arguments: str) -> None:
    host.install_hook("one")
    host.start = [sys.executable, "-IS", "-X", "importtime", str(COMMAND)]
    result = host.call(f"run {EVENT} hello {arguments}")
    assert (result.code, result.out.split()[:2]) == (0, ["one_one_launch", "succeeded"])
    imported = set(re.findall(r"\| +(\S+)$", result.err, re.MULTILINE))
    assert {"p2hooks.run_command", "p2hooks.run"} <= imported
    assert not imported & {"yaml", "site", "consul", "argparse", "p2hooks.cli", "p2hooks.manifest.yaml"}


@pytest.mark.parametrize("source", ["", "--audit-database audit.db"])
def test_the_audit_tells_what_ran(host: Host, source: str) -> None:
    nothing = host.call(f"audit {source}")
    kind, name = ("database", "audit.db") if source else ("log", "audit.jsonl")
    missing = f"no audit {kind} at {host.path / name}"
    assert (nothing.code, nothing.out) == (0, "nothing of that kind is on record\n")
    assert nothing.err == f"p2-hook: warning: {missing}; no hook has run here yet, or runs are recorded elsewhere\n"
    assert host.call(f"audit --json {source}").data == {"records": [], "missing": missing}
    host.script("a")
    host.script("b", "exit 3")
    for pod in ("hello", "world"):
        host.done(f"run {EVENT} {pod} {source}")
    header, *lines = host.done(f"audit --event {EVENT} {source}").splitlines()
    assert header.split() == ["START", "EVENT", "POD", "HOOK", "VERSION", "SECONDS", "OUTCOME"]
    shown = [re.sub(r"^\S+Z +\S+ +(\S+) +(\S+) +\d\.\d{3} +", r"\1 \2 ", line) for line in lines]
    assert shown == [
        "world b failed with exit code 3",
        "world a succeeded",
        "hello b failed with exit code 3",
        "hello a succeeded",
    ]
    assert len(host.call(f"audit --limit 1 --pod hello --json {source}").data["records"]) == 1
    assert host.call(f"audit --outcome failed --pod world --json {source}").data["records"][0]["hook"] == "b"
    summary = host.done(f"audit --summary --since 1h {source}").splitlines()
    assert [line.split()[:5] for line in summary[1:]] == [
        [EVENT, "a", "2", "0", "succeeded=2"],
        [EVENT, "b", "2", "0", "failed=2"],
    ]
    assert [each["runs"] for each in host.call(f"audit --summary --json {source}").data["summary"]] == [2, 2]


def test_the_audit_is_asked_for_a_hook_as_people_call_it(host: Host) -> None:
    host.done(f"schedule --event {EVENT} {host.hook('one')}")
    host.done("install")
    host.script("two")
    host.done(f"run {EVENT} hello")
    for name in ("one", f"{EVENT}/one", "one_one_launch"):
        (record,) = host.call(f"audit --hook {name} --json").data["records"]
        assert record["hook_id"] == "one"
    version = record["artifact_version"][:12]
    assert re.search(f" one_one_launch +{version} +[0-9.]+ +succeeded", host.done("audit --hook one"))
    assert host.done("audit --hook after_launch/one") == "nothing of that kind is on record\n"
    refused = host.call("audit --hook launch/one")
    assert (refused.code, refused.error.partition(";")[0]) == (1, "hook is 'launch/one'")


def test_the_audit_shows_what_hooks_wrote_that_did_not_succeed(host: Host) -> None:
    host.script("a", "echo fine")
    host.script("b", "printf 'one\\033[31m\\ntwo\\n'; exit 3")
    host.script("c", mode=0o644)
    host.done(f"run {EVENT} hello")
    lines = host.done("audit").splitlines()
    assert len(lines) == 6
    assert lines[3:5] == ["    one\\x1b[31m", "    two"]
    summary = host.done("audit --summary").splitlines()
    assert summary[0].split()[2:4] == ["RAN", "SKIPPED"]
    assert [line.split()[1:4] for line in summary[1:]] == [["a", "1", "0"], ["b", "1", "0"], ["c", "0", "1"]]


def test_of_a_long_line_that_a_hook_wrote_the_beginning_is_shown(host: Host) -> None:
    host.script("a", "head -c 4000 /dev/zero | tr '\\0' x; echo; echo end; exit 3")
    shown = ["    " + "x" * 300 + " ... and 3700 more characters", "    end"]
    assert host.done(f"run {EVENT} hello").splitlines()[1:3] == shown
    assert host.done("audit").splitlines()[2:] == shown


def test_fail_fast_without_required_is_a_warning(host: Host) -> None:
    host.script("a")
    result = host.call(f"run {EVENT} hello --fail-fast")
    assert (result.code, result.error.partition(";")[0]) == (0, "warning: fail_fast does nothing without required")
    assert host.call(f"run {EVENT} hello --fail-fast --required a").err == ""


def test_who_is_told_to_end_late_is_killed_later(host: Host) -> None:
    host.script("a")
    assert "a succeeded" in host.done(f"run {EVENT} hello --term-after 70")


def test_the_audit_forgets_what_is_old_where_it_is_asked_to(host: Host) -> None:
    host.script("a")
    host.done(f"run {EVENT} hello --audit-database audit.db")
    assert host.done("audit-prune") == host.done("audit-prune --audit-database audit.db") == "nothing to remove\n"
    time.sleep(0.01)
    lines = f"would rotate {host.audit}\nwould remove {host.audit}\n"
    assert host.done("audit-prune --older-than 0s --check") == lines
    line = "would remove 1 record from audit.db\n"
    assert host.done("audit-prune --older-than 0s --audit-database audit.db --check") == line
    both = f"--audit-log {host.audit} --audit-database audit.db"
    assert host.call(f"audit-prune --older-than 0s {both} --check --json").data == {
        "changed": True,
        "rotated": True,
        "removed_files": [str(host.audit)],
        "removed_records": 1,
        "freed_bytes": 0,
    }
    line = "removed 1 record from audit.db\n"
    assert host.done("audit-prune --older-than 0s --audit-database audit.db --vacuum") == line
    assert host.audit.exists()
    assert len(host.call("audit --json").data["records"]) == 1
    assert host.done("audit-prune --older-than 0s --no-rotate") == "nothing to remove\n"
    rotated, removed = host.done("audit-prune --older-than 0s").splitlines()
    assert rotated == f"rotated {host.audit}"
    assert removed.startswith(f"removed {host.audit}-2")
    assert host.call("audit --json").data["records"] == []
    result = host.call(f"audit-prune --older-than 0s {both} --vacuum --json")
    assert (result.code, result.data["changed"]) == (0, False)


def test_an_audit_that_is_not_there_is_a_warning_to_who_would_prune_it(host: Host) -> None:
    both = "--audit-log nope.jsonl --audit-database nope.sqlite"
    for more in ("", " --check", " --vacuum"):
        result = host.call(f"audit-prune {both}{more}")
        assert (result.code, result.out) == (0, "nothing to remove\n")
        assert result.err.splitlines() == [
            f"p2-hook: warning: no audit {kind} at {host.path / name}; no hook has run here yet, or runs are recorded "
            "elsewhere"
            for kind, name in (("log", "nope.jsonl"), ("database", "nope.sqlite"))
        ]
    (host.path / "nope.jsonl.1").touch()
    assert host.call(f"audit-prune {both}").error.startswith("warning: no audit database at ")


def test_what_p2_recorded_is_taken_over_once(host: Host) -> None:
    connection = sqlite3.connect(host.path / "p2.db")
    connection.executescript("""
        CREATE TABLE hook_results (id, date, pod_id, pod_unique_key, hook_name, hook_stage, success);
        INSERT INTO hook_results VALUES (1, '2016-03-01 12:00:00', 'hello', '', 'ensure_user', 'before_install', 1);
    """)
    connection.close()
    assert host.done("audit-import p2.db --check") == "would import 1 record\n"
    assert not host.audit.exists()
    assert host.done("audit-import p2.db --node n") == "imported 1 record\n"
    assert host.done("audit-import p2.db --node n").splitlines() == [
        "nothing to import",
        "skipped 1 record",
        "  1 record: there already",
    ]
    (record,) = host.call("audit --json").data["records"]
    assert (record["host"], record["hook"], record["outcome"]) == ("n", "ensure_user", "failed")
    imported = host.call("audit-import p2.db --audit-database audit.db --json").data
    assert imported == {"changed": True, "imported_records": 1, "defaults": {}, "skipped_records": {}}
    (record,) = host.call("audit --audit-database audit.db --json").data["records"]
    assert record["host"] == os.uname().nodename


def test_the_audit_is_read_without_libraries(host: Host) -> None:
    host.start = [sys.executable, "-IS", "-X", "importtime", str(COMMAND)]
    imported = set(re.findall(r"\| +(\S+)$", host.call("audit").err, re.MULTILINE))
    assert "p2hooks.audit.reading" in imported
    assert not imported & {"yaml", "site", "consul"}


#: Arguments after ``run``; the second ones are left to argparse.
READ_BY_HAND = [
    "before_install hello",
    "--check before_install --json hello",
    "before_install hello --required a --required=b",
    "before_install hello --term-after 1.5 --kill-after=3e1",
    "before_install hello --term-after nan",
    "before_install hello --pod-home /a=b --pod-root=/p --pod-manifest m --node n --root r --audit-log=x=y",
    "before_install hello --audit-database d --config=c",
    "before_install hello --node first --node last",
    "before_install 'hello world' --node 'a b'",
]
LEFT_TO_ARGPARSE = [
    "",
    "before_install",
    "nothing hello",
    "before_install ''",
    "before_install hello more",
    "before_install hello --help",
    "before_install hello -h",
    "before_install hello --nod n",
    "before_install hello --pod_home /a",
    "before_install hello --node",
    "before_install hello --node ''",
    "before_install hello --node=",
    "before_install hello --node -n",
    "before_install hello --term-after soon",
    "before_install hello --term-after -1",
    "before_install hello --json=yes",
    "before_install hello --check=",
    "before_install -- hello",
    "before_install - ",
    "before_install hello --",
    "before_install hello --diff",
]


def by_argparse(arguments: list[str]) -> dict[str, Any] | None:
    try:
        options = vars(parser.parse(["run", *arguments]))
    except (UsageError, HelpWanted):
        return None
    del options["command"], options["version"]
    options.setdefault("json", False)
    return options


@pytest.mark.parametrize("line", READ_BY_HAND)
def test_what_is_read_by_hand_is_what_argparse_reads(line: str) -> None:
    arguments = shlex.split(line)
    by_hand = run_command.parse(arguments)
    assert by_hand is not None
    assert repr(dict(sorted(by_hand.items()))) == repr(dict(sorted((by_argparse(arguments) or {}).items())))


@pytest.mark.parametrize("line", LEFT_TO_ARGPARSE)
def test_what_is_odd_is_left_to_argparse(line: str) -> None:
    assert run_command.parse(shlex.split(line)) is None


def test_reading_by_hand_leaves_no_traces_in_the_defaults() -> None:
    run_command.parse(["before_install", "hello", "--required", "a"])
    by_argparse(["before_install", "hello", "--required", "b"])
    for read in (run_command.parse, by_argparse):
        options = read(["before_install", "hello"])
        assert options is not None
        assert options["required"] == []


# --- what goes wrong -------------------------------------------------------------------------------------------------

WRONG_USAGE = [
    ("", "which command?"),
    ("fly", "invalid choice: 'fly'"),
    ("list --wings", "unrecognized arguments: --wings"),
    ("list --sched", "unrecognized arguments: --sched"),
    ("list --pod hello", "--pod needs --event"),
    ("list --pod hello --scheduled", "not allowed with"),
    ("list --event noon", "invalid choice: 'noon'"),
    ("list --root ''", "argument --root: is empty"),
    ("run", "the following arguments are required: EVENT, POD_ID"),
    ("run noon hello", "invalid choice: 'noon'"),
    ("run before_install hello --term-after soon", "invalid float value: 'soon'"),
    ("run before_install hello --node ''", "argument --node: is empty"),
    ("schedule x.yaml", "one of the arguments --event --global is required"),
    ("schedule --global --event before_install x.yaml", "not allowed with"),
    ("unschedule --global", "required: HOOK"),
    ("install x.yaml", "--local, --absent or --hand-back"),
    ("install --local --global", "need one HOOK"),
    ("install x.yaml --local", "one --event EVENT or --global"),
    ("install x --event before_install --event after_install --absent", "one --event EVENT or --global"),
    ("install --max-unpacked-size many", "'many' is no size"),
    ("install --store moon", "invalid choice: 'moon'"),
    ("bin2pod", "required: EXECUTABLE"),
    ("audit --limit -1", "argument --limit: '-1' is no number from 0 to 999999999"),
    ("audit --outcome well", "invalid choice: 'well'"),
    ("audit-prune --vacuum", "--vacuum needs --audit-database"),
    ("audit-prune 3d", "unrecognized arguments: 3d"),
    ("audit-prune --older-than ''", "argument --older-than: is empty"),
    ("audit-import", "required: P2_DATABASE"),
    ("bin2pod tool --env A", "must be a name, '=' and a value"),
    ("list --consul-token secret", "unrecognized arguments"),
    ("listen --store etcd", "store"),
]
ERRORS = [
    ("bin2pod missing", "missing: No such file or directory"),
    ("bin2pod tool --config 'a=[1'", "--config a: is no YAML"),
    ("bin2pod tool --id a/b", "the id of the pod"),
    ("bin2pod tool --work-dir tool/x", "tool"),
    ("schedule --global missing.yaml", "missing.yaml: is missing"),
    ("schedule --global tool", "tool: is an executable; build it with bin2pod"),
    ("unschedule --global ../x", "x: is missing"),
    ("unschedule --global 'a b'", "the id of the hook"),
    ("install", "does not exist; schedule a hook first"),
    ("list --scheduled", "does not exist; schedule a hook first"),
    ("list --pod a/b --event before_install", "the id of the pod"),
    ("list --scheduled --store consul --consul-url ftp://x", "consul"),
    ("list --scheduled --store consul --consul-url http://127.0.0.1:1 --consul-timeout 2", "cannot be reached|library"),
    ("install a --global --local", "a: is missing"),
    ("listen --store consul --consul-url ftp://x", "consul_url is not of the form|library"),
    ("listen --store consul --consul-token-file missing", "consul_token_file 'missing' cannot be read|library"),
    ("listen --consul-url http://127.0.0.1", "consul_url is given, but hooks are scheduled in a directory"),
    ("listen --node a/b", "node is 'a/b'"),
    ("listen --reconcile-every 0.5", "reconcile_every is 0.5; give seconds, at least 1"),
    ("listen --report-every nan", "report_every is nan"),
    ("run before_install a/b", "the id of the pod"),
    ("audit --since yesterday", "'yesterday' is no moment"),
    ("audit-prune --older-than 2999-01-01", "older_than is 2999-01-01T00:00:00.000Z, which is in the future"),
    ("audit --since 3d --until 4d", "since is 2.*Z, which is after until, 2.*Z; exchange them"),
    ("audit-prune --older-than 3", "'3' is no moment; give an age such as 90m"),
    ("audit-prune --older-than -3d", "'-3d' is no moment; give an age such as 90m"),
    ("audit-prune --audit-database tool", "tool: file is not a database; nothing more was removed"),
    ("audit-import missing", "missing: No such file or directory; give a database that p2 has recorded hooks in"),
    ("audit-import tool", "tool: file is not a database; give a database"),
    ("audit-import .", ": is no regular file; give a database"),
    ("run before_install hello --term-after 9 --kill-after 8", "term_after is 9 and kill_after 8"),
    ("run before_install hello --term-after nan", "term_after is nan"),
    ("run before_install hello --pod-manifest missing", "missing: No such file"),
    ("run before_install hello --pod-manifest tool", "pod_manifest"),
    ("run before_install hello --check --term-after -1", "term_after is -1"),
]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("root", "root {} is no directory; give the directory of all hooks"),
        ("store", "store_path {} is no directory; give the directory of the store"),
    ],
)
def test_the_listener_does_not_start_with_a_file_for_a_directory(host: Host, name: str, message: str) -> None:
    (host.path / name).write_text("")
    result = host.call("listen")
    assert (result.code, result.out) == (78, "")
    assert result.error == message.format(host.path / name)


def test_the_listener_does_not_start_with_limits_that_all_runs_will_refuse(host: Host) -> None:
    path = host.path / "p2-hook.conf"
    path.write_text("term_after = 10\nkill_after = 5\n")
    result = host.call(f"listen --config {path}")
    assert (result.code, result.out) == (78, "")
    assert result.error.startswith("term_after is 10 and kill_after 5; give seconds")
    assert result.error.endswith(f"term_after is set in line 1 of {path}; kill_after is set in line 2 of {path}")


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        *((2, *case) for case in WRONG_USAGE),
        # a listener that lacks a file waits for it, but not for a library
        *((78 if re.match(MISCONFIGURED_LISTENER, case[0]) else 1, *case) for case in ERRORS),
    ],
)
def test_errors_are_one_line_and_one_document(host: Host, code: int, arguments: str, message: str) -> None:
    host.executable("tool")
    result = host.call(arguments)
    assert (result.code, result.out) == (code, "")
    assert re.search(message, result.error)
    as_json = host.call(arguments, "--json")
    if arguments:
        assert (as_json.code, as_json.data) == (code, {"error": as_json.error})


def test_a_directory_in_the_way_is_an_error(host: Host) -> None:
    (host.path / "store").write_text("")
    assert "is a file" in host.call("install").error
    (host.root / "exec").mkdir(parents=True, exist_ok=True)
    (host.root / "exec" / EVENT).write_text("")
    result = host.call(f"run {EVENT} hello")
    assert result.code == 1
    assert result.error == f"{host.root}/exec/{EVENT}: Not a directory; correct that, then run this again"


@pytest.mark.parametrize("arguments", ["", *COMMANDS])
def test_help_teaches(host: Host, arguments: str) -> None:
    text = host.done(f"{arguments} --help")
    assert text.startswith("usage: p2-hook")
    assert "\nexample" in text
    if not arguments:
        assert tuple(re.findall(r"^    (\S+)  +\w", text, re.MULTILINE)) == COMMANDS
        assert re.findall(r"^  (\d+) ", text, re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]
    assert host.call(f"{arguments} --help --json").data == {"help": text}


def test_the_examples_of_the_help_are_valid() -> None:
    examples = []
    for line in (
        "\n".join([texts.TOP_END, *(text.end for text in (*texts.COMMANDS.values(), *texts.ROLLOUT_STEPS.values()))])
        .replace("\\\n", " ")
        .splitlines()
    ):
        if "p2-hook " in line and line.startswith("  "):
            words = shlex.split(line.split("   what")[0].partition("p2-hook ")[2].partition(" |")[0])
            examples.append(words)
    assert len(examples) > 12
    for words in examples:
        parser.parse(words)


# --- the surroundings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["list", "list --json", f"run {EVENT} hello", "--help"])
def test_a_reader_that_goes_away_is_no_error(host: Host, arguments: str) -> None:
    host.script("a")
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        host.line(arguments), stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, cwd=host.path
    )
    os.close(write_end)
    assert (process.returncode, process.stderr) == (0, "")


def test_a_full_disk_behind_standard_output_is_an_error(host: Host) -> None:
    host.root.mkdir()
    with open("/dev/full", "w") as full:
        process = subprocess.run(host.line("list"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr == "p2-hook: standard output: No space left on device; the rest of the answer is lost\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(host: Host, closed: str) -> None:
    host.script("a", "cat; echo out; echo err >&2")
    words = " ".join(map(shlex.quote, host.line(f"run {EVENT} hello")))
    process = subprocess.run(["sh", "-c", f"{words} {closed}"], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(host.audit.read_text().splitlines()[-1])["output"] == "out\nerr\n"


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"])
def test_any_locale_and_any_bytes_will_do(host: Host, locale: str) -> None:
    host.script("ä€", "exit 1")
    (host.root / "exec" / EVENT / os.fsdecode(b"bad\xff")).touch()
    for arguments in (f"run {EVENT} hello", f"run {EVENT} hello --check", f"list --pod hello --event {EVENT}"):
        result = host.call(arguments, env={"LC_ALL": locale})
        assert (result.code, result.err) == (0, "")
        assert "ä€" in result.out
        assert host.call(arguments, "--json", env={"LC_ALL": locale}).code == 0


def test_an_interrupt_ends_it_in_one_line(host: Host) -> None:
    mark = host.path / "started"
    host.script("slow", f"touch {mark}; sleep 3")
    process = subprocess.Popen(
        host.line(f"run {EVENT} hello --term-after 1 --kill-after 2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually(mark.exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert err == "p2-hook: interrupted; the run goes on without you, and 'p2-hook audit' will show what it did\n"


def test_an_interrupt_before_a_run_began_says_nothing_of_it(host: Host) -> None:
    host.script("a", "")
    manifest = host.path / "manifest"
    os.mkfifo(manifest)
    process = subprocess.Popen(
        host.line(f"run {EVENT} hello --pod-manifest {manifest}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with manifest.open("wb"):  # which waits until it is being read, for which the command has to wait then
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "", "")
    assert not host.audit.exists()


# --- the store's options ---------------------------------------------------------------------------------------------


def test_a_token_that_others_can_read_is_a_warning(host: Host) -> None:
    host.root.mkdir()
    token = host.path / "token"
    token.write_text("secret")
    for mode, warning in (
        (0o640, ""),
        (0o604, f"warning: consul_token_file '{token}' is readable by others; chmod o-r it"),
    ):
        token.chmod(mode)
        result = host.call(f"list --store consul --consul-token-file {token}")
        assert (result.code, result.err.removeprefix("p2-hook: ").rstrip()) == (0, warning)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*store_options.VARIABLES.values(), "CONSUL_HTTP_SSL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def completed(line: str, file: str = "", path: Path | None = None) -> dict[str, Any]:
    """Return the options of a command line, with the gaps filled as the command does it."""
    options = vars(parser.parse(shlex.split(line)))
    settings = configuration.Settings("the file")
    if path:
        (path / "conf").write_text(file)
        settings = configuration.read(str(path / "conf"))
    store_options.complete(settings, options)
    return options


def test_an_option_wins_over_a_variable_that_over_the_file_and_that_over_the_default(
    tmp_path: Path, no_variables: pytest.MonkeyPatch
) -> None:
    defaults = completed("list")
    assert {name: defaults[name] for name in store_options.NAMES} == {
        name: configuration.OPTIONS[name][1] for name in store_options.NAMES
    }
    file = """
        store = consul
        consul_url = http://file
        consul_timeout = 4
        consul_namespace = file
        consul_validate_certs = no
        consul_token_file = /file
    """
    options = completed("list", file, tmp_path)
    assert (options["store"], options["consul_url"], options["consul_timeout"]) == ("consul", "http://file", 4.0)
    assert (options["consul_validate_certs"], options["consul_token_file"]) == (False, "/file")
    no_variables.setenv("CONSUL_HTTP_ADDR", "variable")
    no_variables.setenv("CONSUL_NAMESPACE", "variable")
    no_variables.setenv("CONSUL_HTTP_SSL_VERIFY", "true")
    no_variables.setenv("CONSUL_CACERT", "")
    options = completed("list --consul-namespace option", file, tmp_path)
    assert (options["consul_url"], options["consul_namespace"]) == ("variable", "option")
    assert (options["consul_validate_certs"], options["consul_ca_path"]) == (True, None)
    no_variables.setenv("CONSUL_HTTP_SSL", "1")
    assert completed("list", file, tmp_path)["consul_url"] == "https://variable"
    assert completed("list --no-consul-validate-certs", file, tmp_path)["consul_validate_certs"] is False


@pytest.mark.parametrize(
    ("line", "variables", "token", "token_file"),
    [
        ("", {}, None, "/file"),
        ("", {"CONSUL_HTTP_TOKEN_FILE": "/variable"}, None, "/variable"),
        ("", {"CONSUL_HTTP_TOKEN": "secret", "CONSUL_HTTP_TOKEN_FILE": "/variable"}, "secret", None),
        ("--consul-token-file /option", {"CONSUL_HTTP_TOKEN": "secret"}, None, "/option"),
    ],
)
def test_a_token_and_a_file_with_one_stand_in_for_each_other(
    tmp_path: Path,
    no_variables: pytest.MonkeyPatch,
    line: str,
    variables: dict[str, str],
    token: str | None,
    token_file: str | None,
) -> None:
    for name, value in variables.items():
        no_variables.setenv(name, value)
    options = completed(f"list {line}", "store = consul\nconsul_token_file = /file", tmp_path)
    assert (options["consul_token"], options["consul_token_file"]) == (token, token_file)


def test_a_variable_that_is_no_truth_value_is_an_error(host: Host) -> None:
    result = host.call("list --scheduled --store consul", env={"CONSUL_HTTP_SSL_VERIFY": "perhaps"})
    assert (result.code, result.error) == (
        1,
        "the variable CONSUL_HTTP_SSL_VERIFY is 'perhaps'; set it to true or false",
    )


def test_the_consul_store_is_opened_with_the_options(no_variables: pytest.MonkeyPatch) -> None:
    pytest.importorskip("consul")
    no_variables.setenv("CONSUL_HTTP_ADDR", "consul.example.com")
    store = store_options.open_store(completed("list --store consul"))
    assert isinstance(store, ConsulStore)
    assert store.name == "Consul at http://consul.example.com:8500"
    options = completed("list --store consul --consul-url http://option")
    assert store_options.open_store(options).name == "Consul at http://option:8500"


def test_consul_is_not_forgotten_for_a_directory(host: Host) -> None:
    result = host.call("list --scheduled --consul-url http://127.0.0.1:8500")
    assert result.error == "consul_url is given, but hooks are scheduled in a directory; set store to consul as well"


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("10", 10), ("1K", 1024), ("2mb", 2 * 1024**2), ("3G", 3 * 1024**3)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parser.parse(["install", "--max-unpacked-size", text]).max_unpacked_size == size
