# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from p2hooks.errors import ManifestError, shown
from p2hooks.events import EVENTS, check_event
from p2hooks.hook_key import HookKey
from p2hooks.ids import check_id


@pytest.mark.parametrize("value", ["a", "7", "ensure_user", "a.b-c_D", "x" * 63])
def test_an_id_may_be(value: str) -> None:
    assert check_id(value, "id") == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a..b",
        "../a",
        "a/b",
        "/a",
        "a\n",
        "a\nb",
        "a b",
        "-a",
        "_a",
        "é",
        "a\0",
        "x" * 64,
        "\u202ea",
    ],
)
def test_an_id_may_not_be(value: str) -> None:
    with pytest.raises(ManifestError, match="63 letters") as caught:
        check_id(value, "id")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, 7, 1.5, True, [], ["a"], {}, b"a"])
def test_an_id_is_a_string(value: object) -> None:
    with pytest.raises(ManifestError, match="must be a string"):
        check_id(value, "id")


@pytest.mark.parametrize("event", EVENTS)
def test_key_of_a_typed_hook(event: str) -> None:
    key = HookKey.of(event, "ensure_user")
    assert key.store_key == f"hooks/{event}/ensure_user"
    assert str(key) == f"{event}/ensure_user"
    assert key.parts == (event, "ensure_user")
    assert HookKey.from_store_key(key.store_key) == key


def test_key_of_a_global_hook() -> None:
    key = HookKey.of(None, "ensure_user")
    assert (key.store_key, str(key), key.parts) == ("hooks/ensure_user", "ensure_user", ("ensure_user",))
    assert HookKey.from_store_key("hooks/ensure_user") == key


def test_a_typed_hook_may_have_the_name_of_an_event() -> None:
    assert HookKey.of("after_launch", "before_install").store_key == "hooks/after_launch/before_install"


@pytest.mark.parametrize("event", EVENTS)
def test_a_global_hook_may_not_have_the_name_of_an_event(event: str) -> None:
    with pytest.raises(ManifestError, match="because that is an event"):
        HookKey.of(None, event)


def test_an_unknown_event_is_refused_with_those_there_are() -> None:
    with pytest.raises(ManifestError, match=r"no event 'before\\nlunch'; .*before_launch"):
        check_event("before\nlunch")


@pytest.mark.parametrize(
    ("store_key", "phrase"),
    [
        ("hooks/before_install/a/b", "neither hooks/EVENT/ID nor hooks/ID"),
        ("hooks/", "the id of the hook is ''"),
        ("hooks/before_install/", "the id of the hook is ''"),
        ("hooks/before_install", "is an event"),
        ("hooks/lunch/a", "no event 'lunch'"),
        ("hooks/before_install/..", "without '..'"),
        ("hooks/before_install/a\nb", "63 letters"),
    ],
)
def test_a_store_key_that_is_no_hook(store_key: str, phrase: str) -> None:
    with pytest.raises(ManifestError) as caught:
        HookKey.from_store_key(store_key)
    message = str(caught.value)
    assert phrase in message
    assert message.startswith(f"key {store_key!r}")
    assert message.isprintable()


def test_shown_text_stays_on_one_short_line() -> None:
    text = shown("a\n\x1b\u202e" + "x" * 1000)
    assert text.isprintable()
    assert len(text) < 100
