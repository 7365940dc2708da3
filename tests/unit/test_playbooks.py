# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks say about their variables, against what the engine takes, and what the documentation says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from p2hooks.configuration import CHOICES, OPTIONS
from p2hooks.events import EVENTS
from p2hooks.rollout_checks import COUNTABLE
from p2hooks.store.options import NAMES

TOP = Path(__file__).parents[2]


def specification(playbook: str) -> dict[str, dict[str, Any]]:
    [play] = yaml.safe_load((TOP / f"playbooks/{playbook}.yml").read_text())
    [found] = [
        task["vars"]["_p2_specification"] for task in play["tasks"] if "_p2_specification" in task.get("vars", {})
    ]
    return dict(found)


def test_playbooks_know_the_options_of_a_store() -> None:
    options = yaml.safe_load((TOP / "playbooks/vars/store_options.yml").read_text())["_p2_store_options"]
    assert {name: spec["type"] for name, spec in options.items()} == {
        "config_file": "path",
        **{name: OPTIONS[name][0] for name in NAMES},
    }
    chosen = {name: spec["choices"] for name, spec in options.items() if "choices" in spec}
    assert chosen == {name: list(CHOICES[name]) for name in NAMES if name in CHOICES}


@pytest.mark.parametrize(
    ("playbook", "variable", "choices"),
    [
        ("rollout", "p2_rollout_event", EVENTS),
        ("rollout", "p2_rollout_outcomes", COUNTABLE),
        ("rollback", "p2_rollback_event", EVENTS),
    ],
)
def test_playbooks_know_what_can_be_chosen(playbook: str, variable: str, choices: tuple[str, ...]) -> None:
    assert specification(playbook)[variable]["choices"] == list(choices)


@pytest.mark.parametrize(("playbook", "page"), [("rollout", "rollout"), ("rollback", "rollout"), ("report", "report")])
def test_the_documentation_has_each_variable(playbook: str, page: str) -> None:
    rows = re.findall(r"^\| (`p2_.*?) \|", (TOP / f"docs/{page}.md").read_text(), re.MULTILINE)
    documented = set(re.findall(rf"`(p2_{playbook}_\w+)`", " ".join(rows)))
    assert documented == specification(playbook).keys()
