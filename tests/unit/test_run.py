# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import hashlib
import json
import os
import pwd
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import p2hooks
import pytest
from p2hooks import event_hooks, process_tree
from p2hooks.audit import Audit
from p2hooks.errors import HookError, ManifestError
from p2hooks.event_hooks import would_run
from p2hooks.hooked_pod import HookedPod
from p2hooks.install_record import InstallRecord
from p2hooks.process import HookProcess
from p2hooks.run import RunReport, describe, run
from support_run import EVENT, Host, eventually, is_running, own_zombies

ENGINE = str(Path(p2hooks.__file__).parent.parent)
MANIFEST = "id: hello\nlaunchables: {}\nreadonly: true\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """A file to which scripts append the ids of processes; what is left of those is killed after the test."""
    path = tmp_path / "pids"
    path.touch()
    yield path
    for pid in pids_in(path):
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def names_and_outcomes(report: RunReport) -> list[tuple[str, str]]:
    return [(record["hook"], record["outcome"]) for record in report.hooks]


def environment_in(record: dict[str, Any]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in record["output"].split("\0")[:-1])


# What becomes of a hook


def test_a_hook_that_succeeds(host: Host) -> None:
    host.hook("ensure_user", "echo hello")
    report = host.run()
    assert report.warnings == report.required_failures == []
    (record,) = report.hooks
    assert re.fullmatch(r"[0-9a-f]{16}", record["run_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["start"])
    assert 0 < record["duration"] < 5
    assert record == {
        "run_id": report.run_id,
        "host": "node1",
        "event": EVENT,
        "hook": "ensure_user_main_launch",
        "hook_id": "ensure_user",
        "manifest_sha": "5b0c",
        "artifact_version": "1f",
        "pod_id": "hello",
        "pod_unique_key": "",
        "outcome": "succeeded",
        "reason": None,
        "exit_code": 0,
        "signal": None,
        "start": record["start"],
        "duration": record["duration"],
        "output": "hello\n",
        "output_truncated": False,
        "output_held_open": False,
    }
    assert host.records() == [record]


def test_a_hook_that_fails(host: Host) -> None:
    host.script("a", "echo oops >&2; exit 3")
    record = host.run_one()
    assert (record["outcome"], record["exit_code"], record["signal"]) == ("failed", 3, None)
    assert record["output"] == "oops\n"
    assert describe(record) == "failed with exit code 3"


def test_a_hook_that_dies_by_a_signal(host: Host) -> None:
    host.script("a", "kill -SEGV $$")
    record = host.run_one()
    assert (record["outcome"], record["exit_code"], record["signal"]) == ("failed", None, "SIGSEGV")
    assert describe(record) == "failed with SIGSEGV"


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("#!/bin/sh\n", 0o644, "not executable; chmod +x it"),
        ("echo no first line\n", 0o755, "cannot be executed; a script needs a first line such as #!/bin/sh"),
        ("#!/no/such\n", 0o755, "cannot be executed: the interpreter named in its first line does not exist"),
        ("#!/\n", 0o755, "cannot be executed: Permission denied"),
    ],
)
def test_a_file_that_cannot_be_executed_is_skipped(host: Host, content: str, mode: int, reason: str) -> None:
    script = host.script("a", "", mode=mode)
    script.write_text(content)
    host.script("b", "")
    report = host.run()
    assert names_and_outcomes(report) == [("a", "skipped"), ("b", "succeeded")]
    assert report.hooks[0]["reason"] == reason
    assert report.hooks[0]["exit_code"] is None
    assert describe(report.hooks[0]) == f"was skipped: {reason}"
    assert host.records() == report.hooks


def test_links_that_lead_to_no_file_are_skipped(host: Host) -> None:
    b = host.script("b", "")
    (b.parent / "a").symlink_to("nothing")
    (b.parent / "c").symlink_to("c")
    os.mkfifo(b.parent / "d", 0o755)
    report = host.run()
    assert [(record["hook"], record["outcome"], record["reason"]) for record in report.hooks] == [
        ("a", "skipped", "the link points nowhere; install the hook again, or remove the link"),
        ("b", "succeeded", None),
        ("c", "skipped", f"{b.parent}/c: too many links one after the other; remove it"),
        ("d", "skipped", f"{b.parent}/d is no regular file; remove it"),
    ]


def test_directories_and_dotfiles_are_no_hooks(host: Host) -> None:
    a = host.script("a", "")
    (a.parent / "directory").mkdir()
    (a.parent / "link").symlink_to("directory")
    host.script(".hidden", "")
    host.script(".tmp-b-1", "", event=None)
    assert names_and_outcomes(host.run()) == [("a", "succeeded")]


def test_where_no_hooks_are_set_up_nothing_runs(host: Host) -> None:
    Path(host.layout.root).mkdir()
    report = host.run()
    assert (report.hooks, report.warnings, report.required_failures) == ([], [], [])
    assert not host.audit.exists()


def test_a_root_that_does_not_exist_is_a_warning_unless_it_is_the_default(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = host.run(required=["a"])
    assert report.warnings == [
        f"root {host.layout.root} does not exist, so there are no hooks; correct it, or install hooks there"
    ]
    assert report.required_failures == ["required hook 'a' is missing: install it, or take it out of required"]
    monkeypatch.setattr(event_hooks, "DEFAULT_ROOT", host.layout.root)
    assert host.run().warnings == []


def test_an_event_that_does_not_exist_is_refused(host: Host) -> None:
    with pytest.raises(ManifestError, match="there is no event 'before_lunch'; the events are preparer_init, "):
        host.run(event="before_lunch")


def test_check_mode_lists_what_would_run(host: Host) -> None:
    a = host.script("a", "touch $PWD/ran")
    b = host.script("b", "", event=None, mode=0o644)
    c = host.script("c", "", mode=0o775)
    assert would_run(host.layout, EVENT) == [
        {"hook": "a", "hook_id": None, "path": str(a), "outcome": "succeeded", "reason": None},
        {
            "hook": "b",
            "hook_id": None,
            "path": str(b),
            "outcome": "skipped",
            "reason": "not executable; chmod +x it",
        },
        {
            "hook": "c",
            "hook_id": None,
            "path": str(c),
            "outcome": "skipped",
            "reason": f"{c} is writable by group or others; chmod go-w it",
        },
    ]
    assert not host.audit.exists()


# Order


@pytest.mark.parametrize("names", [("10-a", "9-b", "B", "a"), ("z", "zz")])
def test_global_hooks_and_those_of_the_event_run_in_order_of_name(host: Host, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        host.script(name, "", event=EVENT if number % 2 else None)
    host.script("other", "", event="after_install")
    assert [name for name, dummy in names_and_outcomes(host.run())] == list(names)


@pytest.mark.parametrize("name", ["a", "z"])
def test_of_two_with_the_same_name_the_global_one_is_first(host: Host, name: str) -> None:
    host.script(name, "echo typed $HOOK")
    host.script(name, "echo global $HOOK", event=None)
    assert [record["output"] for record in host.run().hooks] == ["global exec\n", f"typed {EVENT}\n"]


def test_hooks_run_one_after_the_other(host: Host) -> None:
    host.script("a", f"sleep 0.1; echo a >>{host.path}/log")
    host.script("b", f"echo b >>{host.path}/log")
    host.run()
    assert (host.path / "log").read_text() == "a\nb\n"


def test_a_name_that_is_no_utf8_is_shown_and_does_no_harm(host: Host) -> None:
    directory = host.script("a", "").parent
    shutil.copy(os.fsencode(directory / "a"), os.fsencode(directory) + b"/b\xff\n")
    host.script("c", "")
    report = host.run()
    assert names_and_outcomes(report) == [("a", "succeeded"), ("b\ufffd\n", "succeeded"), ("c", "succeeded")]
    assert host.records() == report.hooks


# Environment


def test_the_environment_of_an_installed_hook_is_exactly_this(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "BASH_ENV", "ENV", "PYTHONPATH", "CONSUL_HTTP_TOKEN", "LC_ALL"):
        monkeypatch.setenv(name, "/leaked")
    monkeypatch.setenv("PATH", "/leaked:" + os.environ["PATH"])
    monkeypatch.setenv("HOME", "/leaked")
    host.hook(
        "ensure_user",
        "cat /proc/$$/environ",  # what the shell was given, without what it adds
        env={"CONFIG_PATH": "/c.yaml", "POD_ID": "ensure_user", "BOTH": "pod", "HOOK_EVENT": "lie"},
        launchable_env={"BOTH": "launchable", "LANG": "de_DE.UTF-8", "TEXT": "a\0b = c\t ", "EMPTY": ""},
    )
    pods = host.path / "pods"
    record = host.run_one()
    assert environment_in(record) == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
        "LANG": "de_DE.UTF-8",
        "CONFIG_PATH": "/c.yaml",
        "BOTH": "launchable",
        "TEXT": "a\nb = c",
        "EMPTY": "",
        "HOOK": EVENT,
        "HOOK_NAME": "ensure_user_main_launch",
        "HOOK_RUN_ID": record["run_id"],
        "HOOK_EVENT": EVENT,
        "HOOKED_NODE": "node1",
        "HOOKED_POD_ID": "hello",
        "HOOKED_POD_HOME": f"{pods}/hello",
        "HOOKED_POD_MANIFEST": "",
        "HOOKED_CONFIG_PATH": "",
        "HOOKED_ENV_PATH": f"{pods}/hello/env",
        "HOOKED_CONFIG_DIR_PATH": f"{pods}/hello/config",
        "HOOKED_SYSTEM_POD_ROOT": str(pods),
        "HOOKED_POD_UNIQUE_KEY": "",
        "HOOKED_POD_READ_ONLY": "false",
        "POD_ID": "hello",
        "POD_HOME": f"{pods}/hello",
    }


def test_a_script_that_people_put_there_gets_no_variables_of_a_hook(host: Host) -> None:
    host.hook("a", "", env={"SECRET": "1"})
    host.script("b", "cat /proc/$$/environ")
    record = host.run().hooks[1]
    assert (record["hook"], record["hook_id"], record["manifest_sha"]) == ("b", None, None)
    others = {name for name in environment_in(record) if not name.startswith(("HOOK", "POD_"))}
    assert others == {"PATH", "HOME", "LANG"}


def test_a_pod_with_a_uuid_and_a_manifest(host: Host) -> None:
    uuid = "8f5cd5d0-4a3e-4f1c-9f0b-0a7d6f3c2b1a"
    host.script("a", 'cat /proc/$$/environ; cat "$HOOKED_POD_MANIFEST" >&2; stat -c %a "$HOOKED_POD_MANIFEST" >&2')
    pod = HookedPod("hello", home=f"/pods/hello-{uuid}", manifest=MANIFEST.encode())
    record = host.run_one(pod=pod)
    assert record["pod_unique_key"] == uuid
    environment, dummy, rest = record["output"].rpartition("\0")
    assert rest == MANIFEST + "600\n"
    variables = environment_in({"output": environment + "\0"})
    assert variables["HOOKED_POD_UNIQUE_KEY"] == uuid
    assert variables["HOOKED_POD_READ_ONLY"] == "true"
    sha = hashlib.sha256(b'{"id":"hello","launchables":{},"readonly":true}').hexdigest()
    assert variables["HOOKED_CONFIG_PATH"] == f"/pods/hello-{uuid}/config/hello_{sha}.yaml"
    assert not Path(variables["HOOKED_POD_MANIFEST"]).exists()


@pytest.mark.parametrize("replacement", ["", 'mkdir "$HOOKED_POD_MANIFEST";'])
def test_a_hook_may_do_away_with_the_manifest(host: Host, replacement: str) -> None:
    host.script("a", f'rm "$HOOKED_POD_MANIFEST"; {replacement} printf %s "$HOOKED_POD_MANIFEST"')
    record = host.run_one(pod=HookedPod("hello", manifest=MANIFEST.encode()))
    assert record["outcome"] == "succeeded"
    if os.path.isdir(record["output"]):
        os.rmdir(record["output"])


def test_a_manifest_that_cannot_be_handed_over_does_not_stop_the_run(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(host.path / "full"))
    host.script("a", 'echo "manifest: $HOOKED_POD_MANIFEST"')
    report = host.run(pod=HookedPod("hello", manifest=MANIFEST.encode()))
    assert [record["output"] for record in report.hooks] == ["manifest: \n"]
    (warning,) = report.warnings
    assert warning.startswith(f"{host.path}/full/hooked-pod-manifest-")
    assert warning.endswith("No such file or directory; the hooks did not get the manifest of hello")


def test_the_manifest_of_the_pod_home_is_the_default(host: Host) -> None:
    home = host.path / "pods" / "hello"
    home.mkdir(parents=True)
    (home / "current_manifest.yaml").write_text(MANIFEST)
    host.script("a", 'cat "$HOOKED_POD_MANIFEST"')
    assert host.run_one()["output"] == MANIFEST


@pytest.mark.parametrize("kind", ["no yaml", "another pod's", "directory", "fifo"])
def test_a_pod_home_whose_manifest_cannot_be_used_is_none_of_our_business(host: Host, kind: str) -> None:
    manifest = host.path / "pods" / "hello" / "current_manifest.yaml"
    manifest.parent.mkdir(parents=True)
    if kind == "directory":
        manifest.mkdir()
    elif kind == "fifo":
        os.mkfifo(manifest)
    else:
        manifest.write_text("{" if kind == "no yaml" else "id: other\n")
    host.script("a", 'echo "[$HOOKED_POD_MANIFEST]"')
    assert host.run_one()["output"] == "[]\n"


def test_working_directory_and_umask_are_fixed_and_then_restored(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.script("a", "pwd; umask")
    monkeypatch.chdir(host.path)
    before = os.umask(0o077)
    try:
        record = host.run_one()
    finally:
        umask = os.umask(before)
    assert record["output"] == "/\n0022\n"
    assert umask == 0o077
    assert os.getcwd() == str(host.path)


def test_resource_limits_and_niceness_are_those_of_the_caller(host: Host) -> None:
    host.script("a", "ulimit -c; ulimit -n; nice")
    limits = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)}
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, limits[resource.RLIMIT_CORE][1]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (333, limits[resource.RLIMIT_NOFILE][1]))
        record = host.run_one()
    finally:
        for kind, limit in limits.items():
            resource.setrlimit(kind, limit)
    assert record["output"] == f"0\n333\n{os.nice(0)}\n"


def test_a_hook_reads_nothing_and_has_three_descriptors(host: Host) -> None:
    host.script("a", "readlink /proc/self/fd/0; cat; ls -x /proc/self/fd")
    inheritable = [os.open("/dev/null", os.O_RDONLY), *os.pipe()]
    for descriptor in inheritable:
        os.set_inheritable(descriptor, True)
    try:
        record = host.run_one()
    finally:
        for descriptor in inheritable:
            os.close(descriptor)
    # The fourth is the one through which ls reads the directory.
    assert record["output"].split() == ["/dev/null", "0", "1", "2", "3"]


def test_how_hooks_end_is_known_to_a_caller_that_ignores_its_children(host: Host) -> None:
    host.script("a", "exit 3")
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert host.run_one()["exit_code"] == 3
    finally:
        signal.signal(signal.SIGCHLD, handler)


def test_the_bytes_of_a_variable_arrive_in_any_locale(host: Host) -> None:
    host.hook("a", 'printf %s "$TEXT"', env={"TEXT": "\u20ac"})
    program = f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from pathlib import Path
        from support_run import Host
        print(ascii(Host(Path({str(host.path)!r})).run_one()["output"]))
    """
    environment = {"PYTHONPATH": ENGINE, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert outside(program, env=environment).strip() == "'\\u20ac'"


def test_a_user_that_no_file_knows_has_a_home(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    host.script("a", "echo $HOME")
    assert host.run_one()["output"] == "/\n"


def test_an_environment_that_no_process_can_have_is_the_hooks_problem(host: Host) -> None:
    host.hook("a", "", env={"HUGE": "x" * 3_000_000})
    host.script("b", "")
    report = host.run()
    assert names_and_outcomes(report) == [("a_main_launch", "skipped"), ("b", "succeeded")]
    assert report.hooks[0]["reason"] == "cannot be executed: Argument list too long"


def test_a_pod_home_in_disorder_is_the_hooks_problem(host: Host) -> None:
    a, b, c = host.hook("a", ""), host.hook("b", ""), host.hook("c", "")
    (a / "env" / "DIRECTORY").mkdir()
    (b / "installed").unlink()
    (b / "installed").mkdir()
    os.mkfifo(c / "main" / "env" / "FIFO")
    report = host.run()
    assert [(record["outcome"], record["manifest_sha"], record["reason"]) for record in report.hooks] == [
        ("skipped", "5b0c", f"{a}/env/DIRECTORY: Is a directory; install the hook again"),
        ("succeeded", None, None),
        ("succeeded", "5b0c", None),
    ]


# Time


def test_a_hook_that_times_out_is_told_to_end_while_the_run_goes_on(host: Host, pids: Path) -> None:
    host.script("a", f"echo $$ >>{pids}; trap 'echo bye; exit' TERM; echo hello; while :; do sleep 0.01; done")
    host.script("b", f"while grep -q 'State:.[RS]' /proc/$(head -1 {pids})/status; do sleep 0.01; done; echo gone")
    report = host.run(term=0.3, kill=20)
    assert names_and_outcomes(report) == [("a", "timed_out"), ("b", "succeeded")]
    assert report.hooks[0]["output"] == "hello\n"
    assert report.hooks[0]["reason"] == "still running after 0.3 s, so it was sent SIGTERM"
    assert describe(report.hooks[0]) == "timed out: still running after 0.3 s, so it was sent SIGTERM"
    assert 0.3 <= report.hooks[0]["duration"] < 1
    assert eventually(lambda: ("a", "terminated") in host.outcomes())
    closing = next(record for record in host.records() if record["outcome"] == "terminated")
    assert closing["output"].endswith("bye\n")
    assert closing["exit_code"] in (0, 143)  # of the loop's last command, which may have been told to end as well
    changes = {name: closing[name] for name in ("outcome", "reason", "duration", "output", "exit_code")}
    assert {**report.hooks[0], **changes} == closing
    assert closing["duration"] >= report.hooks[0]["duration"]
    assert closing["reason"] is None


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ("exec sleep 20", "terminated"),
        ("kill -STOP $$", "terminated"),
        ("yes", "terminated"),
        ("sleep 20 & echo $! >>$PIDS; sleep 20", "terminated"),
        ("trap '' TERM; sleep 20", "killed"),
        ("trap '' TERM; kill -STOP $$; sleep 20", "killed"),
        ("trap '' TERM; yes", "killed"),
        ("(trap '' TERM; sleep 20) & echo $! >>$PIDS; sleep 20", "killed"),
        ("trap '' TERM HUP; exec >/dev/null 2>&1; sleep 20", "killed"),
    ],
)
def test_nothing_of_a_hook_that_times_out_survives(host: Host, pids: Path, body: str, end: str) -> None:
    host.script("a", f"PIDS={pids}; echo $$ >>$PIDS; {body}")
    report = host.run(term=0.2, kill=0.6)
    assert names_and_outcomes(report) == [("a", "timed_out")]
    assert eventually(lambda: len(host.records()) == 2)
    assert host.outcomes() == [("a", "timed_out"), ("a", end)]
    assert pids_in(pids)
    assert eventually(lambda: not any(map(is_running, pids_in(pids))), 1)
    assert (host.records()[1]["duration"] >= 0.6) == (end == "killed")


def test_a_hook_is_killed_at_its_limit_while_many_quick_ones_run(host: Host, pids: Path) -> None:
    host.script("a", f"echo $$ >>{pids}; trap '' TERM; while :; do sleep 0.01; done")
    for number in range(40):
        host.script(f"b{number}", "sleep 0.03")
    host.run(term=0.1, kill=0.4)
    names = [name for name, dummy in host.outcomes()]
    assert host.outcomes().count(("a", "killed")) == 1
    assert names.index("a", 1) < 30
    assert host.records()[names.index("a", 1)]["duration"] < 0.6


def test_a_hook_is_killed_at_its_limit_while_a_long_one_runs(host: Host, pids: Path) -> None:
    host.script("a", f"echo $$ >>{pids}; trap '' TERM; while :; do sleep 0.01; done")
    host.script("b", "sleep 0.5")
    host.run(term=0.8, kill=0.9)
    assert host.outcomes() == [("a", "timed_out"), ("a", "killed"), ("b", "succeeded")]


def test_an_endless_writer_whose_time_is_over_does_not_slow_the_others(host: Host, pids: Path) -> None:
    host.script("a", f"echo $$ >>{pids}; trap '' TERM PIPE; while :; do yes; done")
    host.script("b", "echo b")
    report = host.run(term=0.2, kill=0.8)
    assert names_and_outcomes(report) == [("a", "timed_out"), ("b", "succeeded")]
    assert report.hooks[1]["duration"] < 0.5
    assert report.hooks[0]["output_truncated"]
    assert eventually(lambda: ("a", "killed") in host.outcomes())


@pytest.mark.parametrize("child", ["sleep 5", "yes"])
def test_a_daemon_that_holds_the_output_open_does_not_delay(host: Host, pids: Path, child: str) -> None:
    host.script("a", f"echo hello; {child} & echo $! >>{pids}")
    began = monotonic()
    record = host.run_one()
    assert monotonic() - began < 1
    assert (record["outcome"], record["output_held_open"]) == ("succeeded", True)


@pytest.mark.parametrize("redirection", ["", "<&- >&- 2>&-", "3>&1 4>&2 5<&0"])
def test_the_caller_gets_its_result_at_once_and_its_streams_back(host: Host, pids: Path, redirection: str) -> None:
    host.script("a", f"echo $$ >>{pids}; trap '' TERM; sleep 1; echo late; exec sleep 20")
    host.script("b", "echo b")
    program = f"""
        import sys
        sys.path[:0] = [{ENGINE!r}, {os.path.dirname(__file__)!r}]
        from pathlib import Path
        from support_run import Host
        host = Host(Path({str(host.path)!r}))
        report = host.run(term=0.2, kill=2)
        (host.path / "result").write_text(report.hooks[1]["output"])
    """
    began = monotonic()
    outside(program, redirection=redirection)
    assert monotonic() - began < 1.9
    assert (host.path / "result").read_text() == "b\n"
    (hook,) = pids_in(pids)
    assert is_running(hook)
    assert eventually(lambda: not is_running(hook))
    assert eventually(lambda: ("a", "killed") in host.outcomes())
    assert host.records()[-1]["output"] == "late\n"


def outside(program: str, *, redirection: str = "", env: dict[str, str] | None = None) -> str:
    """Run a program as Ansible does: in another process, until nobody holds its streams open; return its output."""
    shell = f'exec "$0" -W error -c "$1" {redirection}'
    command = ["/bin/sh", "-c", shell, sys.executable, textwrap.dedent(program)]
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True
    )
    assert not done.stderr
    return done.stdout


def test_many_runs_leave_no_zombie_and_no_descriptor(host: Host, pids: Path) -> None:
    host.script("a", "")
    host.script("b", f"[ ! -e {host.path}/slow ] || {{ echo $$ >>{pids}; exec sleep 20; }}")
    host.script("c", "#", mode=0o644)
    host.run()
    descriptors = os.listdir("/proc/self/fd")
    for dummy in range(200):
        host.run()
    assert os.listdir("/proc/self/fd") == descriptors

    (host.path / "slow").touch()
    for dummy in range(5):
        host.run(term=0.05, kill=0.1)
    (host.path / "slow").unlink()
    assert eventually(lambda: len(host.records()) == 3 * 201 + 4 * 5)
    assert os.listdir("/proc/self/fd") == descriptors

    def reaped() -> bool:
        host.run()  # which waits for the runners before it that have ended by now
        return len(own_zombies()) <= 1

    assert eventually(reaped)


def test_ten_stuck_hooks_are_told_to_end_and_killed_by_processes_that_stay_behind(host: Host, pids: Path) -> None:
    for number in range(10):
        host.script(str(number), f"trap '' TERM; echo $$ >>{pids}; while :; do sleep 1; done")
    start = monotonic()
    report = host.run(term=0.1, kill=1.5)
    assert monotonic() - start < 2.5
    assert [outcome for dummy, outcome in names_and_outcomes(report)] == ["timed_out"] * 10
    assert eventually(lambda: len(host.outcomes()) == 20)
    assert sorted(host.outcomes()[10:]) == [(str(number), "killed") for number in range(10)]
    assert not any(is_running(pid) for pid in pids_in(pids))


def refuse_to_fork() -> int:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_where_no_process_can_be_had_hooks_are_skipped(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", refuse_to_fork)
    host.script("a", "")
    report = host.run(required=["a"])
    assert names_and_outcomes(report) == [("a", "skipped")]
    assert report.hooks[0]["reason"].startswith("could not be started: Resource temporarily unavailable")
    assert host.records() == report.hooks
    assert len(report.required_failures) == 1


def test_where_no_process_can_be_had_for_its_end_the_run_stays_until_a_hook_has_ended(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = os.fork

    def fork_once() -> int:
        monkeypatch.setattr(os, "fork", refuse_to_fork)
        return fork()

    monkeypatch.setattr(os, "fork", fork_once)
    host.script("a", "trap '' TERM; sleep 20")
    host.script("b", "")
    report = host.run(term=0.1, kill=0.4)
    assert names_and_outcomes(report) == [("a", "timed_out"), ("b", "succeeded")]
    assert host.outcomes() == [("a", "timed_out"), ("a", "killed"), ("b", "succeeded")]


# Required hooks


def test_required_hooks_that_succeed_are_no_failure(host: Host) -> None:
    host.hook("ensure_user", "")
    host.script("b", "exit 1")
    assert host.run(required=["ensure_user", "ensure_user_main_launch"]).required_failures == []


def test_each_required_hook_that_does_not_succeed_is_named_and_the_others_run(host: Host, pids: Path) -> None:
    host.hook("failing", "exit 3")
    host.hook("failing", "kill -ABRT $$", event=None)
    host.script("slow", f"echo $$ >>{pids}; exec sleep 20")
    host.script("unready", "", mode=0o644)
    host.script("zz", "")
    report = host.run(required=["absent", "slow", "failing", "unready", "zz"], term=0.2, kill=0.4)
    assert report.required_failures == [
        "required hook 'absent' is missing: install it, or take it out of required",
        "required hook 'slow' timed out: still running after 0.2 s, so it was sent SIGTERM",
        "required hook 'failing_main_launch' failed with SIGABRT",
        "required hook 'failing_main_launch' failed with exit code 3",
        "required hook 'unready' was skipped: not executable; chmod +x it",
    ]
    assert names_and_outcomes(report)[-1] == ("zz", "succeeded")


def test_a_run_can_stop_at_the_first_required_hook_that_does_not_succeed(host: Host) -> None:
    host.script("a", "exit 1")
    host.script("b", "exit 3")
    host.hook("c", "")
    report = host.run(required=["b"], fail_fast=True)
    assert names_and_outcomes(report) == [("a", "failed"), ("b", "failed"), ("c_main_launch", "skipped")]
    assert report.hooks[2]["reason"] == "not run, since the run stopped: required hook 'b' failed with exit code 3"
    assert report.required_failures == ["required hook 'b' failed with exit code 3"]
    assert host.outcomes() == names_and_outcomes(report)


def test_a_run_can_stop_before_its_first_hook_if_a_required_one_is_missing(host: Host) -> None:
    host.script("a", "")
    report = host.run(required=["a", "b"], fail_fast=True)
    assert names_and_outcomes(report) == [("a", "skipped")]
    assert "required hook 'b' is missing" in report.hooks[0]["reason"]
    assert [failure.partition(":")[0] for failure in report.required_failures] == [
        "required hook 'a' was skipped",
        "required hook 'b' is missing",
    ]


def test_a_run_that_may_stop_does_not_where_all_is_well(host: Host) -> None:
    host.script("a", "exit 1")
    host.hook("b", "")
    host.script("c", "")
    report = host.run(required=["b", "c"], fail_fast=True)
    assert names_and_outcomes(report) == [("a", "failed"), ("b_main_launch", "succeeded"), ("c", "succeeded")]
    assert report.required_failures == []


def test_a_required_hook_is_missing_where_no_hooks_are_set_up(host: Host) -> None:
    assert host.run(required=["a\nb"]).required_failures == [
        "required hook 'a\\nb' is missing: install it, or take it out of required"
    ]


# Audit, and hooks that mean ill


def test_an_audit_that_cannot_be_written_is_a_warning_for_each_hook(host: Host) -> None:
    host.script("a", "")
    host.script("b", "exit 1")
    host.audit.mkdir(parents=True)
    report = host.run()
    assert names_and_outcomes(report) == [("a", "succeeded"), ("b", "failed")]
    assert report.warnings == [f"{host.audit}: Is a directory; this run of {name} is not in the audit" for name in "ab"]


def test_the_record_is_written_before_the_next_hook_runs(host: Host) -> None:
    host.script("a", "")
    host.script("b", f"cat {host.audit}")
    assert json.loads(host.run().hooks[1]["output"])["hook"] == "a"


@pytest.mark.parametrize(
    "deed",
    [
        "rm -f $AUDIT; mkfifo $AUDIT",
        "rm -rf ${AUDIT%/*}; echo >${AUDIT%/*}",
        "mkfifo $HOME_OF_A/env/FIFO",
        "rm $HOME_OF_A/installed; mkfifo $HOME_OF_A/installed",
        "rm -rf $HOME_OF_A",
        "mkdir -p $POD_HOME; mkfifo $POD_HOME/current_manifest.yaml",
        "ln -sf loop $EXEC/loop",
        "mkfifo $EXEC/fifo; chmod 755 $EXEC/fifo",
    ],
)
def test_a_vandal_hangs_neither_this_run_nor_the_next(host: Host, deed: str) -> None:
    variables = {"AUDIT": str(host.audit), "EXEC": host.layout.exec_dir(EVENT)}
    home = host.hook("a", deed, launchable_env=variables)
    (home / "main" / "env" / "HOME_OF_A").write_text(f"{home}\n")
    host.script("b", "")
    for dummy in range(2):
        assert ("b", "succeeded") in names_and_outcomes(host.run())


def test_a_hook_may_remove_all_hooks(host: Host) -> None:
    host.script("a", f"rm -r {host.layout.root}")
    host.script("b", "")
    assert names_and_outcomes(host.run()) == [("a", "succeeded"), ("b", "skipped")]
    assert host.run().hooks == []


def test_a_host_name_that_no_environment_can_hold_is_no_crash(host: Host) -> None:
    host.script("a", "")
    report = run(host.layout, EVENT, HookedPod("hello"), Audit(str(host.audit)), node="n\0")
    assert [record["reason"] for record in report.hooks] == ["cannot be executed: embedded null byte"]


def test_exit_codes_are_not_lost_on_a_caller_that_ignores_its_children(host: Host) -> None:
    host.script("a", "exit 3")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert host.run_one()["exit_code"] == 3
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_hook_that_keeps_forking_is_killed_all_the_same(host: Host, pids: Path) -> None:
    forking = "(trap '' TERM; while :; do (sleep 0.01) & wait; done)"
    host.script("a", f"echo $$ >>{pids}; for i in 1 2 3 4 5 6 7 8; do {forking} & done; wait")
    host.run(term=0.2, kill=0.6)
    assert eventually(lambda: ("a", "killed") in host.outcomes())
    assert eventually(lambda: not session_of(pids_in(pids)[0]), 1)


def test_what_could_not_be_killed_is_told_wherever_the_outcome_is(
    host: Host, monkeypatch: pytest.MonkeyPatch, pids: Path
) -> None:
    host.script("a", f"trap '' TERM; echo $$ >>{pids}; while :; do sleep 20; done")
    real = process_tree.kill
    monkeypatch.setattr(process_tree, "kill", lambda spared: real(spared) and False)
    host.run(term=0.1, kill=0.2)
    assert eventually(lambda: len(host.outcomes()) == 2)
    assert describe(host.records()[1]) == (
        "killed: some of what it started goes on; it waits in the kernel, or starts itself anew faster than it can be "
        "found: look for it with ps"
    )


def session_of(leader: int) -> list[str]:
    """Return what still runs in a session."""
    found = subprocess.run(["/bin/ps", "-o", "stat=", "-s", str(leader)], capture_output=True, text=True, check=False)
    return [state for state in found.stdout.split() if not state.startswith("Z")]


# The limits of a hook's own


@pytest.mark.parametrize(("term_after", "outcome"), [(0.2, "timed_out"), (None, "succeeded")])
def test_a_hook_may_have_limits_of_its_own(host: Host, term_after: float | None, outcome: str) -> None:
    home = host.hook("a", "sleep 0.6")
    (home / "installed").write_bytes(InstallRecord("store", "5b0c", {"main": "1f"}, term_after).encode())
    record = host.run_one(term=20, kill=20)
    assert record["outcome"] == outcome
    if term_after:
        assert record["reason"] == "still running after 0.2 s, so it was sent SIGTERM"


def test_a_hook_that_needs_longer_is_given_it(host: Host) -> None:
    home = host.hook("a", "sleep 0.6")
    (home / "installed").write_bytes(InstallRecord("store", "5b0c", {}, term_after=20.0).encode())
    assert host.run_one(term=0.1, kill=0.2)["outcome"] == "succeeded"


def test_a_hook_is_killed_at_its_own_limit(host: Host, pids: Path) -> None:
    home = host.hook("a", f"trap '' TERM; echo $$ >>{pids}; while :; do sleep 20; done")
    (home / "installed").write_bytes(InstallRecord("store", "5b0c", {}, 0.2, 0.5).encode())
    assert host.run_one(term=20, kill=20)["outcome"] == "timed_out"
    assert eventually(lambda: len(host.outcomes()) == 2, 5)
    assert host.records()[1]["outcome"] == "killed"
    assert 0.5 <= host.records()[1]["duration"] < 3


# Who belongs to whom after a hook timed out


def test_a_daemon_left_in_time_after_another_hook_timed_out_lives_on(host: Host, pids: Path) -> None:
    host.script("1-stuck", f"echo $$ >>{pids}; exec sleep 60")
    host.script("2-daemon", f"(setsid sh -c 'echo $$ >>{pids}; exec sleep 60' >/dev/null 2>&1 &)")
    assert names_and_outcomes(host.run(term=0.3, kill=0.8)) == [("1-stuck", "timed_out"), ("2-daemon", "succeeded")]
    assert eventually(lambda: len(pids.read_text().split()) == 2 and len(host.outcomes()) == 3)
    stuck, daemon = map(int, pids.read_text().split())
    sleep(0.8)
    assert not is_running(stuck)
    assert is_running(daemon)
    assert ("1-stuck", "terminated") in host.outcomes()


def test_a_defect_of_ours_is_not_taken_for_a_killed_runner(host: Host) -> None:
    def spawn(path: str, environment: dict[str, str]) -> HookProcess:
        raise ZeroDivisionError("division by zero")

    host.script("a", "")
    with pytest.raises(HookError, match="ZeroDivisionError: division by zero; this is a defect"):
        host.run(spawn=spawn)


def test_what_dies_while_it_divides_leaves_word(host: Host, pids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.script("a", f"trap '' TERM; echo $$ >>{pids}; while :; do sleep 60; done")
    caller = os.getpid()

    def die(*dummy: object) -> None:
        """As if the runner, and its caller with it, were killed at this moment."""
        if os.getpid() != caller:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(process_tree, "terminate", die)
    # The caller's own way to end it is out of order, but it still sees that the runner is dead.
    monkeypatch.setattr("p2hooks.runner.kill", lambda spared: eventually(lambda: bool(own_zombies())))
    report = host.run(term=0.2, kill=20)
    assert "was killed" in report.warnings[0]
    assert eventually(lambda: not is_running(int(pids.read_text())))
    assert host.outcomes() == [("a", "timed_out"), ("a", "killed")]
