# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook run`` under strain: many hooks, many runs, much output, and hostile surroundings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from support_zoo import Zoo, eventually, outcomes, report_of, runner_of

#: Signals that end a process unless it does something about them.
DEADLY = sorted(
    set(range(1, signal.SIGRTMAX + 1))
    - {32, 33}  # the C library's own
    - {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}  # ignored
    - {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}  # stop it
)


def name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"SIG{number}"


def test_every_exit_code_and_every_deadly_signal_is_told_in_one_run(zoo: Zoo) -> None:
    expected: list[tuple[str, int | None, str | None]] = []
    for code in range(256):
        zoo.put(f"code-{code:03d}", f"#!/bin/sh\nexit {code}\n")
        expected.append((f"code-{code:03d}", code, None))
    for number in DEADLY:
        zoo.put(f"signal-{number:02d}", f"#!/bin/sh\nulimit -c 0; kill -{number} $$\n")
        expected.append((f"signal-{number:02d}", None, name_of(number)))
    start = time.monotonic()
    report = zoo.run()
    assert time.monotonic() - start < 10
    hooks = report["hooks"]
    assert [(hook["hook"], hook["exit_code"], hook["signal"]) for hook in hooks] == expected
    assert outcomes(hooks) == [("code-000", "succeeded"), *((name, "failed") for name, *dummy in expected[1:])]
    assert zoo.records() == hooks
    assert report["warnings"] == []


def test_many_runs_leave_nothing_behind(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = zoo.path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    manifest = zoo.path / "manifest.yaml"
    manifest.write_text("id: hello\n")
    zoo.hook("a-reads", 'cat "$HOOKED_POD_MANIFEST"')
    zoo.hook("b-stuck", f"[ ! -e {zoo.path}/stuck ] || exec sleep 60")
    zoo.hook("c-fails", "exit 1")
    (zoo.exec_dir / "d-skipped").write_text("no program")
    options = ("--pod-manifest", str(manifest), "--audit-database", str(zoo.path / "audit.sqlite"))
    for number in range(60):
        if number % 20 == 19:
            (zoo.path / "stuck").touch()
        hooks = zoo.run(*options, "--term-after", "2", "--kill-after", "2.1")["hooks"]
        (zoo.path / "stuck").unlink(missing_ok=True)
        assert hooks[0]["output"] == "id: hello\n"
    assert eventually(lambda: len(zoo.records()) == 4 * 60 + 3)
    # Those that stayed behind are gone as well.
    assert eventually(lambda: zoo.debris() == [] and os.listdir(temporary) == [])
    assert zoo.strangers() == set()
    assert eventually(lambda: arguments_with(str(zoo.path)) == [])
    names = {path.name for path in zoo.path.iterdir()}
    assert names - {"audit.sqlite-wal", "audit.sqlite-shm"} == {
        "audit.jsonl", "audit.sqlite", "hooks", "manifest.yaml", "pids", "tmp",
    }  # fmt: skip


def arguments_with(text: str) -> list[int]:
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def test_a_gigabyte_of_output_takes_little_memory(zoo: Zoo) -> None:
    zoo.hook("hook", "head -c 1073741824 /dev/zero; echo end")
    highest: dict[int, int] = {}
    caller = zoo.start("command", "--term-after", "50", "--kill-after", "55")
    runner = runner_of(caller)
    while caller.poll() is None:
        for pid in (caller.pid, runner):
            highest[pid] = max(highest.get(pid, 0), resident(pid))
        time.sleep(0.005)
    (hook,) = report_of(caller)["hooks"]
    assert (hook["outcome"], hook["output_truncated"]) == ("succeeded", True)
    assert hook["output"] == "\0" * (8192 - 4) + "end\n"
    assert all(4 << 20 < size < 40 << 20 for size in highest.values()), highest


def resident(pid: int) -> int:
    """Return how much memory a process has had resident at most, in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


# --- the surroundings ------------------------------------------------------------------------------------------------

DESCRIPTORS = "#!/bin/sh\nls /proc/self/fd; readlink /proc/self/fd/0\n"


def test_a_hook_has_three_descriptors_whatever_its_caller_has(zoo: Zoo) -> None:
    script = zoo.put("hook", DESCRIPTORS)
    with ExitStack() as stack:
        inherited = [stack.enter_context(open(zoo.path / f"secret{number}", "w")).fileno() for number in range(20)]
        by_itself = subprocess.run([script], pass_fds=inherited, stdout=subprocess.PIPE, text=True, check=True)
        assert {str(number) for number in inherited} < set(by_itself.stdout.split())
        command = subprocess.run(zoo.command(), pass_fds=inherited, stdout=subprocess.PIPE, check=True)
    (hook,) = json.loads(command.stdout)["hooks"]
    assert hook["output"] == "0\n1\n2\n3\n/dev/null\n"  # the last one is the directory that is listed


#: What each of these variables could make a program do, and a script that shows it.
HOSTILE = {
    "LD_PRELOAD": ("/nowhere/evil.so", "#!/bin/sh\ntrue\n"),
    "LD_AUDIT": ("/nowhere/evil.so", "#!/bin/sh\ntrue\n"),
    "PATH": ("{evil}", "#!/bin/sh\nid -u\n"),
    "CDPATH": ("{evil}", "#!/bin/sh\ncd inner && pwd; true\n"),
    "BASH_ENV": ("{evil}/id", "#!/bin/bash\ntrue\n"),
    "BASH_FUNC_id%%": ("() {{ echo evil; }}", "#!/bin/bash\nid -u\n"),
    "SHELLOPTS": ("xtrace", "#!/bin/bash\n: evil\n"),
    "PERL5OPT": ("-I{evil} -Mevil", "#!/usr/bin/perl\nprint 1;\n"),
    "PYTHONPATH": ("{evil}", f"#!{sys.executable}\nprint(1)\n"),
    "POD_ID": ("evil", '#!/bin/sh\necho "$POD_ID"\n'),
    "HOME": ("/evil", '#!/bin/sh\necho "$HOME"\n'),
    "UNKNOWN": ("evil", "#!/bin/sh\nenv\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_variables_of_the_caller_have_no_effect(zoo: Zoo, name: str) -> None:
    value, content = HOSTILE[name]
    evil = zoo.path / "evil"
    (evil / "inner").mkdir(parents=True)
    (evil / "id").write_text("#!/bin/sh\necho evil\n")
    (evil / "id").chmod(0o755)
    (evil / "evil.pm").write_text('print "evil\\n"; 1;\n')
    (evil / "sitecustomize.py").write_text('print("evil")\n')
    script = zoo.put("hook", content)
    environment = {"PATH": "/usr/bin:/bin", name: value.format(evil=evil)}
    by_itself = subprocess.run([script], env=environment, capture_output=True, text=True, check=False, cwd="/")
    assert "evil" in by_itself.stdout + by_itself.stderr
    command = subprocess.run(zoo.command(), env=environment, stdout=subprocess.PIPE, check=True)
    (hook,) = json.loads(command.stdout)["hooks"]
    assert "evil" not in hook["output"]
    assert by_itself.returncode == hook["exit_code"] or name == "CDPATH"
