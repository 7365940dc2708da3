#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which hooks have run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_audit_info
short_description: Tell which hooks have run
version_added: 0.1.0
description:
  - Answers from the audit of a host what ran, for which pod, with which outcome, since when.
  - It reads O(audit_database) if that is given, otherwise O(audit_log) and the files that it was rotated to.
  - Where that is not there, the answer is empty, with a warning, since a host on which no hook has run yet looks the
    same as a mistyped path. RV(missing) tells it from an audit without such records.
extends_documentation_fragment:
  - p2fleet.hooks.attributes
  - p2fleet.hooks.audit
  - p2fleet.hooks.configuration
attributes:
  check_mode:
    support: full
    details: It changes nothing in any case.
  diff_mode:
    support: none
  platform:
    support: full
    platforms: linux
options:
  hook:
    description:
      - Only the hook of this name in C(exec/), such as V(ensure_user_ensure_user_launch), or the one whose id that name
        begins with, such as V(ensure_user).
      - Either can follow the event, as in V(before_install/ensure_user).
    type: str
  hook_id:
    description:
      - Only the hook of this id, whatever its name in C(exec/). In a large database, O(hook) is quicker.
    type: str
  pod_id:
    description:
      - Only what ran on behalf of this pod.
    type: str
  event:
    description:
      - Only what ran on this event.
    type: str
    choices:
      - preparer_init
      - before_install
      - after_install
      - after_auth_fail
      - before_launch
      - after_launch
      - before_uninstall
  outcome:
    description:
      - Only records with this outcome.
      - V(started) are hooks that are being executed, or were when their run died, which the next run finds out.
    type: str
    choices:
      - started
      - succeeded
      - failed
      - timed_out
      - terminated
      - killed
      - skipped
      - interrupted
  run_id:
    description:
      - Only what this run did, as returned by M(p2fleet.hooks.p2_hook_run).
    type: str
  since:
    description:
      - Only what started at that moment or later, as an age such as V(90m), V(12h) or V(3d), or in ISO 8601, such as
        V(2026-01-31T12:00:00Z). UTC, unless it says otherwise. A moment that is still to come is a warning.
    type: str
  until:
    description:
      - Only what started at that moment or earlier, given as in O(since), which may not be after it.
    type: str
  limit:
    description:
      - How many records to return at most; V(0) is no limit. RV(summary) covers all that match, whatever the limit.
    type: int
    default: 100
  summary:
    description:
      - Whether to return RV(summary) as well.
    type: bool
    default: false
seealso:
  - module: p2fleet.hooks.p2_hook_run
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Find out which hooks failed within the last hour
  p2fleet.hooks.p2_hook_audit_info:
    outcome: failed
    since: 1h
  register: failures

- name: See what the newest of them had to say
  ansible.builtin.debug:
    msg: "{{ failures.records[0].output }}"
  when: failures.records

- name: Get an overview of what ran for a pod today, without single records
  p2fleet.hooks.p2_hook_audit_info:
    pod_id: hello
    since: 24h
    limit: 1
    summary: true
"""

RETURN = r"""
records:
  description: One dictionary for each record, the newest first.
  returned: always
  type: list
  elements: dict
  contains:
    run_id:
      description: What the records of one run have in common.
      type: str
    host:
      description: The name of the host.
      type: str
    event:
      description: The event that came.
      type: str
    hook:
      description: The name of the hook in C(exec/).
      type: str
    hook_id:
      description: The id of the hook; null for a script that people put there.
      type: str
    manifest_sha:
      description: The SHA of the manifest that the hook was installed from.
      type: str
    artifact_version:
      description: The version of the artifact.
      type: str
    pod_id:
      description: The id of the pod on whose behalf it ran.
      type: str
    pod_unique_key:
      description: The UUID that the name of the pod's home ends in; empty for most pods.
      type: str
    outcome:
      description: One of the choices of O(outcome).
      type: str
    reason:
      description: Why, where the outcome does not say it all; otherwise null.
      type: str
    exit_code:
      description: The exit code, null if there is none.
      type: int
    signal:
      description: The name of the signal that ended the hook, null if none did.
      type: str
    start:
      description: When it started, in UTC.
      type: str
    duration:
      description:
        - How long it took, in seconds; null if that is not known, or not yet. A record V(timed_out) has the time until
          SIGTERM.
      type: float
    output:
      description: The last 8 KiB of what the hook wrote.
      type: str
    output_truncated:
      description: Whether it wrote more than that.
      type: bool
    output_held_open:
      description: Whether it left something behind that still held its output open.
      type: bool
  sample:
    - {"hook": "ensure_user_ensure_user_launch", "outcome": "failed", "start": "2026-01-31T12:00:00.000Z"}
missing:
  description:
    - Which log or database is not there. Null where it is, also if it has no record that was asked for.
  returned: success
  type: str
  sample: no audit log at /var/log/p2-hook/audit.jsonl
summary:
  description: One dictionary for each hook of each event.
  returned: when O(summary) is true
  type: list
  elements: dict
  contains:
    hook:
      description: The name of the hook in C(exec/).
      type: str
    hook_id:
      description: The id of the hook; null for a script that people put there.
      type: str
    event:
      description: The event.
      type: str
    runs:
      description: How often it ran.
      type: int
    skipped:
      description: How often it was skipped instead.
      type: int
    outcomes:
      description:
        - How many records have which outcome. One that timed out has another record once it is V(terminated) or
          V(killed).
      type: dict
    hours:
      description:
        - How many runs that began within an hour had which outcome, by the hour in UTC, such as V(2026-01-31T12), and
          how many were V(skipped). Hours without any are left out.
      type: dict
    last_start:
      description: When it started last, in UTC.
      type: str
    last_outcome:
      description: What became of it then.
      type: str
    host:
      description: The name of the host then.
      type: str
    manifest_sha:
      description: The SHA of the manifest that it was installed from then; null for a script that people put there.
      type: str
    artifact_version:
      description: The version of its artifact then; null for a script that people put there.
      type: str
    last_failure:
      description:
        - The newest record of a run that did not succeed, as in RV(records), with the last 2000 characters of its
          output; null if there is none.
      type: dict
    failures:
      description:
        - The versions of which runs did not succeed, that with the newest such run first, eight at most.
        - Each has its C(manifest_sha) and its C(artifact_version), which are null for a script that people put there,
          the number of such runs, C(count), and the newest of them, C(last_failure).
      type: list
      elements: dict
    median_duration:
      description:
        - How long it took, in seconds; null where that is not known. Where it timed out, the time until SIGTERM.
      type: float
    max_duration:
      description: How long it took at most, in seconds, counted in the same way; null where that is not known.
      type: float
  sample:
    - {"hook": "ensure_user_ensure_user_launch", "event": "before_install", "runs": 3, "outcomes": {"succeeded": 3}}
"""

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.options import AUDIT, CONFIGURATION
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.audit import reading
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.audit.question import Question, moment
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.audit.summary import summarise
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import AuditError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.events import EVENTS
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.outcomes import OUTCOMES


def body(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    if params["limit"] < 0:
        raise AuditError(f"limit is {params['limit']}; give a number of records, or 0 for all")
    now = datetime.now(timezone.utc)
    question = Question(
        **{name: params[name] for name in ("hook", "hook_id", "pod_id", "event", "outcome", "run_id")},
        **{name: moment(params[name], now) for name in ("since", "until") if params[name] is not None},
        limit=None if params["summary"] else params["limit"] or None,
    )
    answer = reading.read(question, params["audit_log"], params["audit_database"])
    for warning in answer.warnings:
        module.warn(warning)
    records = answer.records[: params["limit"] or None]
    result: dict[str, Any] = {"changed": False, "records": records, "missing": answer.missing}
    if params["summary"]:
        result["summary"] = summarise(answer.records)
    return result


def main() -> None:
    run_module(
        body,
        reading.complete,
        argument_spec={
            "hook": {"type": "str"},
            "hook_id": {"type": "str"},
            "pod_id": {"type": "str"},
            "event": {"type": "str", "choices": list(EVENTS)},
            "outcome": {"type": "str", "choices": list(OUTCOMES)},
            "run_id": {"type": "str"},
            "since": {"type": "str"},
            "until": {"type": "str"},
            "limit": {"type": "int", "default": 100},
            "summary": {"type": "bool", "default": False},
            **AUDIT,
            **CONFIGURATION,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
