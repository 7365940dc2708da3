# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from p2hooks.errors import HookError, ManifestError
from p2hooks.install_record import InstallRecord, read
from p2hooks.manifest import from_mapping
from p2hooks.time_limits import LONGEST_LIMIT, TimeLimits


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ((None, None), (30, 60)),
        ((10, None), (10, 60)),
        ((90, None), (90, 90)),
        ((None, 20), (10, 20)),
        ((None, 90), (30, 90)),
        ((1, 2), (1, 2)),
        ((70, 80), (70, 80)),
        ((5, 3), (5, 5)),  # which no manifest can say, but somebody may have written into the record
    ],
)
def test_the_limits_of_a_hook_stand_in_place_of_the_runs(
    own: tuple[float | None, float | None], expected: tuple[float, float]
) -> None:
    limits = TimeLimits(30, 60).of_hook(*own)
    assert (limits.term_after, limits.kill_after) == expected


@pytest.mark.parametrize(("term_after", "kill_after"), [(1, 60), (30, 60), (70, 140), (LONGEST_LIMIT, LONGEST_LIMIT)])
def test_without_a_limit_for_killing_it_follows_the_other(term_after: float, kill_after: float) -> None:
    assert TimeLimits(term_after).kill_after == kill_after


@pytest.mark.parametrize("limits", [(0, 1), (2, 1), (1, LONGEST_LIMIT + 1), (float("nan"), 1)])
def test_limits_have_to_be_in_order(limits: tuple[float, float]) -> None:
    with pytest.raises(HookError, match="term_after is"):
        TimeLimits(*limits)


def manifest(config: dict[str, object]) -> dict[str, object]:
    return {
        "id": "a",
        "launchables": {"a": {"launchable_type": "hoist", "location": "file:///a_1.tar.gz"}},
        "config": config,
    }


def test_a_manifest_sets_limits_in_its_configuration() -> None:
    pod = from_mapping(manifest({"term_after": 5, "kill_after": 7.5, "other": "x"}), "a")
    assert (pod.term_after, pod.kill_after) == (5.0, 7.5)
    pod = from_mapping(manifest({}), "a")
    assert (pod.term_after, pod.kill_after) == (None, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"term_after": "5"}, "config: term_after is '5'; give seconds"),
        ({"kill_after": True}, "config: kill_after is 'True'; give seconds"),
        ({"term_after": 0}, "config: term_after is '0'; give seconds"),
        ({"term_after": 90000}, "not more than 86400"),
        ({"term_after": 5, "kill_after": 4}, "config: kill_after is 4, less than term_after, 5; raise it"),
    ],
)
def test_a_manifest_with_limits_that_make_no_sense_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        from_mapping(manifest(config), "a")


def test_the_record_of_an_installation_keeps_them(tmp_path: pytest.TempPathFactory) -> None:
    path = f"{tmp_path}/installed"
    with open(path, "wb") as file:
        file.write(InstallRecord("store", "5b", {"a": "1"}, 0.25, 7.0).encode())
    record = read(str(tmp_path))
    assert record is not None
    assert (record.term_after, record.kill_after) == (0.25, 7.0)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", ""])
def test_limits_that_somebody_has_spoiled_count_as_none(tmp_path: pytest.TempPathFactory, text: str) -> None:
    with open(f"{tmp_path}/installed", "w") as file:
        file.write(f"origin store\nmanifest 5b\nterm_after {text}\n")
    record = read(str(tmp_path))
    assert record is not None
    assert record.term_after is None
