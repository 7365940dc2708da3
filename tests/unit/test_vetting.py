# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import stat
import struct
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from p2hooks.errors import HookRefused
from p2hooks.event_hooks import Hook
from p2hooks.install_record import InstallRecord
from p2hooks.layout import Layout
from p2hooks.vetting import vet
from support_run import EVENT, Host, write_script

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: changes owners, or is another user")

WRITABLE = "is writable by group or others; chmod go-w it"
NOWHERE = "the link points nowhere; install the hook again, or remove the link"

#: What lies on the way to the installed hook ``a``, by its path below the temporary directory.
DIRECTORIES = [
    "",
    "hooks",
    "hooks/exec",
    "hooks/exec/before_install",
    "hooks/pods",
    "hooks/pods/before_install",
    "hooks/pods/before_install/a",
    "hooks/pods/before_install/a/main",
    "hooks/pods/before_install/a/main/installs",
    "hooks/pods/before_install/a/main/installs/main_1f",
    "hooks/pods/before_install/a/main/installs/main_1f/bin",
]
LINKS = ["hooks/exec/before_install/a_main_launch", "hooks/pods/before_install/a/main/current"]
FILE = "hooks/pods/before_install/a/main/installs/main_1f/bin/launch"
ENV_DIRECTORIES = ["hooks/pods/before_install/a/env", "hooks/pods/before_install/a/main/env"]
ENV_FILE = "hooks/pods/before_install/a/main/env/LD_PRELOAD"
RECORD = "hooks/pods/before_install/a/installed"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.hook("a", "echo $0", launchable_env={"LD_PRELOAD": ""})
    return host


@pytest.fixture
def exec_dir(host: Host) -> Path:
    return Path(host.layout.exec_dir(EVENT))


def obstacle(host: Host, name: str = "a_main_launch") -> str | None:
    """Return why a hook would not run; a path in it is told from the temporary directory on."""
    reason = Hook(host.layout, host.layout.exec_dir(EVENT), name).obstacle()
    assert reason is None or reason.isprintable()
    return reason and reason.replace(f"{host.path}/", "").replace(str(host.path), "")


# What may run


def test_an_installed_hook_is_executed_by_the_path_behind_all_links(host: Host) -> None:
    assert obstacle(host) is None
    assert vet(host.layout, f"{host.layout.exec}/{EVENT}/a_main_launch") == str(host.path / FILE)
    assert host.run_one()["output"] == f"{host.path / FILE}\n"


def test_a_script_that_people_put_there_may_run(host: Host) -> None:
    script = host.script("by_hand", "")
    assert vet(host.layout, str(script)) == str(script)


@pytest.mark.parametrize("target", ["../after_install/shared", "./../../exec//after_install/shared"])
def test_a_link_to_a_script_of_another_event_may_run(host: Host, exec_dir: Path, target: str) -> None:
    shared = host.script("shared", "", event="after_install")
    (exec_dir / "b").symlink_to(target)
    assert vet(host.layout, str(exec_dir / "b")) == str(shared)


def test_an_absolute_link_into_the_root_may_run(host: Host, exec_dir: Path) -> None:
    (exec_dir / "b").symlink_to(host.path / "hooks/pods/before_install/a/main/current/bin/launch")
    assert vet(host.layout, str(exec_dir / "b")) == str(host.path / FILE)


def test_the_root_itself_may_be_reached_through_links(host: Host, exec_dir: Path) -> None:
    (host.path / "relative").symlink_to("hooks")
    (host.path / "absolute").symlink_to(host.path / "relative")
    layout = Layout(str(host.path / "absolute"))
    for name, root in (("old", "hooks"), ("new", "absolute")):
        (exec_dir / name).symlink_to(host.path / root / "pods/before_install/a/main/current/bin/launch")
    for name in ("a_main_launch", "old", "new"):
        assert vet(layout, f"{layout.exec_dir(EVENT)}/{name}") == str(host.path / FILE)
    with pytest.raises(HookRefused, match="removed since the hooks were listed"):
        vet(layout, f"{layout.exec_dir(EVENT)}/gone")


def test_a_sticky_directory_may_be_writable_by_all_where_it_holds_a_directory_of_ours(host: Host) -> None:
    for name in ("", "hooks", "hooks/pods/before_install"):
        (host.path / name).chmod(0o1777)
    assert obstacle(host) is None


def test_setgid_and_narrow_modes_are_safe(host: Host) -> None:
    (host.path / "hooks/pods").chmod(0o2755)
    (host.path / "hooks").chmod(0o700)
    (host.path / FILE).chmod(0o700)
    assert obstacle(host) is None


# What others could change


@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("name", [*DIRECTORIES, *ENV_DIRECTORIES, FILE, ENV_FILE, RECORD])
def test_what_others_may_write_to_is_refused(host: Host, name: str, mode: int) -> None:
    (host.path / name).chmod(mode)
    assert obstacle(host) == f"{name} {WRITABLE}"


@needs_root
@pytest.mark.parametrize("name", [*DIRECTORIES, *ENV_DIRECTORIES, FILE, ENV_FILE, RECORD])
def test_what_belongs_to_another_user_is_refused(host: Host, name: str) -> None:
    os.chown(host.path / name, 1000, 0)
    assert obstacle(host) == f"{name} belongs to user 1000; chown it to root"


@needs_root
@pytest.mark.parametrize("name", LINKS)
def test_a_link_of_another_user_is_refused(host: Host, name: str) -> None:
    os.lchown(host.path / name, 1000, 0)
    assert obstacle(host) == f"{name} belongs to user 1000; chown -h it to root"


@needs_root
def test_what_belongs_to_another_user_in_a_sticky_directory_is_refused(host: Host) -> None:
    host.path.chmod(0o1777)
    os.chown(host.path / "hooks", 1000, 0)
    assert obstacle(host) == "hooks belongs to user 1000; chown it to root"


@needs_root
def test_a_sticky_directory_of_another_user_is_refused(host: Host) -> None:
    (host.path / "hooks").chmod(0o1777)
    os.chown(host.path / "hooks", 1000, 0)
    assert obstacle(host) == "hooks belongs to user 1000; chown it to root"


@pytest.mark.parametrize("mode", [0o1777, 0o1770])
@pytest.mark.parametrize("name", [*LINKS, FILE])
def test_a_file_or_a_link_in_a_sticky_directory_may_have_been_moved_there(host: Host, name: str, mode: int) -> None:
    directory = os.path.dirname(name)
    (host.path / directory).chmod(mode)
    assert obstacle(host) == f"{directory} {WRITABLE}"


@pytest.mark.parametrize("name", [ENV_FILE, RECORD])
def test_variables_in_a_sticky_directory_may_have_been_moved_there(host: Host, name: str) -> None:
    directory = os.path.dirname(name)
    (host.path / directory).chmod(0o1777)
    assert obstacle(host) == f"{directory} {WRITABLE}"


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_variables_in_the_record_need_no_directory(host: Host, mode: int) -> None:
    record = InstallRecord(
        "store", "5b0c", {"main": "1f"}, env={"A": "1", "B": "1"}, launchable_env={"main": {"B": "2"}}
    )
    (host.path / RECORD).write_bytes(record.encode())
    (host.path / ENV_FILE).chmod(mode)
    hook = Hook(host.layout, host.layout.exec_dir(EVENT), "a_main_launch")
    assert hook.obstacle() is None
    assert hook.variables == {"A": "1", "B": "2"}


def test_a_right_to_write_in_an_access_control_list_shows(host: Host) -> None:
    # As of acl(5) in its stored form: owner rwx, user 1000 rwx, group r-x, mask rwx, others r-x.
    entries = [(0x01, 7, -1), (0x02, 7, 1000), (0x04, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(host.path / FILE, "system.posix_acl_access", acl)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip("the file system has no access control lists")
        raise
    assert obstacle(host) == f"{FILE} {WRITABLE}"


def test_a_link_among_the_variables_is_refused(host: Host) -> None:
    (host.path / ENV_FILE).unlink()
    (host.path / ENV_FILE).symlink_to("LANG")
    assert obstacle(host) == f"{ENV_FILE}: a link, where only a file is safe; install the hook again"


def test_variables_from_outside_the_root_are_refused(host: Host) -> None:
    directory = host.path / ENV_DIRECTORIES[0]
    directory.rmdir()
    directory.symlink_to(host.path)
    assert obstacle(host) == f"{ENV_DIRECTORIES[0]} leads out of hooks; put the file itself there, or remove the link"


# Links that lead astray


@pytest.mark.parametrize(
    "target",
    [
        "/bin/sh",
        "/proc/self/exe",
        "/",
        "../../../outside",
        "../../../hooks/pods/before_install/a/main/current/bin/launch",
        "../../../../../../../../../../../../bin/sh",
        "{path}/outside",
        "{path}/hooks-evil/launch",
        "{path}/hooks/../outside",
        "{path}/back",
    ],
)
def test_a_link_may_not_leave_the_root_not_even_to_come_back(host: Host, exec_dir: Path, target: str) -> None:
    write_script(host.path / "outside", "")
    (host.path / "hooks-evil").mkdir()
    write_script(host.path / "hooks-evil/launch", "")
    (host.path / "back").symlink_to(host.path / FILE)
    (exec_dir / "b").symlink_to(target.format(path=host.path))
    assert obstacle(host, "b") == (
        "hooks/exec/before_install/b leads out of hooks; put the file itself there, or remove the link"
    )


def test_no_link_of_a_chain_may_leave_the_root(host: Host) -> None:
    shutil.copytree(host.path / "hooks/pods/before_install/a/main/installs/main_1f", host.path / "main_1f")
    current = host.path / "hooks/pods/before_install/a/main/current"
    current.unlink()
    current.symlink_to(host.path / "main_1f")
    assert obstacle(host) == (
        "hooks/pods/before_install/a/main/current leads out of hooks; put the file itself there, or remove the link"
    )


@pytest.mark.parametrize("name", ["pods-evil", "exec.old", "store"])
def test_a_link_may_lead_to_nothing_but_pods_and_scripts(host: Host, exec_dir: Path, name: str) -> None:
    (host.path / "hooks" / name).mkdir()
    write_script(host.path / "hooks" / name / "launch", "")
    (exec_dir / "b").symlink_to(f"../../{name}/launch")
    assert obstacle(host, "b") == (
        f"hooks/exec/before_install/b leads to hooks/{name}/launch, which is neither in pods/ nor in exec/; "
        "put the file itself there"
    )


def test_pods_may_not_be_a_link_to_elsewhere_in_the_root(host: Host) -> None:
    (host.path / "hooks/pods").rename(host.path / "hooks/pods-evil")
    (host.path / "hooks/pods").symlink_to("pods-evil")
    reason = obstacle(host)
    assert reason is not None
    assert "neither in pods/ nor in exec/" in reason


@pytest.mark.parametrize("target", ["nothing", "../../pods/before_install/gone/main/current/bin/launch"])
def test_a_link_to_nowhere_is_refused(host: Host, exec_dir: Path, target: str) -> None:
    (exec_dir / "b").symlink_to(target)
    assert obstacle(host, "b") == NOWHERE


def test_a_loop_of_links_is_refused(host: Host, exec_dir: Path) -> None:
    (exec_dir / "b").symlink_to("c")
    (exec_dir / "c").symlink_to("b")
    reason = obstacle(host, "b")
    assert reason is not None
    assert reason.endswith(": too many links one after the other; remove it")


def test_a_link_through_a_file_is_refused(host: Host, exec_dir: Path) -> None:
    file = host.script("file", "")
    (exec_dir / "b").symlink_to("file/launch")
    assert obstacle(host, "b") == (
        f"{file.relative_to(host.path)} is no directory; install the hook again, or remove the link"
    )


def test_a_hook_that_was_removed_meanwhile_is_refused(host: Host) -> None:
    assert obstacle(host, "gone") == "it has been removed since the hooks were listed"


# What is no executable file


def test_a_directory_is_refused(host: Host, exec_dir: Path) -> None:
    (exec_dir / "b").mkdir()
    (exec_dir / "c").symlink_to("../../pods")
    assert obstacle(host, "b") == "hooks/exec/before_install/b is no regular file; remove it"
    assert obstacle(host, "c") is not None


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{directory}/{path.name}")  # the path itself may be too long
        finally:
            os.close(directory)
    path.chmod(0o755)


def make_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o755, os.makedev(1, 3))


@pytest.mark.parametrize(
    "make",
    [lambda path: os.mkfifo(path, 0o755), make_socket, pytest.param(make_device, marks=needs_root)],
    ids=["fifo", "socket", "device"],
)
def test_what_is_no_regular_file_is_refused(host: Host, exec_dir: Path, make: Callable[[Path], None]) -> None:
    try:
        make(exec_dir / "b")
    except PermissionError:
        pytest.skip("this container may not make devices")
    assert obstacle(host, "b") == "hooks/exec/before_install/b is no regular file; remove it"


def test_an_empty_file_is_refused(host: Host) -> None:
    (host.path / FILE).write_text("")
    assert obstacle(host) == f"{FILE} is empty; write a script into it, or remove it"


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755])
def test_a_set_id_file_is_refused(host: Host, mode: int) -> None:
    (host.path / FILE).chmod(mode)
    assert obstacle(host) == f"{FILE} is set-uid or set-gid; chmod ug-s it"


def test_a_file_that_is_not_executable_is_refused(host: Host) -> None:
    (host.path / FILE).chmod(0o644)
    assert obstacle(host) == "not executable; chmod +x it"


def test_a_name_that_would_break_the_line_is_quoted(host: Host) -> None:
    host.script("a\nb", "", mode=0o777)
    reason = obstacle(host, "a\nb")
    assert reason is not None
    assert reason.endswith(f"a\\nb' {WRITABLE}")


# When it is looked


def test_what_is_executed_is_what_was_checked(host: Host) -> None:
    installs = host.path / "hooks/pods/before_install/a/main/installs"
    hook = Hook(host.layout, host.layout.exec_dir(EVENT), "a_main_launch")
    assert hook.obstacle() is None
    (installs / "main_2e/bin").mkdir(parents=True)
    write_script(installs / "main_2e/bin/launch", "", mode=0o777)
    (installs / "../current").unlink()
    (installs / "../current").symlink_to("installs/main_2e")
    assert hook.executable == f"{installs}/main_1f/bin/launch"


def test_each_hook_is_looked_at_when_its_turn_has_come(host: Host) -> None:
    b, c = host.script("b", f"chmod o+w {host.path}/hooks/exec/{EVENT}/c"), host.script("c", "")
    host.script("d", f"chmod o+w {b.parent}")
    host.script("e", "")
    assert [(record["hook"], record["outcome"], record["reason"]) for record in host.run().hooks] == [
        ("a_main_launch", "succeeded", None),
        ("b", "succeeded", None),
        ("c", "skipped", f"{c} {WRITABLE}"),
        ("d", "succeeded", None),
        ("e", "skipped", f"{b.parent} {WRITABLE}"),
    ]
    assert host.records()[2]["reason"] == f"{c} {WRITABLE}"


def test_a_required_hook_that_is_unsafe_counts(host: Host) -> None:
    (host.path / FILE).chmod(0o777)
    assert host.run(required=["a"]).required_failures == [
        f"required hook 'a_main_launch' was skipped: {host.path / FILE} {WRITABLE}"
    ]


# Other users, and other file systems


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that belongs to a user who is not root."""
    path = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def in_a_child(action: Callable[[], object], user: int | None = None) -> str:
    """Call ``action`` in a child process, as ``user``; return what it returns, as text."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            text = str(action())
        finally:
            os.write(write_end, (text or traceback.format_exc()).encode())
            os._exit(0)
    os.close(write_end)
    with open(read_end) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def as_nobody(action: Callable[[], object]) -> str:
    return in_a_child(action, user=NOBODY if os.geteuid() == 0 else None)


def test_a_user_runs_hooks_of_his_own(home: Path) -> None:
    def action() -> str:
        host = Host(home)
        host.hook("a", "echo hello")
        host.script("b", "", mode=0o775)
        return str([record["output"] or record["reason"] for record in host.run().hooks])

    assert as_nobody(action) == str(["hello\n", f"{home}/hooks/exec/{EVENT}/b {WRITABLE}"])


@needs_root
def test_a_user_runs_hooks_of_root(home: Path) -> None:
    home.chmod(0o755)
    host = Host(home)
    script = host.script("a", "")
    script.chmod(0o750)
    host.script("b", "")
    os.chown(script.parent, 1000, 0)
    assert as_nobody(lambda: obstacle(host, "b")) == (
        f"hooks/exec/{EVENT} belongs to user 1000; chown it to user {NOBODY}"
    )
    os.chown(script.parent, 0, 0)
    assert as_nobody(lambda: [obstacle(host, name) for name in "ab"]) == str(["not executable; chmod +x it", None])
    script.parent.chmod(0o700)
    assert as_nobody(lambda: obstacle(host, "b")) == f"hooks/exec/{EVENT}/b: Permission denied"


@needs_root
def test_a_user_who_may_not_read_what_root_has_installed_is_told_so(home: Path) -> None:
    home.chmod(0o755)
    host = Host(home)
    pod_home = host.hook("a", "", env={"A": "1"})
    for path in (pod_home / "installed", pod_home / "env" / "A"):  # as installing leaves them
        path.chmod(0o600)
    assert as_nobody(lambda: obstacle(host)) == (f"hooks/pods/{EVENT}/a/installed: Permission denied; are you root?")


@needs_root
def test_root_does_not_run_hooks_of_a_user(home: Path) -> None:
    host = Host(home)
    host.script("a", "")
    with pytest.raises(HookRefused, match=f"^{home} belongs to user {NOBODY}; chown it to root$"):
        vet(host.layout, f"{host.layout.exec_dir(EVENT)}/a")


@needs_root
def test_a_file_system_without_execution_is_named(host: Host) -> None:
    new_namespace, private, noexec = 0x00020000, (1 << 14) | (1 << 18), 1 << 3
    libc = ctypes.CDLL(None, use_errno=True)

    def action() -> str | None:
        root = os.fsencode(host.path / "hooks")
        if (
            libc.unshare(new_namespace)
            or libc.mount(None, b"/", None, private, None)
            or libc.mount(b"none", root, b"tmpfs", noexec, b"mode=755")
        ):
            return os.strerror(ctypes.get_errno())
        host.script("b", "")
        return obstacle(host, "b")

    answer = in_a_child(action)
    if answer == os.strerror(errno.EPERM):
        pytest.skip("this container may not mount")
    assert answer == (f"hooks/exec/{EVENT}/b is on a file system mounted noexec; remount that with exec")
