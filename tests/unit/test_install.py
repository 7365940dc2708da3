# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from p2hooks import disk, envdir, install_plan, install_record, schedule
from p2hooks.errors import LayoutError, ManifestError, StoreError, StoreUnavailable
from p2hooks.event_hooks import hooks_of, would_run
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout
from p2hooks.manifest import parse
from p2hooks.store.directory import DirectoryStore
from support_host import Host, script, typed

A = typed("a")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    # Nothing here loses power, and waiting for the disk would take most of the time.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return Host(tmp_path)


def test_a_first_install_makes_a_pod_home_and_a_link_and_nothing_else(host: Host) -> None:
    stanza = host.publish("users_1", script("one"))
    stanza["env"] = {"GREETING": "hello\nyou", "LEVEL": 3}
    stanza["restart_timeout"] = "1m30s"
    stanza["cgroup"] = {"cpus": 2}
    pod = host.pod_of("ensure", {"user": stanza}, config={"shell": "/bin/sh"})
    host.schedule(typed("ensure"), pod)

    assert host.reconcile() == (["install before_install/ensure"], {})

    home = f"{host.pods}/before_install/ensure"
    config = f"config/ensure_{pod.sha}"
    record = (
        f"origin store\nmanifest {pod.sha}\nlaunchable user 1\n"
        f"env CONFIG_PATH {home}/{config}.yaml\nenv PLATFORM_CONFIG_PATH {home}/{config}.platform.yaml\n"
        f"env POD_HOME {home}\nenv POD_ID ensure\nenv POD_UNIQUE_KEY \n"
        "launchable_env user GREETING hello\\nyou\nlaunchable_env user LAUNCHABLE_ID user\n"
        f"launchable_env user LAUNCHABLE_ROOT {home}/user/current\n"
        "launchable_env user LEVEL 3\nlaunchable_env user RESTART_TIMEOUT 90\n"
    )
    at_home = {
        "": ("drwxr-xr-x", ""),
        "/config": ("drwxr-xr-x", ""),
        f"/{config}.yaml": ("-rw-------", "shell: /bin/sh\n"),
        f"/{config}.platform.yaml": ("-rw-------", "user:\n  cgroup:\n    cpus: 2\n"),
        "/current_manifest.yaml": ("-rw-------", pod.text),
        "/env": ("drwxr-xr-x", ""),
        "/env/CONFIG_PATH": ("-rw-------", f"{home}/{config}.yaml\n"),
        "/env/PLATFORM_CONFIG_PATH": ("-rw-------", f"{home}/{config}.platform.yaml\n"),
        "/env/POD_HOME": ("-rw-------", f"{home}\n"),
        "/env/POD_ID": ("-rw-------", "ensure\n"),
        "/env/POD_UNIQUE_KEY": ("-rw-------", "\n"),
        "/installed": ("-rw-------", record),
        "/user": ("drwxr-xr-x", ""),
        "/user/current": ("lrwxrwxrwx", "installs/user_1"),
        "/user/env": ("drwxr-xr-x", ""),
        "/user/env/GREETING": ("-rw-------", "hello\0you\n"),
        "/user/env/LAUNCHABLE_ID": ("-rw-------", "user\n"),
        "/user/env/LAUNCHABLE_ROOT": ("-rw-------", f"{home}/user/current\n"),
        "/user/env/LEVEL": ("-rw-------", "3\n"),
        "/user/env/RESTART_TIMEOUT": ("-rw-------", "90\n"),
        "/user/installs": ("drwxr-xr-x", ""),
        "/user/installs/user_1": ("drwxr-xr-x", ""),
        "/user/installs/user_1/.artifact-sha256": ("-rw-r--r--", f"{stanza['sha256']}\n"),
        "/user/installs/user_1/bin": ("drwxr-xr-x", ""),
        "/user/installs/user_1/bin/launch": ("-rwxr-xr-x", script("one")),
    }
    assert host.tree() == {
        ".lock": ("-rw-------", ""),
        "exec": ("drwxr-xr-x", ""),
        "exec/before_install": ("drwxr-xr-x", ""),
        "exec/before_install/ensure_user_launch": (
            "lrwxrwxrwx",
            "../../pods/before_install/ensure/user/current/bin/launch",
        ),
        "pods": ("drwxr-xr-x", ""),
        "pods/before_install": ("drwxr-xr-x", ""),
        **{f"pods/before_install/ensure{path}": entry for path, entry in at_home.items()},
    }
    assert host.runs() == {"ensure_user_launch": "one"}


def test_a_global_hook_lies_one_level_higher(host: Host) -> None:
    key = HookKey.of(None, "everywhere")
    host.schedule(key, host.pod("everywhere", "1"))
    assert host.reconcile() == (["install everywhere"], {})
    assert os.readlink(host.exec / "everywhere_main_launch") == "../pods/everywhere/main/current/bin/launch"
    assert host.runs(None) == {"everywhere_main_launch": "everywhere 1"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (
            "pods/before_install/a/main/installs/main_1/bin",
            "the artifact of main is not unpacked, not all of it, or not executable",
        ),
        ("pods/before_install/a/main/current", "main/current does not lead to installs/main_1"),
        ("pods/before_install/a/env/POD_ID", "env/POD_ID is missing, or was changed"),
        ("exec/before_install/a_main_launch", "its links in exec/ are missing, or were changed"),
        (None, "env/STRAY does not belong there"),
    ],
)
def test_a_plan_says_what_is_damaged(host: Host, path: str | None, reason: str) -> None:
    pod = host.pod("a", "1")
    host.schedule(A, pod)
    host.reconcile()
    if path is None:
        (host.pods / "before_install/a/env/STRAY").touch()
    elif (host.root / path).is_dir() and not (host.root / path).is_symlink():
        shutil.rmtree(host.root / path)
    else:
        (host.root / path).unlink()
    (action,) = install_plan.plan_scheduled(host.layout, host.store, node="node1").actions
    assert (action.kind, action.reason) == ("repair", f"damaged: {reason}")


def test_a_plan_says_what_an_upgrade_changes(host: Host) -> None:
    def reason(plan: install_plan.InstallPlan) -> str:
        (action,) = plan.actions
        return f"{action.kind}: {action.reason}"

    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    for pod, expected in (
        (host.pod("a", "2"), "another version is installed"),
        (host.pod("a", "1", config={"level": 3}), "the same version is installed, by another manifest"),
    ):
        host.schedule(A, pod)
        assert reason(install_plan.plan_scheduled(host.layout, host.store, node="node1")) == f"upgrade: {expected}"
    local = install_plan.plan_present(host.layout, A, host.pod("a", "1"))
    assert reason(local) == "upgrade: it is installed as store, not as local"


@pytest.mark.parametrize("name", ["", "root", "root/exec", "root/pods"])
def test_a_root_that_runs_will_refuse_is_a_warning(host: Host, name: str) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    directory = host.root.parent / name
    directory.chmod(0o775)
    warning = (
        f"hooks below {host.root} will not run as long as this is so: "
        f"{str(directory).rstrip('/')} is writable by group or others; chmod go-w it"
    )
    assert install_plan.plan_present(host.layout, A, host.pod("a", "1")).all_warnings == [warning]
    if name:  # the store lies in the same directory
        assert install_plan.plan_scheduled(host.layout, host.store, node="node1").all_warnings == [warning]
    (would,) = would_run(host.layout, "before_install")
    assert str(would["reason"]) in warning
    directory.chmod(0o755)
    assert install_plan.plan_scheduled(host.layout, host.store, node="node1").all_warnings == []


def test_a_root_that_is_still_to_be_made_may_lie_where_it_will_be_refused(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    layout = Layout(str(host.root / "below" / "hooks"))
    assert install_plan.plan_scheduled(layout, host.store, node="node1").unsafe_root is None
    host.root.mkdir()
    host.root.chmod(0o777)
    assert f"{host.root} is writable" in str(install_plan.plan_scheduled(layout, host.store, node="node1").unsafe_root)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(host: Host, umask: int) -> None:
    host.schedule(A, host.pod("a", "1"))
    before = os.umask(umask)
    try:
        host.reconcile()
    finally:
        os.umask(before)
    strange = host.tree()
    shutil.rmtree(host.root)
    host.reconcile()
    assert strange == host.tree()


def test_installing_again_changes_nothing_and_touches_nothing(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.schedule(HookKey.of(None, "b"), host.pod("b", "1", config={"x": [1, {"y": None}]}))
    host.schedule(A, host.pod("a", "2"))
    host.reconcile()
    before = host.identity()
    plan = install_plan.plan_scheduled(host.layout, host.store, node="node1")
    assert plan == install_plan.InstallPlan(scheduled=plan.scheduled)
    assert host.reconcile() == ([], {})
    assert host.identity() == before


def test_a_run_gives_a_hook_what_its_env_directories_say(host: Host) -> None:
    stanza = host.publish("a_1", script("a"))
    stanza["env"] = {"TEXT": "two\nlines \u20ac \\n", "EMPTY": "", "POD_UNIQUE": " x"}
    host.schedule(A, host.pod_of("a", {"main": stanza, "more": host.publish("more_1", script("more"))}))
    host.reconcile()
    home = f"{host.pods}/before_install/a"
    found = {hook.name: hook for hook in hooks_of(host.layout, "before_install")}
    assert [hook.obstacle() for hook in found.values()] == [None, None]
    for launchable in ("main", "more"):
        in_files = {**envdir.read(f"{home}/env"), **envdir.read(f"{home}/{launchable}/env")}
        assert found[f"a_{launchable}_launch"].variables == in_files


def test_what_is_changed_in_an_env_directory_has_no_effect_and_is_repaired(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    file = host.pods / "before_install/a/env/POD_ID"
    file.write_text("other\n")
    (hook,) = hooks_of(host.layout, "before_install")
    assert hook.obstacle() is None
    assert hook.variables["POD_ID"] == "a"
    assert host.reconcile() == (["repair before_install/a"], {})
    assert file.read_text() == "a\n"


def test_a_record_of_an_earlier_engine_will_do_until_the_next_installation(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    (hook,) = hooks_of(host.layout, "before_install")
    assert hook.obstacle() is None
    expected = hook.variables
    record = host.pods / "before_install/a/installed"
    now = record.read_text()
    record.write_text("".join(line for line in now.splitlines(True) if "env " not in line))
    (hook,) = hooks_of(host.layout, "before_install")
    assert hook.obstacle() is None
    assert hook.variables == expected
    assert host.reconcile() == (["repair before_install/a"], {})
    assert record.read_text() == now
    assert host.reconcile() == ([], {})


def test_planning_writes_nothing(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    plan = install_plan.plan_scheduled(host.layout, host.store, node="node1")
    assert [(action.kind, action.key, action.before) for action in plan.actions] == [("install", A, "")]
    assert not host.root.exists()


def test_an_upgrade_flips_current_and_last_and_prunes_what_is_older(host: Host) -> None:
    for version in "123":
        host.schedule(A, host.pod("a", version))
        [done], errors = host.reconcile()
        assert (done, errors) == ("install before_install/a" if version == "1" else "upgrade before_install/a", {})
        assert host.runs() == {"a_main_launch": f"a {version}"}
    main = host.pods / "before_install/a/main"
    assert os.readlink(main / "current") == "installs/main_3"
    assert os.readlink(main / "last") == "installs/main_2"
    assert sorted(os.listdir(main / "installs")) == ["main_2", "main_3"]
    assert len(os.listdir(main.parent / "config")) == 2
    assert host.debris() == []


def test_a_plan_shows_the_manifest_before_and_after(host: Host) -> None:
    one, two = host.pod("a", "1"), host.pod("a", "2")
    host.schedule(A, one)
    host.reconcile()
    host.schedule(A, two)
    [action] = install_plan.plan_scheduled(host.layout, host.store, node="node1").actions
    assert action.manifest is not None
    assert (action.kind, action.before, action.manifest.text) == ("upgrade", one.text, two.text)


def test_a_downgrade_takes_the_kept_version_without_its_artifact(host: Host) -> None:
    one = host.pod("a", "1")
    host.schedule(A, one)
    host.reconcile()
    host.schedule(A, host.pod("a", "2"))
    host.reconcile()
    (host.artifacts / "a_1.tar.gz").unlink()
    host.schedule(A, one)
    assert host.reconcile() == (["upgrade before_install/a"], {})
    main = host.pods / "before_install/a/main"
    assert host.runs() == {"a_main_launch": "a 1"}
    assert os.readlink(main / "last") == "installs/main_2"
    assert host.reconcile() == ([], {})


def test_new_config_and_env_are_written_without_a_new_version(host: Host) -> None:
    stanza = host.publish("a_1", script("one"))
    host.schedule(A, host.pod_of("a", {"main": {**stanza, "env": {"OLD": "1", "KEPT": "1"}}}, config={"level": 1}))
    host.reconcile()
    (host.artifacts / "a_1.tar.gz").unlink()
    pod = host.pod_of("a", {"main": {**stanza, "env": {"KEPT": "2", "NEW": "2"}}}, config={"level": 2})
    host.schedule(A, pod)
    assert host.reconcile() == (["upgrade before_install/a"], {})
    home = host.pods / "before_install/a"
    config = Path((home / "env/CONFIG_PATH").read_text().strip())
    assert config.read_text() == "level: 2\n"
    assert sorted(os.listdir(config.parent)) == [f"a_{pod.sha}.platform.yaml", f"a_{pod.sha}.yaml"]
    assert not (home / "main/env/OLD").exists()
    assert (home / "main/env/KEPT").read_text() == (home / "main/env/NEW").read_text() == "2\n"
    assert not (home / "main/last").is_symlink()


def test_a_new_comment_changes_the_kept_manifest_only(host: Host) -> None:
    text = host.pod("a", "1").text
    host.put(A.store_key, text.encode())
    host.reconcile()
    before = host.identity()
    host.put(A.store_key, f"# a comment\n{text}".encode())
    assert host.reconcile() == (["repair before_install/a"], {})
    changed = {path for path, identity in host.identity().items() if before.get(path) != identity}
    files = {path for path in changed if not (host.root / path).is_dir()}
    assert files == {"pods/before_install/a/current_manifest.yaml", "pods/before_install/a/installed"}
    assert (host.pods / "before_install/a/current_manifest.yaml").read_text() == f"# a comment\n{text}"
    assert host.reconcile() == ([], {})


def test_a_directory_of_scripts_gives_a_link_each_and_an_upgrade_removes_what_is_gone(host: Host) -> None:
    host.schedule(
        A, host.pod("a", "1", {"bin/launch/10-x": script("x1"), "bin/launch/20-y": script("y1"), "README": ""})
    )
    host.reconcile()
    assert host.runs() == {"a_main_10-x": "x1", "a_main_20-y": "y1"}
    host.schedule(A, host.pod("a", "2", {"bin/launch/10-x": script("x2"), "bin/launch/30-z": script("z2")}))
    host.reconcile()
    assert host.runs() == {"a_main_10-x": "x2", "a_main_30-z": "z2"}
    assert host.reconcile() == ([], {})


def test_an_entry_point_may_turn_from_a_file_into_a_directory_and_back(host: Host) -> None:
    file, directory = host.pod("a", "1"), host.pod("a", "2", {"bin/launch/launch": script("2")})
    for pod, said in ((file, "a 1"), (directory, "2"), (file, "a 1")):
        host.schedule(A, pod)
        host.reconcile()
        assert host.runs() == {"a_main_launch": said}
        assert host.reconcile() == ([], {})


def test_entry_points_choose_the_scripts(host: Host) -> None:
    stanza = host.publish("a_1", {"bin/launch": script("no"), "hooks/one": script("one"), "more/x": script("x")})
    stanza["entry_points"] = ["hooks/one", "more"]
    host.schedule(A, host.pod_of("a", {"main": stanza}))
    host.reconcile()
    assert host.runs() == {"a_main_one": "one", "a_main_x": "x"}
    host.schedule(A, host.pod_of("a", {"main": {**stanza, "entry_points": ["more"]}}))
    assert host.reconcile() == (["upgrade before_install/a"], {})
    assert host.runs() == {"a_main_x": "x"}


def test_launchables_come_and_go(host: Host) -> None:
    first, second = host.publish("first_1", script("first")), host.publish("second_1", script("second"))
    host.schedule(A, host.pod_of("a", {"first": first, "second": second}))
    host.reconcile()
    assert host.runs() == {"a_first_launch": "first", "a_second_launch": "second"}
    host.schedule(A, host.pod_of("a", {"second": second}))
    assert host.reconcile() == (["upgrade before_install/a"], {})
    assert host.runs() == {"a_second_launch": "second"}
    assert not (host.pods / "before_install/a/first").exists()
    record = install_record.read(str(host.pods / "before_install/a"))
    assert record is not None
    assert record.versions == {"second": "1"}
    assert host.reconcile() == ([], {})


def test_an_artifact_without_a_version_has_the_launchables_name(host: Host) -> None:
    stanza = host.publish("tool", script("tool"))
    host.schedule(A, host.pod_of("a", {"main": stanza}))
    host.reconcile()
    assert os.readlink(host.pods / "before_install/a/main/current") == "installs/main"
    assert host.reconcile() == ([], {})


def test_an_artifact_may_lie_in_the_store(host: Host) -> None:
    pod = host.pod("a", "1")
    schedule.apply(host.store, schedule.plan(host.store, {A: pod}, upload_artifacts=True))
    shutil.rmtree(host.artifacts)
    plan = install_plan.plan_scheduled(host.layout, host.store, node="node1")
    assert plan.needs_store
    assert host.reconcile() == (["install before_install/a"], {})
    assert not install_plan.plan_scheduled(host.layout, host.store, node="node1").needs_store


def test_global_and_typed_hooks_of_the_same_id_live_side_by_side(host: Host) -> None:
    everywhere, elsewhere = HookKey.of(None, "a"), typed("a", "after_launch")
    host.schedule(everywhere, host.pod("a", "1"))
    host.schedule(A, host.pod("a", "2"))
    host.schedule(elsewhere, host.pod("a", "3"))
    host.reconcile()
    assert host.runs(None) == {"a_main_launch": "a 1"}
    assert host.runs() == {"a_main_launch": "a 2"}
    assert host.runs("after_launch") == {"a_main_launch": "a 3"}
    host.schedule(everywhere, None)
    assert host.reconcile() == (["remove a"], {})
    assert host.runs(None) == {}
    assert (host.runs(), host.runs("after_launch")) == ({"a_main_launch": "a 2"}, {"a_main_launch": "a 3"})


def test_a_hook_that_is_unscheduled_is_removed_with_all_it_had(host: Host) -> None:
    host.schedule(typed("kept"), host.pod("kept", "1"))
    host.reconcile()
    before = host.tree()
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    host.schedule(A, None)
    assert host.reconcile() == (["remove before_install/a"], {})
    assert host.tree() == before


def test_only_the_events_that_are_named_are_looked_at(host: Host) -> None:
    keys = [HookKey.of(None, "a"), A, typed("a", "after_launch")]
    for key in keys:
        host.schedule(key, host.pod("a", "1"))
    assert host.reconcile(events=["before_install"]) == (["install before_install/a"], {})
    assert host.reconcile(events=[None]) == (["install a"], {})
    host.reconcile()
    for key in keys[:2]:
        host.schedule(key, None)
    assert host.reconcile(events=["after_launch"]) == ([], {})
    assert host.reconcile(events=[None]) == (["remove a"], {})
    assert sorted(map(str, install_plan.installed_hooks(host.layout))) == ["after_launch/a", "before_install/a"]


class TestEmptyStore:
    @pytest.fixture
    def installed(self, host: Host) -> Host:
        host.schedule(A, host.pod("a", "1"))
        host.reconcile()
        host.schedule(A, None)
        return host

    def test_is_not_believed_for_the_sake_of_something_that_is_no_hook(self, installed: Host) -> None:
        installed.put("hooks/README.md", b"what these files are")
        with pytest.raises(StoreError, match="nothing is scheduled, but hooks"):
            installed.reconcile()
        assert installed.runs() != {}

    def test_says_what_else_looks_like_one_in_a_directory(self, installed: Host, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="lost data, or a file system that is not mounted, looks the same; check"):
            installed.reconcile()
        plan = install_plan.plan_scheduled(Layout(str(tmp_path / "new")), installed.store, node="node1")
        assert plan.warnings == [
            f"{installed.store.name}: nothing is scheduled; a file system that is not mounted looks the same"
        ]

    def test_removes_nothing_unless_it_is_allowed(self, installed: Host) -> None:
        before = installed.identity()
        with pytest.raises(StoreError, match=r"nothing is scheduled, but hooks .* set allow_empty"):
            installed.reconcile()
        with pytest.raises(StoreError, match="allow_empty"):
            installed.reconcile(events=["before_install"])
        assert installed.identity() == before
        assert installed.reconcile(allow_empty=True) == (["remove before_install/a"], {})
        assert installed.runs() == {}

    def test_that_is_not_there_removes_nothing_whatever_is_allowed(self, installed: Host, tmp_path: Path) -> None:
        before = installed.identity()
        away = DirectoryStore(str(tmp_path / "away"))
        with pytest.raises(StoreUnavailable):
            install_plan.plan_scheduled(installed.layout, away, node="node1", allow_empty=True)
        assert installed.identity() == before

    def test_is_fine_where_nothing_from_it_is_installed(self, host: Host) -> None:
        host.present(A, host.pod("a", "1"))
        assert host.reconcile() == ([], {})
        assert host.runs() == {"a_main_launch": "a 1"}


class TestLocalHook:
    @pytest.fixture
    def overridden(self, host: Host) -> Host:
        host.schedule(A, host.pod("a", "1"))
        host.reconcile()
        assert host.present(A, host.pod("a", "local")) == (["upgrade before_install/a"], {})
        return host

    def test_needs_no_store(self, host: Host) -> None:
        pod = host.pod("a", "1")
        assert host.present(A, pod) == (["install before_install/a"], {})
        assert host.present(A, pod) == ([], {})
        assert "origin local" in (host.pods / "before_install/a/installed").read_text()

    def test_stands_in_front_of_the_scheduled_one(self, overridden: Host) -> None:
        before = overridden.identity()
        overridden.schedule(A, overridden.pod("a", "2"))
        plan = install_plan.plan_scheduled(overridden.layout, overridden.store, node="node1")
        assert (plan.actions, plan.errors, plan.overridden) == ([], {}, [A])
        assert overridden.reconcile() == ([], {})
        assert overridden.identity() == before

    def test_stays_when_the_scheduled_one_goes(self, overridden: Host) -> None:
        overridden.schedule(typed("b"), overridden.pod("b", "1"))
        overridden.schedule(A, None)
        assert overridden.reconcile() == (["install before_install/b"], {})
        assert overridden.runs() == {"a_main_launch": "a local", "b_main_launch": "b 1"}

    def test_with_the_scheduled_manifest_is_local_all_the_same(self, host: Host) -> None:
        pod = host.pod("a", "1")
        host.schedule(A, pod)
        host.reconcile()
        assert host.present(A, pod) == (["upgrade before_install/a"], {})
        host.schedule(A, host.pod("a", "2"))
        host.reconcile()
        assert host.runs() == {"a_main_launch": "a 1"}

    def test_gives_way_when_it_is_handed_back(self, overridden: Host) -> None:
        overridden.schedule(A, overridden.pod("a", "2"))
        assert overridden.hand_back(A) == (["hand_back before_install/a"], {})
        assert overridden.runs() == {"a_main_launch": "a 2"}
        assert overridden.hand_back(A) == ([], {})
        assert overridden.reconcile() == ([], {})

    def test_is_removed_when_it_is_handed_back_and_none_is_scheduled(self, overridden: Host) -> None:
        overridden.schedule(A, None)
        overridden.schedule(typed("b"), overridden.pod("b", "1"))
        assert overridden.hand_back(A) == (["remove before_install/a"], {})
        assert overridden.runs() == {}
        assert not (overridden.pods / "before_install/a").exists()

    def test_is_not_handed_back_to_a_store_that_schedules_nothing_at_all(self, overridden: Host) -> None:
        overridden.schedule(A, None)
        with pytest.raises(StoreError, match=r"so before_install/a would be removed. It was not"):
            overridden.hand_back(A)
        assert overridden.runs() == {"a_main_launch": "a local"}
        assert overridden.hand_back(A, allow_empty=True) == (["remove before_install/a"], {})

    def test_is_not_handed_back_to_a_manifest_that_is_no_good(self, overridden: Host) -> None:
        overridden.put(A.store_key, b"id: [")
        with pytest.raises(ManifestError, match="hooks/before_install/a: is no YAML"):
            overridden.hand_back(A)
        assert overridden.runs() == {"a_main_launch": "a local"}

    def test_is_removed_on_request_and_the_scheduled_one_comes_back(self, overridden: Host) -> None:
        assert overridden.absent(A) == (["remove before_install/a"], {})
        assert overridden.absent(A) == ([], {})
        assert overridden.reconcile() == (["install before_install/a"], {})
        assert overridden.runs() == {"a_main_launch": "a 1"}

    def test_from_the_store_is_not_removed_on_request(self, host: Host) -> None:
        host.schedule(A, host.pod("a", "1"))
        host.reconcile()
        with pytest.raises(LayoutError, match=r"before_install/a: came from the store.*take it out of the schedule"):
            host.absent(A)
        assert host.runs() == {"a_main_launch": "a 1"}

    def test_must_have_the_id_of_its_manifest(self, host: Host) -> None:
        with pytest.raises(ManifestError, match=r"before_install/a: the manifest has the id b"):
            host.present(A, host.pod("b", "1"))


class TestRepair:
    @pytest.fixture
    def home(self, host: Host) -> Path:
        host.schedule(A, host.pod("a", "1"))
        host.reconcile()
        host.schedule(A, host.pod("a", "2", {"bin/launch/x": script("x"), "bin/launch/y": script("y")}))
        host.reconcile()
        return host.pods / "before_install/a"

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda home: (home / "env/POD_ID").write_text("tampered"), id="an env file has another value"),
            pytest.param(lambda home: (home / "main/env/LAUNCHABLE_ID").unlink(), id="an env file is gone"),
            pytest.param(lambda home: (home / "main/env/MORE").write_text("x"), id="there is one env file more"),
            pytest.param(lambda home: shutil.rmtree(home / "env"), id="the env directory is gone"),
            pytest.param(lambda home: shutil.rmtree(home / "config"), id="the config directory is gone"),
            pytest.param(lambda home: (home / "current_manifest.yaml").unlink(), id="the manifest is gone"),
            pytest.param(lambda home: (home / "main/current").unlink(), id="current is gone"),
            pytest.param(
                lambda home: disk.write_link(str(home / "main/current"), "installs/main_0"), id="current dangles"
            ),
            pytest.param(
                lambda home: disk.write_link(str(home / "main/current"), "installs/main_1"), id="current is the old one"
            ),
            pytest.param(lambda home: shutil.rmtree(home / "main/installs/main_2"), id="the install is gone"),
            pytest.param(lambda home: shutil.rmtree(home / "main/installs/main_2/bin"), id="the install is empty"),
            pytest.param(
                lambda home: (home / "main/installs/main_2/.artifact-sha256").unlink(), id="the install is not marked"
            ),
            pytest.param(
                lambda home: (home / "main/installs/main_2/bin/launch/y").chmod(0o644), id="a script cannot be executed"
            ),
            pytest.param(lambda home: (home / "main/installs/main_0").mkdir(), id="there is one install more"),
            pytest.param(lambda home: (home / ".tmp-installed-1").write_text(""), id="debris at home"),
            pytest.param(lambda home: (home / "main/.tmp-current-1").symlink_to("x"), id="debris of current"),
            pytest.param(lambda home: (home / "main/installs/.tmp-main_3").mkdir(), id="debris of an artifact"),
        ],
    )
    def test_of_the_pod_home(self, host: Host, home: Path, damage: Callable[[Path], object]) -> None:
        before = host.tree()
        damage(home)
        assert host.reconcile() == (["repair before_install/a"], {})
        after = host.tree()
        for tree in (before, after):  # which version was the last one may be lost
            for path in [path for path in tree if path.endswith("main/last") or "/installs/main_1" in path]:
                del tree[path]
        assert after == before
        assert host.runs() == {"a_main_x": "x", "a_main_y": "y"}
        assert host.reconcile() == ([], {})

    @pytest.mark.parametrize("damage", ["gone", "elsewhere", "one more", "debris"])
    def test_of_the_links(self, host: Host, home: Path, damage: str) -> None:
        before = host.tree()
        link = host.exec / "before_install/a_main_x"
        if damage == "gone":
            link.unlink()
        elif damage == "elsewhere":
            disk.write_link(str(link), "../../pods/before_install/a/main/current/bin/launch/y")
        elif damage == "one more":
            link.with_name("another").symlink_to(os.readlink(link))
        else:
            link.with_name(".tmp-a_main_x-1").symlink_to(os.readlink(link))
        assert host.reconcile() == (["repair before_install/a"], {})
        assert host.tree() == before

    def test_of_a_pod_home_that_is_gone_is_an_install(self, host: Host, home: Path) -> None:
        shutil.rmtree(home)
        assert host.runs() == {"a_main_x": "dangling", "a_main_y": "dangling"}
        assert host.reconcile() == (["install before_install/a"], {})
        assert host.runs() == {"a_main_x": "x", "a_main_y": "y"}

    def test_of_a_root_that_was_moved(self, host: Host, home: Path, tmp_path: Path) -> None:
        host.root.rename(tmp_path / "moved")
        host.layout = Layout(str(tmp_path / "moved"))
        assert host.reconcile() == (["repair before_install/a"], {})
        assert (tmp_path / "moved/pods/before_install/a/env/POD_HOME").read_text().startswith(f"{tmp_path}/moved/")

    @pytest.mark.parametrize(
        "place",
        [
            "pods/before_install/a/.tmp-installed",
            "pods/before_install/a/config/.tmp-x",
            "pods/before_install/a/env/.tmp-CONFIG_PATH",
            "pods/before_install/a/main/.tmp-current",
            "pods/before_install/a/main/env/.tmp-LAUNCHABLE_ID",
            "pods/before_install/a/main/installs/.tmp-main_1",
        ],
    )
    def test_is_not_hindered_by_debris(self, host: Host, home: Path, place: str) -> None:
        shutil.rmtree(home / "env")
        shutil.rmtree(home / "main/env")
        (home / "env").mkdir()
        (home / "main/env").mkdir()
        (host.exec / "before_install/a_main_x").unlink()
        (host.root / f"{place}-0a1b2c3d").write_text("left by a crash")
        (host.exec / "before_install/.tmp-a_main_launch-0a1b2c3d").symlink_to("left/by/a/crash")
        host.schedule(A, host.pod("a", "3"))
        assert host.reconcile() == (["upgrade before_install/a"], {})
        assert host.runs() == {"a_main_launch": "a 3"}
        assert host.debris() == []

    def test_of_what_an_interrupted_removal_left(self, host: Host, home: Path) -> None:
        shutil.copytree(home, home.with_name(".tmp-b-1"), symlinks=True)
        shutil.copytree(home, host.pods / ".tmp-c-1", symlinks=True)
        host.reconcile()
        assert host.debris() == []


def test_scripts_that_people_put_there_are_never_touched(host: Host) -> None:
    directory = host.exec / "before_install"
    directory.mkdir(parents=True)
    by_hand = directory / "50-by-hand"
    by_hand.write_text(script("by hand"))
    by_hand.chmod(0o755)
    (directory / "elsewhere").symlink_to("/bin/true")
    before = (by_hand.lstat(), (directory / "elsewhere").lstat())
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    host.schedule(A, None)
    host.reconcile(allow_empty=True)
    assert sorted(os.listdir(directory)) == ["50-by-hand", "elsewhere"]
    for path, status in zip((by_hand, directory / "elsewhere"), before):
        assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def test_directories_that_are_no_pod_homes_of_ours_are_left_alone(host: Host) -> None:
    foreign = host.pods / "before_install/foreign"
    (foreign / "main/installs").mkdir(parents=True)
    (host.pods / "-strange name-").mkdir()
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    host.schedule(A, None)
    host.reconcile(allow_empty=True)
    assert foreign.is_dir()


def _install_in_a_process(path: str, barrier: threading.Barrier) -> None:
    host = Host(Path(path))
    barrier.wait()
    done, errors = host.reconcile()
    os._exit(len(errors) * 10 + len(done))


def test_installations_at_the_same_time_wait_for_each_other(host: Host, tmp_path: Path) -> None:
    for name in "abc":
        host.schedule(typed(name), host.pod(name, "1"))
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=_install_in_a_process, args=(str(tmp_path), barrier)) for dummy in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(process.exitcode or 0 for process in processes) == [0, 0, 0, 3]
    assert host.runs() == {f"{name}_main_launch": f"{name} 1" for name in "abc"}
    assert host.debris() == []


def test_parsing_what_was_kept_gives_the_manifest_again(host: Host) -> None:
    pod = host.pod("a", "1", config={"multi": "line\nvalue", "yes": "no"})
    host.schedule(A, pod)
    host.reconcile()
    assert parse((host.pods / "before_install/a/current_manifest.yaml").read_bytes(), "kept").sha == pod.sha
