# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units and settings that roles write, as systemd and logrotate read them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[3]

ROLES = ("hook_runner", "audit_log")

#: Among others, %Z is no specifier of systemd's.
ODD = "odd %Z %n 'x';#ü"


def play(inventory: Path, tasks: list[dict[str, Any]], **keywords: Any) -> str:
    """Let Ansible carry out ``tasks`` on this host, under the names in ``inventory``, and return what it says."""
    playbook = inventory.with_name("play.json")
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks, **keywords}]))
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(playbook)]
    environment = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(
        [*command, "-e", json.dumps(variables)], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have the files that the roles write in a directory, with odd paths in them."""
    path = tmp_path_factory.mktemp("files")
    wanted = {
        "p2-hook-listener.service": ("hook_runner", "p2-hook-listener.service"),
        "p2-hook-audit-prune.service": ("audit_log", "p2-hook-audit-prune.service"),
        "p2-hook-audit-prune.timer": ("audit_log", "p2-hook-audit-prune.timer"),
        "without/p2-hook-audit-prune.service": ("audit_log", "p2-hook-audit-prune.service"),
        "logrotate": ("audit_log", "logrotate"),
    }
    options = {
        "ansible_managed": "Written by a role",
        "hook_runner_config": {"root": f"/srv/{ODD}", "store_path": f"/mnt/{ODD}"},
        "hook_runner_listener_read_write_paths": [f"-/data/{ODD}"],
        "audit_log_path": str(path / ODD / "audit.jsonl"),
        **{f"_{role}_command": str(TOP / "bin/p2-hook") for role in ROLES},
    }
    for directory in ("without", ODD):
        (path / directory).mkdir()
    (path / "hosts").write_text("localhost")
    said = play(
        path / "hosts",
        [
            {
                "ansible.builtin.template": {
                    "src": f"{TOP}/roles/{role}/templates/{template}.j2",
                    "dest": str(path / name),
                    "mode": "0644",
                },
                "vars": {**options, "audit_log_database": "" if "/" in name else f"/srv/{ODD}/audit.sqlite"},
            }
            for name, (role, template) in wanted.items()
        ],
        vars_files=[str(TOP / "roles" / role / part / "main.yml") for role in ROLES for part in ("defaults", "vars")],
    )
    assert all((path / name).exists() for name in wanted), said
    return path


def complaints(unit: Path) -> str:
    """Return what systemd has to say against a unit."""
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stderr.splitlines() if unit.name in line)


@pytest.mark.parametrize(
    "name",
    [
        "p2-hook-listener.service",
        "p2-hook-audit-prune.service",
        "without/p2-hook-audit-prune.service",
        "p2-hook-audit-prune.timer",
    ],
)
def test_systemd_reads_units_whatever_directories_are_called(files: Path, name: str) -> None:
    assert complaints(files / name) == ""


def test_systemd_would_complain(files: Path, tmp_path: Path) -> None:
    unit = tmp_path / "p2-hook-listener.service"
    unit.write_text((files / unit.name).read_text().replace("%%Z", "%Z"))
    assert "%Z" in complaints(unit)


def test_logrotate_rotates_the_log_whatever_it_is_called(files: Path, tmp_path: Path) -> None:
    for dummy in range(2):
        (files / ODD / "audit.jsonl").write_text("{}\n")
        command = ["/usr/sbin/logrotate", "--force", "--state", str(tmp_path / "state"), str(files / "logrotate")]
        subprocess.run(command, check=True)
    assert sorted(os.listdir(files / ODD)) == ["audit.jsonl.1", "audit.jsonl.2.gz"]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("hook_runner", {"hook_runner_config": {"root": '/a"b'}}, r'"/a\"b" cannot be a directory of hooks'),
    ("hook_runner", {"hook_runner_config": {"store_path": "/a\\"}}, r'"/a\\" cannot be a directory of hooks'),
    ("hook_runner", {"hook_runner_config": {"root": "/a$HOME"}}, '"/a$HOME" cannot be a directory of hooks'),
    ("hook_runner", {"hook_runner_listener_read_write_paths": ["/a\nb"]}, r'"/a\nb" cannot be a directory of hooks'),
    (
        "hook_runner",
        {"hook_runner_config": {"node": "a\nroot = /"}},
        r'hook_runner_config has {"node": "a\nroot = /"}; give',
    ),
    ("hook_runner", {"hook_runner_consul_requirement": "-r /x"}, 'hook_runner_consul_requirement is "-r /x"; give'),
    ("audit_log", {"audit_log_path": "/a{b"}, 'audit_log_path is "/a{b"; give a path that'),
    (
        "hook_runner",
        {"hook_runner_config": {"bogus": 1, "root": "/a", "Root": "/b"}},
        "hook_runner_config has bogus, Root; the options are root, pod_root, node, ",
    ),
    (
        "hook_runner",
        {"hook_runner_config": {"root": "rel", "node": "a", "consul_ca_path": 1}},
        'hook_runner_config has {"root": "rel", "consul_ca_path": 1}; give paths that begin with /',
    ),
    ("audit_log", {"audit_log_path": "/a$HOME"}, 'audit_log_path is "/a$HOME"; give a path that'),
    ("audit_log", {"audit_log_path": "/a\nb"}, r'audit_log_path is "/a\nb"; give a path that'),
    ("audit_log", {"audit_log_database": 'a"'}, r'audit_log_database is "a\""; give a path that'),
]


def test_what_files_of_a_role_cannot_express_is_refused(tmp_path: Path) -> None:
    names = [f"case{number}" for number in range(len(REFUSED))]
    variables = {"hook_runner_listener_enabled": False, "_hook_runner_python": sys.executable}
    hosts = {name: {"role": role, **variables, **options} for name, (role, options, dummy) in zip(names, REFUSED)}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    preflight = {"name": "p2fleet.hooks.{{ role }}", "tasks_from": "preflight"}
    said = play(tmp_path / "hosts.json", [{"ansible.builtin.include_role": preflight}])
    for name, message in zip(names, [case[2] for case in REFUSED]):
        refusals = re.findall(rf"^(?:fatal|failed): \[{name}\].* => (\{{.*)$", said, re.MULTILINE)
        messages = [json.JSONDecoder().raw_decode(text)[0]["msg"] for text in refusals]
        assert any(text.startswith(message) for text in messages), (message, messages)
