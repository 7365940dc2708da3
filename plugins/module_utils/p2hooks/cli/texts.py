# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``--help`` says before and after the options, of the command itself and of each sub-command."""

from __future__ import annotations

from typing import NamedTuple

#: Of the command itself.
TOP = """\
Hooks: code of yours that runs at defined moments of every deploy, on every host.

A hook is built from an executable (bin2pod), scheduled in a store (schedule),
installed on each host (install), and run when its event comes (run).
"""
TOP_END = """\
example:
  MANIFEST=$(p2-hook bin2pod ensure_user | jq -r .manifest_path)
  p2-hook schedule --event before_install $MANIFEST
  p2-hook install
  p2-hook run before_install hello

exit codes:
  0    done
  1    an error; standard error says which, in one line
  2    wrong usage
  3    run: a required hook did not succeed
  4    install: what is scheduled could not be installed completely; the rest was
  130  interrupted

Each command has its own --help. With --json, standard output is one JSON
document; where there is an error, also in its key "error".
"""


class Text(NamedTuple):
    """The help of a sub-command."""

    #: One line about it, for the help of the command itself.
    summary: str
    #: How to call it.
    usage: str
    description: str
    #: Examples, and what else belongs to the end.
    end: str


#: Of each sub-command, in the order in which they are shown.
COMMANDS = {
    "bin2pod": Text(
        "make a hook of an executable",
        "EXECUTABLE [OPTION...]",
        """\
Make a hook of an executable: an artifact (.tar.gz) and a pod manifest.

The same input gives the same bytes, so nothing changes when it is run again.
The answer is always JSON, with tar_path, manifest_path, final_location, sha256,
changed, and the manifest.
""",
        """\
examples:
  p2-hook bin2pod ensure_user
  p2-hook bin2pod ensure_user --work-dir /srv/hooks \\
      --location 'https://artifacts.example.com/hooks/{}' --env SHELL=/bin/bash
""",
    ),
    "schedule": Text(
        "put hooks into the store",
        "MANIFEST... (--event EVENT | --global) [OPTION...]",
        """\
Put the manifests of hooks into the store, so that every host installs them.

Nothing is written over a change that somebody else made at the same time.
""",
        """\
examples:
  p2-hook schedule --event before_install ensure_user.yaml
  p2-hook schedule --global --upload --store consul *.yaml
  p2-hook schedule --event before_install ensure_user.yaml --check --diff
""",
    ),
    "unschedule": Text(
        "take hooks out of the store",
        "HOOK... (--event EVENT | --global) [OPTION...]",
        """\
Take hooks out of the store, so that every host removes them.
""",
        """\
example:
  p2-hook unschedule --event before_install ensure_user
""",
    ),
    "list": Text(
        "show what is installed, scheduled, or would run",
        "[--scheduled | --pod POD_ID] [--event EVENT] [OPTION...]",
        """\
Show hooks. Without options, those that are installed on this host. Scripts that
people put into exec/ themselves have no version; --pod shows them as well.
""",
        """\
examples:
  p2-hook list
  p2-hook list --scheduled                 what the store schedules, and how this host differs
  p2-hook list --pod hello --event before_install
                                           what would run for a pod, what would not, and why
""",
    ),
    "info": Text(
        "show where hosts differ from what the store wants",
        "[--here] [--event EVENT] [--id ID] [--nodes NAME,...] [OPTION...]",
        """\
Show what is scheduled and in rollout, on how many hosts it is as it should be,
and on which ones it is not: from what their listeners have reported, or, with
--here, from the disk of this host.
""",
        """\
examples:
  p2-hook info
  p2-hook info --event before_install --id ensure_user --limit 0
  p2-hook info --nodes web1.example.com,web2.example.com
  p2-hook info --here

states:
  installed   as it should be
  local       a local hook that the store does not schedule
  unknown     the record in the store cannot be read
  failed      it could not be installed
  missing     it is not there
  outdated    another manifest is installed than this host should have
  changed     its files or links were changed; only --here can see that
  extra       it came from the store, which no longer schedules it
  overridden  a local hook stands in front of it
""",
    ),
    "install": Text(
        "make this host have its hooks",
        "[HOOK (--local | --absent | --hand-back)] [--event EVENT | --global] [OPTION...]",
        """\
Make this host have the hooks that the store schedules; or install, remove or
hand back one hook on this host only.

A hook that was installed with --local stands in front of the scheduled one
until it is removed (--absent) or handed back (--hand-back). Where a rollout
includes this host (--node), its manifest takes the place of the scheduled one.
""",
        """\
examples:
  p2-hook install
  p2-hook install --event before_install --check --diff
  p2-hook install ensure_user.yaml --event before_install --local
  p2-hook install ensure_user --event before_install --hand-back

exit codes:
  4    some scheduled hooks could not be installed; all others are
""",
    ),
    "listen": Text(
        "install as soon as the store changes",
        "[OPTION...]",
        """\
Install what the store schedules as soon as it changes, and report it to the
store (hooks-status/NODE), until SIGTERM. Meant to be a service of systemd, of
the type notify. SIGHUP makes it read its options again and compare everything.
""",
        """\
example:
  p2-hook listen --store consul --consul-token-file /etc/p2-hook.token
""",
    ),
    "run": Text(
        "run the hooks of an event",
        "EVENT POD_ID [OPTION...]",
        """\
Run the hooks of an event for a pod, one after the other, and record each.

Whatever a hook does, the others run. It is told to end (SIGTERM) after
--term-after seconds, and the run goes on; it is killed after --kill-after.
""",
        """\
examples:
  p2-hook run before_install hello
  p2-hook run before_install hello --required ensure_user --term-after 10 --kill-after 20
  p2-hook run before_install hello --check

exit codes:
  0    done, whatever became of hooks that are not required
  3    a required hook failed, timed out, could not be executed, or is missing
""",
    ),
    "rollout": Text(
        "bring a new version to a few hosts first",
        "STEP ...",
        """\
Bring a new version of a hook to some hosts first, wait whether it does well
there, and then to all of them. When it fails on more hosts or in more runs than
it may, the rollout is aborted, and the hosts return to the version before.

Each step has its own --help.
""",
        """\
examples:
  p2-hook rollout start ensure_user.yaml --event before_install --percent 5
  p2-hook rollout widen ensure_user --event before_install --percent 50
  p2-hook rollout promote ensure_user --event before_install
  p2-hook rollout rollback ensure_user --event before_install
  p2-hook rollout show
""",
    ),
    "audit": Text(
        "show what ran",
        "[OPTION...]",
        """\
Show what ran on this host, the newest first.

A hook that timed out has two records: the second one, terminated or killed, is
written when it is gone. What is running now has the outcome started. MEDIAN and
LONGEST of --summary are the seconds until the end, or until a hook timed out.
""",
        """\
examples:
  p2-hook audit --since 2h --outcome failed
  p2-hook audit --pod hello --event before_install --limit 0 --json
  p2-hook audit --since 1d --summary
""",
    ),
    "audit-prune": Text(
        "forget what ran long ago",
        "[OPTION...]",
        """\
Remove what is older than three days from the audit log or its database, or both:
from those that are named, or, where none is, from those of the configuration.

A log is rotated when it begins with a record that is a day old, and goes as a
whole. Where logrotate rotates it, add --no-rotate. Runs may go on.
""",
        """\
examples:
  p2-hook audit-prune
  p2-hook audit-prune --audit-database /var/lib/p2-hook/audit.sqlite --vacuum
  p2-hook audit-prune --older-than 30d --check
""",
    ),
    "audit-import": Text(
        "take over what p2 itself recorded",
        "P2_DATABASE [OPTION...]",
        """\
Add what p2 itself recorded, in the table hook_results of its SQLite database, to
the audit log or its database, or both: to those that are named, or, where none
is, to those of the configuration.

What has been imported before is left out, so it can be run again.
""",
        """\
examples:
  p2-hook audit-import /data/p2/hooks.db --check
  p2-hook audit-import /data/p2/hooks.db --node web1.example.com \\
      --audit-log /var/log/p2-hook/audit.jsonl --audit-database /var/lib/p2-hook/audit.sqlite
""",
    ),
    "compile": Text(
        "make this command start quickly",
        "[--check]",
        """\
Write the byte code of this command, so that it starts quickly: once, as the
user that owns its files, after they were installed or changed, or the host has
got another Python.
""",
        """\
examples:
  sudo p2-hook compile
  p2-hook compile --check
""",
    ),
}

_HOOK = "HOOK (--event EVENT | --global) [OPTION...]"

#: Of each step of ``rollout``.
ROLLOUT_STEPS = {
    "start": Text(
        "have some hosts take a new version",
        "MANIFEST (--event EVENT | --global) [OPTION...]",
        """\
Have some hosts take a new version of a hook, and wait until it did well there.
Without --nodes and --percent, the one host that comes first takes it.

Who runs the same again changes nothing, and goes on waiting.
""",
        """\
examples:
  p2-hook rollout start ensure_user.yaml --event before_install --upload
  p2-hook rollout start ensure_user.yaml --event before_install \\
      --nodes web1,web2 --percent 5 --upload --watch-for 300
""",
    ),
    "widen": Text(
        "have more hosts take it",
        _HOOK,
        """\
Have more hosts take part, and wait until it did well there. None is left out.
""",
        """\
example:
  p2-hook rollout widen ensure_user --event before_install --percent 50
""",
    ),
    "promote": Text(
        "have all hosts take it",
        _HOOK,
        """\
Schedule for all hosts what is rolled out, and wait until they have it. The
version before is kept.
""",
        """\
example:
  p2-hook rollout promote ensure_user --event before_install
""",
    ),
    "abort": Text(
        "return to what is scheduled",
        _HOOK,
        """\
End the rollout. The hosts that took part return to what is scheduled.
""",
        """\
example:
  p2-hook rollout abort ensure_user --event before_install
""",
    ),
    "rollback": Text(
        "schedule the version before",
        _HOOK,
        """\
Schedule for all hosts what was scheduled before, and wait until they have it.
A second time returns, unless --manifest-sha says which one is to go.
""",
        """\
example:
  p2-hook rollout rollback ensure_user --event before_install --check --diff
""",
    ),
    "show": Text(
        "show all rollouts, and how they are doing",
        "[OPTION...]",
        """\
Show all rollouts that are under way, and how they are doing.
""",
        """\
example:
  p2-hook rollout show --json
""",
    ),
}
