# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report, in a browser."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import support_many_hosts as fleet
from p2hooks.audit.summary import summarise
from p2hooks.drift import DRIFT
from p2hooks.host_audit import decode_audit
from p2hooks.report import aggregate
from p2hooks.report.versions import STATES
from report_page import render, visible
from support_browser import Browser

NOW = datetime(2026, 1, 31, 15, 20, tzinfo=timezone.utc)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

#: What somebody could write into a name or an output, to get out of where it stands in the page.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src="http://127.0.0.1:9/x.png" onerror="alert(2)">',
    "' onmouseover='alert(3)' style='position:fixed;inset:0",
    "</pre></details></style></title><iframe srcdoc='<script>alert(4)</script>'></iframe>",
    "<!-- --!><svg/onload=alert(5)>]]>&lt;b&gt;&#60;b&#62;",
    "{{ 7 * 7 }}{% raw %}{# #}",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J\x00\x08\x7f\x9b31m",
    "\u202egnp.exe\u202c\u2066\u2069\u200f\u200b\ufeff\u2028",
    "\ud800 lone \udcff surrogates",
    "x" * 65536,
    "é" * 400 + " " + "宽" * 400 + "\u0301" * 400,
    "javascript:alert(6)",
)


def page_of(
    path: Path, audits: dict[str, Any], found: dict[str, Any] | None = None, title: str = "Hooks of the fleet"
) -> Path:
    numbers = aggregate(
        [decode_audit(host, result) for host, result in audits.items()],
        found,
        since=NOW - timedelta(days=3),
        now=NOW,
    )
    path.write_text(render(numbers, title=title), encoding="utf-8")
    return path


def hostile_page(path: Path, texts: tuple[str, ...]) -> Path:
    """Make a page in which every name, message and output is one of ``texts``; its structure is always the same."""
    audits: dict[str, Any] = {}
    hooks: list[dict[str, Any]] = []
    nodes: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        record = {
            **next(fleet.records(1, 1, NOW))[1][0],
            **dict.fromkeys(("host", "event", "hook", "hook_id", "artifact_version", "manifest_sha", "pod_id"), text),
            "outcome": "failed",
            "exit_code": None,
            "signal": text,
            "output": text,
            "duration": float(number),
        }
        skipped = {**record, "hook": f"2{text}", "outcome": "skipped", "reason": text}
        audits[f"{number}{text}"] = fleet.answer(summarise([record, skipped]))
        audits[f"down{number}{text}"] = {"unreachable": True, "msg": text}
        audits[f"new{number}{text}"] = {**fleet.answer([]), "missing": text}
        node = f"store{number}{text}"
        hooks.append(hostile_hook(f"{number}{text}", text, node, {**record, "hook": f"3{text}"}))
        nodes.append(
            {"node": node, "stale": True, "outdated": True, "unreadable": text, "error": f"2{text}", "hooks": {}}
        )
    return page_of(
        path,
        audits,
        {"summary": {"nodes": len(nodes), "unreadable": 0}, "hooks": hooks, "nodes": nodes},
        title=texts[0],
    )


def hostile_hook(hook_id: str, text: str, node: str, failure: dict[str, Any]) -> dict[str, Any]:
    """Return what p2_hook_info says of a hook, with ``text`` wherever it passes on what others wrote."""
    manifest: dict[str, Any] = {"manifest_sha": text, "versions": {text: text}}
    return {
        "event": text,
        "id": hook_id,
        "scheduled": manifest,
        "rollout": {
            **manifest,
            "base_sha": text,
            "nodes": [text],
            "percent": 5.0,
            "started_by": text,
            "started": text,
            "widened": f"2{text}",
            "overtaken": text,
            "progress": {
                "hosts": {"converged": 1, "waiting": 1, "away": 1, "failed": 1},
                **{name: {node: text} for name in ("waiting", "away", "failed_nodes")},
                "outcomes": {text: 1, "failed": 1},
                "broken": text,
            },
        },
        "error": text,
        "hosts": dict.fromkeys(STATES, 1),
        "differences": [
            {**manifest, "node": node, "state": state, "wanted_sha": f"2{text}", "error": text} for state in DRIFT
        ],
        "failures": [{**manifest, "node": node, "last_failure": failure}],
    }


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages that are looked at, by name."""
    directory = tmp_path_factory.mktemp("pages")

    def of_fleet(name: str, hosts: int, runs: int, *, with_store: bool = True) -> Path:
        audits: dict[str, Any] = {
            host: fleet.answer(summarise(records)) for host, records in fleet.records(hosts, runs, NOW)
        }
        audits["down.example.com"] = {"unreachable": True, "msg": "Connection timed out"}
        audits["new.example.com"] = {**fleet.answer([]), "missing": "no audit log at /var/log/p2-hook/audit.jsonl"}
        found = fleet.fleet(directory / f"{name}_store", hosts, NOW) if with_store else None
        return page_of(directory / f"{name}.html", audits, found)

    return {
        "empty": page_of(directory / "empty.html", {}),
        "small": of_fleet("small", 3, 600),
        "audits": of_fleet("audits", 3, 600, with_store=False),
        "large": of_fleet("large", 500, 100_000),
        "hostile": hostile_page(directory / "hostile.html", HOSTILE),
    }


every_page = pytest.mark.parametrize("name", ["empty", "small", "audits", "large", "hostile"])


# --- the browser sees what it has to see ------------------------------------------------------------------------------


def test_the_browser_tells_of_scripts_requests_errors_and_width(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="missing.png"><p style="width: 3000px">wide</p><script>alert("run")</script>')
    opened = browser.open(bad)
    assert opened.dialog == "run"
    assert opened.requests == [bad.as_uri(), (tmp_path / "missing.png").as_uri()]
    assert any("missing.png" in message for message in opened.console)
    assert opened.width > opened.window == 1280
    assert browser.open(bad, scripts=False).dialog is None


def test_the_policy_of_the_page_forbids_scripts_and_requests(
    browser: Browser, tmp_path: Path, pages: dict[str, Path]
) -> None:
    text = pages["small"].read_text()
    evil = '<script>alert(1)</script><img src="missing.png"></body>'
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("</body>", evil))
    opened = browser.open(changed)
    assert (opened.dialog, opened.requests) == (None, [changed.as_uri()])
    changed.write_text(POLICY.sub("", text).replace("</body>", evil))
    assert browser.open(changed).dialog == "1"


# --- every page -------------------------------------------------------------------------------------------------------


@every_page
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_page_is_whole_on_its_own(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str, scripts: bool
) -> None:
    opened = browser.open(pages[name], width=width, scheme=scheme, scripts=scripts)
    assert opened.requests == [pages[name].as_uri()]
    assert opened.console == []
    assert opened.dialog is None
    assert opened.width <= opened.window == width


@every_page
def test_a_page_has_a_structure_that_can_be_heard(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    assert browser.ask("return document.documentElement.lang") == "en"
    assert browser.ask("return document.querySelectorAll('h1').length") == 1
    assert (
        browser.ask("return [...document.querySelectorAll('section')].filter(s => !s.querySelector('h2')).length") == 0
    )
    ids = browser.ask("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    references = browser.ask(
        "return [...document.querySelectorAll('[aria-labelledby]')].map(e => e.getAttribute('aria-labelledby'))"
        ".concat([...document.querySelectorAll('a[href]')].map(e => e.getAttribute('href').slice(1)))"
    )
    assert set(references) <= set(ids)
    assert browser.ask("return document.querySelectorAll('svg:not([aria-hidden])').length") == 0
    assert browser.ask("return document.querySelectorAll('th:not([scope])').length") == 0


@every_page
def test_every_tag_is_closed(pages: dict[str, Path], name: str) -> None:
    parser = Balance()
    parser.feed(pages[name].read_text())
    assert parser.open == []


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, dummy in attrs]
        assert len(names) == len(set(names))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_what_is_behind_it(browser: Browser, pages: dict[str, Path], scheme: str) -> None:
    browser.open(pages["small"], scheme=scheme)
    colours = {
        name: browser.ask(f"return getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
        for name in ("ink", "soft", "bad", "warn", "link", "page", "card", "sunk")
    }
    assert (luminance(colours["page"]) < 0.5) == (scheme == "dark")
    for text in ("ink", "soft", "bad", "warn", "link"):
        for behind in ("page", "card", "sunk"):
            light, dark = sorted((luminance(colours[text]), luminance(colours[behind])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, behind)


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rgb`` or ``#rrggbb``, by WCAG 2."""
    digits = colour.strip().lstrip("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_on_paper_nothing_is_folded_away(browser: Browser, pages: dict[str, Path]) -> None:
    visible = "return [...document.querySelectorAll('.failure article')].map(e => e.checkVisibility())"
    browser.open(pages["large"])
    assert False in browser.ask(visible)
    browser.open(pages["large"], media="print", width=720)
    assert False not in browser.ask(visible)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    assert 3 < len(re.findall(rb"/Type /Page\b", pdf)) < 30


def test_the_page_of_a_large_fleet_is_one_that_can_be_mailed(pages: dict[str, Path]) -> None:
    assert pages["large"].stat().st_size < 5 << 20


def test_charts_show_all_runs(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["small"])
    bars = browser.ask("return [...document.querySelector('.plot').querySelectorAll('title')].map(e => e.textContent)")
    runs = [int(re.search(r"UTC: ([0-9,]+) run", each)[1]) for each in bars]  # type: ignore[index]
    rows = browser.ask("return [...document.querySelectorAll('.data tbody tr')].map(e => e.cells[1].textContent)")
    assert sum(runs) == 600
    assert rows == [str(count) for count in runs]


def test_failures_of_a_version_that_is_nowhere_any_more_are_marked(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["small"])
    past = browser.ask("return [...document.querySelectorAll('#failures .past h3')].map(e => e.textContent)")
    version = fleet.pod("register_dns", 3).launchables[0].version
    assert version is not None
    assert len(past) == 1
    assert re.fullmatch(f"{version[:12]}, manifest [0-9a-f]+: [0-9]+ on 1 host no longer anywhere", past[0])
    assert re.search(
        "14 failures, [0-9]+ in versions that are no longer anywhere", browser.ask("return document.body.textContent")
    )
    assert browser.ask("return document.querySelectorAll('#failures .version:not(.past)').length") > 0
    browser.open(pages["audits"])
    assert browser.ask("return document.querySelector('.past')") is None


def test_rollouts_are_shown_with_how_they_are_doing(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["small"])
    text = browser.ask("return document.querySelector('#rollouts').textContent")
    nobody, drain = browser.ask("return [...document.querySelectorAll('.rollout')].map(e => e.textContent)")
    assert "after_launch/smoke_test" in nobody
    assert "None of the hosts that report takes part." in nobody
    assert "before_launch/drain" in drain
    assert "Started by alice@admin.example.com, 2026-01-31 10:20, last widened 2026-01-31 14:40" in drain
    assert re.search(r"converged [0-9]+\s+waiting 1\s+of [0-9]+ hosts", drain)
    assert re.search(r"waiting it does not have it yet, by its report of 180 s ago 1 host:\s+node2.example.com", drain)
    assert "No rollout" not in text
    widths = browser.ask(
        "return [...document.querySelector('.rollout .bar').children].map(e => Number(e.getAttribute('width')))"
    )
    assert sum(widths) == browser.ask("return document.querySelector('.rollout .bar').viewBox.baseVal.width")
    browser.open(pages["audits"])
    assert browser.ask("return document.querySelector('#rollouts')") is None


def test_hosts_without_an_audit_say_why(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["small"])
    hosts = browser.ask("return document.querySelector('#hosts').textContent")
    assert re.search(r"unreachable Connection timed out 1 host:\s+down.example.com", hosts)
    assert re.search(r"no audit log at /var/log/p2-hook/audit.jsonl 1 host:\s+new.example.com", hosts)


# --- what hooks and hosts say is only shown ---------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "no policy"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_shown_and_nothing_else(browser: Browser, tmp_path: Path, text: str, policy: bool) -> None:
    def opened(path: Path, *texts: str) -> tuple[Counter[str], str]:
        page = hostile_page(path, texts)
        if not policy:  # escaping has to do without it
            page.write_text(POLICY.sub("", page.read_text()))
        for width in (360, 1280):
            seen = browser.open(page, width=width)
            assert (seen.requests, seen.console, seen.dialog) == ([page.as_uri()], [], None)
            assert seen.width <= seen.window
        # Whatever waits for the mouse or for a focus would have to be an attribute.
        assert (
            browser.ask(
                "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
                ".filter(name => name.startsWith('on') || name === 'style' || name === 'src')"
            )
            == []
        )
        elements = Counter(browser.ask("return [...document.querySelectorAll('*')].map(e => e.localName)"))
        return elements, browser.ask("return document.querySelector('article pre').textContent")

    harmless, dummy = opened(tmp_path / "harmless.html", "harmless")
    elements, output = opened(tmp_path / "hostile.html", text)
    # where an output is long, or has several lines, there is a mark more
    assert {name: count for name, count in (elements - harmless).items() if name != "span"} == {}
    assert {name: count for name, count in (harmless - elements).items() if name != "span"} == {}
    assert output.removeprefix("… ") == visible(text)[-2000:]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü\n\ttext", "plain ü\n\ttext"),
        ("\x1b[1;31mred\x1b[0m \x1b[2J\x07", "red ␛[2J␇"),
        ("a\r\nb\rc\0", "a\nb␍c␀"),
        ("\u202eevil\u2066", "⟨U+202E⟩evil⟨U+2066⟩"),
        ("\ud800\x85\x7f", "\ufffd⟨U+0085⟩␡"),
        ("\ufeff\ufffe\u2028", "⟨U+FEFF⟩⟨U+FFFE⟩⟨U+2028⟩"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_text_that_ansible_has_tagged_is_made_visible_as_well(tmp_path: Path) -> None:
    class Tagged(str):
        __slots__ = ()

    text = page_of(tmp_path / "page.html", {"node1": {"msg": Tagged("\x1b<b>")}}, title=Tagged("\x1b<b>")).read_text()
    assert text.count("␛&lt;b&gt;") == 3  # the title twice, and the error
    assert "\x1b" not in text
