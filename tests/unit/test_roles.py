# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all roles have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from p2hooks import configuration, engine_home, site_packages

TOP = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (TOP / "roles").iterdir())


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> Path:
    return TOP / "roles" / str(request.param)


def test_specified_options_are_the_defaults(role: Path) -> None:
    specification = loaded(role / "meta/argument_specs.yml")["argument_specs"]
    defaults = loaded(role / "defaults/main.yml") or {}
    for name, entry_point in specification.items():
        assert (role / f"tasks/{name}.yml").exists()
        specified = {option: spec.get("default") for option, spec in entry_point["options"].items()}
        without_default = {option for option, spec in entry_point["options"].items() if "default" not in spec}
        assert not without_default & defaults.keys()
        with_default = {option: value for option, value in specified.items() if option not in without_default}
        assert with_default.items() <= defaults.items()
    main = specification["main"]["options"]
    assert defaults.keys() == {option for option, spec in main.items() if "default" in spec}


def test_variables_begin_with_the_name_of_the_role_and_internal_ones_with_an_underscore(role: Path) -> None:
    for name in loaded(role / "defaults/main.yml") or {}:
        assert name.startswith(f"{role.name}_")
    for name in loaded(role / "vars/main.yml") or {}:
        assert name.startswith(f"_{role.name}_")
    for task in tasks_of(role):
        for name in [task.get("register"), *task.get("ansible.builtin.set_fact", {})]:
            assert name is None or name == "cacheable" or name.startswith(f"_{role.name}_")


def tasks_of(role: Path) -> Iterator[dict[str, Any]]:
    pending = [task for path in sorted((role / "tasks").glob("*.yml")) for task in loaded(path)]
    while pending:
        task = pending.pop()
        yield task
        for part in ("block", "rescue", "always"):
            pending += task.get(part, [])


def test_no_injected_facts_are_used(role: Path) -> None:
    allowed = {
        "ansible_facts", "ansible_managed", "ansible_check_mode", "ansible_diff_mode", "ansible_failed_result",
        "ansible_failed_task",
    }  # fmt: skip
    for path in role.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            assert set(re.findall(r"\bansible_\w+", path.read_text())) <= allowed, path


def test_every_role_has_a_page_and_says_where_it_may_run(role: Path) -> None:
    assert (role / "README.md").read_text().count(f"p2fleet.hooks.{role.name}")
    assert loaded(role / "meta/main.yml")["galaxy_info"]["platforms"][0]["name"] == "Debian"


def test_what_roles_know_of_the_engine_is_what_it_knows() -> None:
    known = loaded(TOP / "roles/hook_runner/vars/main.yml")
    assert known["_hook_runner_home"] == engine_home.HOME
    assert known["_hook_runner_command"] == engine_home.LINK
    assert known["_hook_runner_config_file"] == configuration.DEFAULT_PATH
    assert site_packages.OWN.startswith(known["_hook_runner_venv"] + "/")
    for option, variable in [
        ("root", "root"),
        ("store", "store"),
        ("store_path", "store_path"),
        ("audit_log", "audit_log"),
    ]:
        default = re.search(r"default\('(.*)'\)", known[f"_hook_runner_{variable}"])
        assert default is not None
        assert default[1] == configuration.OPTIONS[option][1]
    options = {name: kind for name, (kind, dummy) in configuration.OPTIONS.items() if name != "consul_token"}
    assert known["_hook_runner_options"] == options
    log = loaded(TOP / "roles/audit_log/defaults/main.yml")["audit_log_path"]
    assert configuration.OPTIONS["audit_log"][1] in log
