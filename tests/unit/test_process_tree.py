# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be brought about with real processes, which other tests have."""

from __future__ import annotations

import pytest
from p2hooks import process_tree


def test_what_becomes_another_process_during_a_look_at_all_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [[1000], [1000, 1001], [1002], [1003], [1003, 1004], [1005], [1005]]
    marked = {1001, 1002, 1004}
    killed: list[int] = []

    def kill(pid: int, number: int) -> None:
        killed.append(pid)
        marked.discard(pid)

    monkeypatch.setattr(process_tree, "_all_processes", lambda: lists.pop(0))
    monkeypatch.setattr(process_tree, "_environment_of", lambda pid: {b"HOOK=a"} if pid in marked else set())
    monkeypatch.setattr(process_tree, "_send", kill)
    assert process_tree.kill_marked({"HOOK": "a"})
    assert killed == [1001, 1002, 1004]
    assert lists == []
