# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import gzip
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from p2hooks import fetch, install, install_plan, schedule
from p2hooks.errors import ArtifactError, LayoutError
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout
from p2hooks.manifest import PodManifest
from p2hooks.pod_home import PodHome
from support_host import Host, archive, only, script, typed

A = typed("a")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    # Nothing here loses power, and waiting for the disk would take most of the time.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return Host(tmp_path)


@pytest.fixture
def installed(host: Host) -> Host:
    """A host that has version 1 of a, and whose store has nothing else."""
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    return host


def _missing(host: Host) -> PodManifest:
    pod = host.pod("a", "2")
    (host.artifacts / "a_2.tar.gz").unlink()
    return pod


def _another_digest(host: Host) -> PodManifest:
    stanza = host.publish("a_2", script("2"))
    return host.pod_of("a", {"main": {**stanza, "sha256": "0" * 64}})


def _second_of_two(host: Host) -> PodManifest:
    good, bad = host.publish("main_2", script("2")), host.publish("side_1", b"no archive")
    return host.pod_of("a", {"main": good, "side": bad})


def _entry_point(host: Host) -> PodManifest:
    return host.pod_of("a", {"main": {**host.publish("a_2", script("2")), "entry_points": ["bin/launch", "bin/other"]}})


def _not_executable(host: Host) -> PodManifest:
    files = {"bin/launch/a": script("2"), "bin/launch/b": script("2")}
    return host.pod("a", "2", archive(files, {"bin/launch/b": 0o644}))


BAD_ARTIFACTS = [
    pytest.param(_missing, r"a_2.tar.gz: No such file or directory; put the artifact there", id="missing"),
    pytest.param(_another_digest, r"a_2.tar.gz: has the SHA-256 \w{64}, but the manifest says 0{64}", id="digest"),
    pytest.param(lambda host: host.pod("a", "2", b"no archive"), r"main_2.tar.gz: is damaged or not a", id="not gzip"),
    pytest.param(lambda host: host.pod("a", "2", gzip.compress(b"no tar" * 999)), r"main_2.tar.gz: ", id="not tar"),
    pytest.param(
        lambda host: host.pod("a", "2", archive({"bin/launch": "x" * 9999})[:-20]), r"main_2.tar.gz: is", id="cut off"
    ),
    pytest.param(
        lambda host: host.pod("a", "2", {"bin/launch": script("2"), "../../../../x": ""}),
        r"main_2.tar.gz: .*\.\.",
        id="leads out",
    ),
    pytest.param(
        lambda host: host.pod("a", "2", {"bin/other": script("2")}),
        r"before_install/a: launchable main: the artifact has no script at bin/launch.*set entry_points",
        id="no entry point",
    ),
    pytest.param(
        lambda host: host.pod("a", "2", {"bin/launch/.hidden": script("2")}), r"no script at bin/launch", id="hidden"
    ),
    pytest.param(_entry_point, r"no script at bin/other", id="no second entry point"),
    pytest.param(
        lambda host: host.pod("a", "2", {"bin/launch": script("2"), ".artifact-sha256": "x"}),
        r"holds a file \.artifact-sha256",
        id="our own mark",
    ),
    pytest.param(
        lambda host: host.pod("a", "2", {f"bin/launch/{'x' * 240}": script("2")}),
        r"more than 240 bytes",
        id="long name",
    ),
    pytest.param(
        lambda host: host.pod_of(
            "a",
            {"main": {**host.publish("a_2", {"x/run": script("1"), "y/run": script("2")}), "entry_points": ["x", "y"]}},
        ),
        r"would both be linked as a_main_run",
        id="two of a name",
    ),
    pytest.param(
        _not_executable,
        r"before_install/a: launchable main: 'bin/launch/b' is not executable in the artifact.*chmod \+x it",
        id="not executable",
    ),
    pytest.param(_second_of_two, r"side_1.tar.gz: is damaged", id="second launchable"),
]


@pytest.mark.parametrize(("make", "message"), BAD_ARTIFACTS)
def test_a_bad_artifact_leaves_the_version_before_at_work(
    installed: Host, make: Callable[[Host], PodManifest], message: str
) -> None:
    before = installed.runs()
    installed.schedule(A, make(installed))
    for dummy in range(2):
        done, errors = installed.reconcile()
        assert done == []
        assert list(errors) == ["before_install/a"]
        assert isinstance(errors["before_install/a"], ArtifactError)
        assert re.search(message, only(errors))
        assert installed.runs() == before == {"a_main_launch": "a 1"}
        assert os.readlink(installed.pods / "before_install/a/main/current") == "installs/main_1"
        assert installed.debris() == []
    installed.schedule(A, installed.pod("a", "3"))
    assert installed.reconcile() == (["upgrade before_install/a"], {})
    assert installed.runs() == {"a_main_launch": "a 3"}
    assert sorted(os.listdir(installed.pods / "before_install/a/main/installs")) == ["main_1", "main_3"]


@pytest.mark.parametrize(("make", "message"), BAD_ARTIFACTS)
def test_a_bad_artifact_is_not_installed_at_first_and_a_good_one_follows(
    host: Host, make: Callable[[Host], PodManifest], message: str
) -> None:
    host.schedule(A, make(host))
    host.schedule(typed("b"), host.pod("b", "1"))
    done, errors = host.reconcile()
    assert done == ["install before_install/b"]
    only(errors)
    assert host.runs() == {"b_main_launch": "b 1"}
    assert list(install_plan.installed_hooks(host.layout)) == [typed("b")]
    assert host.debris() == []
    host.schedule(A, host.pod("a", "1"))
    assert host.reconcile() == (["install before_install/a"], {})
    assert host.runs() == {"a_main_launch": "a 1", "b_main_launch": "b 1"}


def test_an_artifact_that_was_bad_may_be_replaced_under_its_version(installed: Host) -> None:
    installed.schedule(A, installed.pod("a", "2", {"bin/lunch": script("2")}))
    installed.reconcile()
    installed.schedule(A, installed.pod("a", "2"))
    assert installed.reconcile() == (["upgrade before_install/a"], {})


def test_an_installed_artifact_may_not_change_under_its_version(installed: Host) -> None:
    before = installed.identity()
    installed.schedule(A, installed.pod("a", "1", script("something else")))
    done, errors = installed.reconcile()
    assert done == []
    assert re.search(r"before_install/a: launchable main: main_1 is installed .* new version", only(errors))
    assert installed.identity() == before


def test_an_artifact_may_not_be_larger_than_is_allowed(host: Host) -> None:
    pod = host.pod("a", "1", script("x" * 5000))
    with install.lock(host.layout):
        plan = install_plan.plan_present(host.layout, A, pod)
        done, errors = install.apply(host.layout, plan, max_unpacked_bytes=4000)
    assert done == []
    assert "a_1.tar.gz" in only(errors) or "main_1.tar.gz" in only(errors)
    assert host.debris() == []


def test_an_artifact_in_the_store_needs_the_store(host: Host) -> None:
    schedule.apply(host.store, schedule.plan(host.store, {A: host.pod("a", "1")}, upload_artifacts=True))
    with install.lock(host.layout):
        plan = install_plan.plan_scheduled(host.layout, host.store, node="node1")
        dummy, errors = install.apply(host.layout, plan)
    assert "lies in the store; give the store's options" in only(errors)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hooks/before_install/a", b"id: [", "hooks/before_install/a: is no YAML"),
        ("hooks/before_install/a", b"\xff", "hooks/before_install/a: is no YAML"),
        ("hooks/before_install/a", b"", "hooks/before_install/a"),
        ("hooks/before_install/a", b"id: b\nlaunchables: {}", "launchables"),
        ("hooks/before_install/a", None, "the manifest's id is z; it must be the key's"),
        ("hooks/no_such_event/a", None, "there is no event 'no_such_event'"),
        ("hooks/before_install/d/e", None, "neither hooks/EVENT/ID nor hooks/ID"),
        ("hooks/before_install/a b", None, "the id of the hook is 'a b'"),
    ],
)
def test_a_bad_manifest_removes_nothing_and_keeps_no_other_hook_away(
    installed: Host, key: str, value: bytes | None, message: str
) -> None:
    text = installed.pod("z", "1").text.encode()
    if key != A.store_key:
        installed.put(A.store_key, installed.pod("a", "1").text.encode())
    installed.put(key, text if value is None else value)
    installed.schedule(typed("c"), installed.pod("c", "1"))
    done, errors = installed.reconcile()
    assert done == ["install before_install/c"]
    assert list(errors) == [key]
    assert message in only(errors)
    assert installed.runs() == {"a_main_launch": "a 1", "c_main_launch": "c 1"}


def test_a_store_with_nothing_but_a_bad_manifest_is_not_empty(installed: Host) -> None:
    installed.put(A.store_key, b"rubbish")
    done, errors = installed.reconcile()
    assert done == []
    only(errors)
    assert installed.runs() == {"a_main_launch": "a 1"}


class TestLinkNames:
    def test_of_two_hooks_that_are_the_same_are_refused_naming_both(self, host: Host) -> None:
        first, second = typed("a_b"), typed("a")
        host.schedule(first, host.pod_of("a_b", {"c": host.publish("c_1", script("first"))}))
        host.reconcile()
        before = host.identity()
        host.schedule(second, host.pod_of("a", {"b_c": host.publish("bc_1", script("second"))}))
        for dummy in range(2):
            done, errors = host.reconcile()
            message = only(errors)
            assert done == []
            assert message.startswith("before_install/a: would be linked as a_b_c_launch, which is a script of")
            assert "the hook before_install/a_b already" in message
            assert host.runs() == {"a_b_c_launch": "first"}
            after = host.identity()
            assert {path: after[path] for path in before if "a_b" in path} == {
                path: identity for path, identity in before.items() if "a_b" in path
            }
        host.schedule(first, None)
        assert host.reconcile() == (["remove before_install/a_b", "install before_install/a"], {})
        assert host.runs() == {"a_b_c_launch": "second"}

    def test_of_one_event_do_not_disturb_another(self, host: Host) -> None:
        host.schedule(typed("a_b"), host.pod_of("a_b", {"c": host.publish("c_1", script("first"))}))
        host.schedule(typed("a", "after_launch"), host.pod_of("a", {"b_c": host.publish("bc_1", script("second"))}))
        assert host.reconcile()[1] == {}

    @pytest.mark.parametrize("kind", ["file", "directory", "link"])
    def test_that_people_use_are_refused_before_anything_is_switched(self, installed: Host, kind: str) -> None:
        by_hand = installed.exec / "before_install/a_main_20-new"
        if kind == "file":
            by_hand.write_text(script("by hand"))
            by_hand.chmod(0o755)
        elif kind == "directory":
            by_hand.mkdir()
        else:
            by_hand.symlink_to("/nowhere")
        runs, before = installed.runs(), by_hand.lstat()
        pod = installed.pod("a", "2", {"bin/launch/10-x": script("x"), "bin/launch/20-new": script("new")})
        installed.schedule(A, pod)
        done, errors = installed.reconcile()
        assert done == []
        assert isinstance(errors["before_install/a"], LayoutError)
        assert f"{by_hand} exists and is not ours; rename it" in only(errors)
        assert installed.runs() == runs
        assert by_hand.lstat().st_mtime_ns == before.st_mtime_ns
        by_hand.rmdir() if kind == "directory" else by_hand.unlink()
        assert installed.reconcile() == (["upgrade before_install/a"], {})
        assert installed.runs() == {"a_main_10-x": "x", "a_main_20-new": "new"}

    def test_of_global_hooks_are_no_events(self, host: Host) -> None:
        stanza = {**host.publish("auth_1", {"fail": script("x")}), "entry_points": ["fail"]}
        host.schedule(HookKey.of(None, "after"), host.pod_of("after", {"auth": stanza}))
        done, errors = host.reconcile()
        assert done == []
        assert "would be linked as after_auth_fail, the name of an event" in only(errors)
        assert not (host.exec / "after_auth_fail").is_symlink()


class TestRoot:
    @pytest.mark.parametrize("below", ["/root", "/deep/root"])
    def test_that_lies_below_a_file(self, host: Host, tmp_path: Path, below: str) -> None:
        (tmp_path / "file").write_text("")
        host.layout = Layout(f"{tmp_path}/file{below}")
        with pytest.raises(LayoutError, match=f"^{tmp_path}/file.*while preparing the hooks' root; .*") as caught:
            host.reconcile()
        assert str(caught.value).isprintable()

    def test_that_cannot_be_written(self, host: Host) -> None:
        host.layout = Layout("/proc/p2hooks")
        with pytest.raises(LayoutError, match=r"^/proc/p2hooks.*while preparing the hooks' root"):
            host.reconcile()

    def test_whose_lock_cannot_be_opened(self, host: Host) -> None:
        (host.root / ".lock").mkdir(parents=True)
        with pytest.raises(LayoutError, match=rf"^{host.root}/\.lock: Is a directory, while taking the lock"):
            host.reconcile()

    @pytest.mark.parametrize(
        "place", ["pods/before_install", "pods/before_install/b", "exec/before_install", "pods/before_install/b/config"]
    )
    def test_with_a_file_where_a_directory_belongs(self, host: Host, place: str) -> None:
        (host.root / place).parent.mkdir(parents=True)
        (host.root / place).write_text("")
        host.schedule(typed("b"), host.pod("b", "1"))
        host.schedule(typed("b", "after_launch"), host.pod("b", "1"))
        done, errors = host.reconcile()
        assert done == ["install after_launch/b"]
        assert isinstance(errors["before_install/b"], LayoutError)
        assert str(host.root / place) in only(errors)
        (host.root / place).unlink()
        assert host.reconcile()[1] == {}
        assert host.runs() == {"b_main_launch": "b 1"}

    @pytest.mark.parametrize("place", ["env/POD_ID", "current_manifest.yaml", "main/current", "main/env/LAUNCHABLE_ID"])
    def test_with_a_directory_where_a_file_belongs(self, installed: Host, place: str) -> None:
        path = installed.pods / "before_install/a" / place
        path.unlink()
        (path / "x").mkdir(parents=True)
        installed.schedule(typed("b"), installed.pod("b", "1"))
        done, errors = installed.reconcile()
        assert done == ["install before_install/b"]
        assert isinstance(errors["before_install/a"], LayoutError)
        assert str(path) in only(errors)

    def test_with_a_record_that_is_rubbish_is_installed_anew(self, installed: Host) -> None:
        (installed.pods / "before_install/a/installed").write_bytes(b"\xff\0 rubbish\n\n")
        assert installed.reconcile() == (["install before_install/a"], {})

    def test_with_a_digest_that_is_rubbish(self, installed: Host) -> None:
        (installed.pods / "before_install/a/main/installs/main_1/.artifact-sha256").write_bytes(b"\xff\n")
        dummy, errors = installed.reconcile()
        assert "another digest" in only(errors)


class TestLock:
    def test_waits_only_so_long(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        host.reconcile()
        monkeypatch.setattr(install, "LOCK_PATIENCE", 0.2)
        with open(host.root / ".lock") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(
                LayoutError, match=rf"^{host.root}/\.lock: another installation .* then run this again$"
            ):
                host.reconcile()
        assert host.reconcile() == ([], {})

    def test_is_had_when_the_other_is_done(self, host: Host) -> None:
        host.reconcile()
        host.schedule(A, host.pod("a", "1"))
        results: list[Any] = []
        with install.lock(host.layout):
            waiting = threading.Thread(target=lambda: results.append(host.reconcile()))
            waiting.start()
            waiting.join(0.3)
            assert waiting.is_alive()
            assert host.runs() == {}
        waiting.join(10)
        assert results == [(["install before_install/a"], {})]


def test_a_removal_removes_the_links_first(installed: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    installed.schedule(A, None)
    seen: list[dict[str, str]] = []
    rename = os.rename

    def watched(source: str, target: str) -> None:
        seen.append(installed.runs())
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    installed.reconcile(allow_empty=True)
    assert seen == [{}]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing keeps root from writing")
def test_a_directory_that_may_not_be_written(installed: Host) -> None:
    directory = installed.pods / "before_install/a/main/installs"
    directory.chmod(0o555)
    installed.schedule(A, installed.pod("a", "2"))
    done, errors = installed.reconcile()
    directory.chmod(0o755)
    assert done == []
    assert "Permission denied, while doing the upgrade of before_install/a" in only(errors)
    assert installed.runs() == {"a_main_launch": "a 1"}


def test_a_refused_new_hook_leaves_nothing_on_the_disk(host: Host) -> None:
    pod = host.pod("a", "1", b"no archive")
    host.schedule(typed("a"), pod)
    assert list(host.reconcile()[1]) == ["before_install/a"]
    assert not (host.pods / "before_install/a").exists()


def test_a_link_that_an_upgrade_gives_up_can_be_taken_in_the_same_run(host: Host) -> None:
    stanza = host.publish("c_1", {"bin/launch/launch": script("1"), "bin/launch/other": script("1")})
    host.schedule(typed("a_b"), host.pod_of("a_b", {"c": stanza}))
    host.reconcile()
    host.schedule(typed("a_b"), host.pod_of("a_b", {"c": host.publish("c_2", {"bin/launch/other": script("2")})}))
    host.schedule(typed("a"), host.pod_of("a", {"b_c": host.publish("b_c_1", script("3"))}))
    done, errors = host.reconcile()
    assert (sorted(done), errors) == (["install before_install/a", "upgrade before_install/a_b"], {})
    assert host.runs() == {"a_b_c_launch": "3", "a_b_c_other": "2"}


def test_a_script_that_the_new_version_drops_is_unlinked_before_it_vanishes(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.schedule(typed("a"), host.pod("a", "1", {"bin/launch/old": script("1"), "bin/launch/kept": script("1")}))
    host.reconcile()
    seen: list[Any] = []
    switch = PodHome.switch

    def watched(home: PodHome, pod: PodManifest, origin: str, **options: Any) -> None:
        seen.append(sorted(host.runs()))
        switch(home, pod, origin, **options)
        seen.append(sorted(host.runs().items()))

    monkeypatch.setattr(PodHome, "switch", watched)
    host.schedule(typed("a"), host.pod("a", "2", {"bin/launch/kept": script("2")}))
    host.reconcile()
    assert seen == [["a_main_kept"], [("a_main_kept", "2")]]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_an_artifact_below_a_directory_with_any_name_is_found_in_any_locale(tmp_path: Path, locale: str) -> None:
    program = r"""if True:
        import os, sys
        from p2hooks import bin2pod, fetch, schedule
        from p2hooks.hook_key import HookKey
        from p2hooks.store.directory import DirectoryStore
        top = os.fsencode(sys.argv[1])
        work = os.fsdecode(top + b"/b\xc3\xbc\xff")
        hook = os.fsdecode(top + b"/hook")
        open(hook, "w").write("#!/bin/sh")
        os.chmod(hook, 0o755)
        pod = bin2pod.build(hook, work).manifest
        fetch.fetch(pod.launchables[0], os.fsdecode(top + b"/fetched"), None, max_bytes=10**6)
        store = DirectoryStore(os.fsdecode(top + b"/store"), create=True)
        print(len(schedule.plan(store, {HookKey(None, "hook"): pod}, upload_artifacts=True).uploads))
    """
    engine = Path(fetch.__file__).parents[1]
    environment = {"PYTHONPATH": str(engine), "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
