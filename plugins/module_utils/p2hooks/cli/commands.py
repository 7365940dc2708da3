# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sub-commands do: one function each, from options to an answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from .. import bin2pod, bundle, fetch, install, install_plan, run_command, schedule, start, strict_yaml, wanted
from ..console import ERROR, PARTLY_INSTALLED, Answer, UsageError
from ..errors import ArtifactError, shown
from ..event_hooks import hooks_of, missing_root, would_run
from ..hook_key import HookKey
from ..hook_options import hook_named, hook_of
from ..ids import check_id
from ..layout import Layout
from ..manifest import PodManifest
from ..node_status import own_node
from ..pod_home import PodHome
from ..store import Store
from ..store.options import open_store
from . import audit, info, output, rollout


def _bin2pod(options: argparse.Namespace) -> Answer:
    config = {key: strict_yaml.load(value, f"--config {key}") for key, value in options.entries}
    pod = bin2pod.build(
        options.executable,
        options.work_dir,
        pod_id=options.id,
        launchable_id=options.launchable_id,
        location=options.location,
        env=dict(options.env),
        config=config,
        run_as=options.run_as,
        check=options.check,
    )
    data = {
        "changed": pod.changed,
        "tar_path": pod.tar_path,
        "manifest_path": pod.manifest_path,
        "final_location": pod.final_location,
        "sha256": pod.sha256,
        "manifest": pod.manifest.data,
    }
    if options.diff:
        data["diff"] = [output.Difference(pod.manifest_path, pod.manifest_before, pod.manifest.text)._asdict()]
    return Answer(data, output.document(data))


def _schedule(options: argparse.Namespace) -> Answer:
    wanted: dict[HookKey, PodManifest | None] = {}
    for path in options.manifests:
        key, pod = hook_of({"event": options.event, "id": None, "manifest": path})
        if key in wanted:
            raise UsageError(f"{path}: {key} is named twice; give each hook once")
        wanted[key] = pod
    return _change_schedule(options, wanted, upload_artifacts=options.upload_artifacts)


def _unschedule(options: argparse.Namespace) -> Answer:
    return _change_schedule(options, {hook_named(options.event, hook)[0]: None for hook in options.hooks})


def _change_schedule(
    options: argparse.Namespace, wanted: dict[HookKey, PodManifest | None], *, upload_artifacts: bool = False
) -> Answer:
    store = _store(options, create=any(wanted.values()))
    plan = schedule.plan(store, wanted, upload_artifacts=upload_artifacts)
    if not options.check:
        schedule.apply(store, plan)
    before, after = plan.before, plan.after
    data: dict[str, Any] = {
        "changed": bool(plan.groups),
        "added": sorted(after.keys() - before.keys()),
        "updated": sorted(after.keys() & before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "uploaded": sorted(plan.uploads),
    }
    verbs = {"uploaded": "upload", "added": "add", "updated": "update", "removed": "remove"}
    lines = [
        f"would {verb} {key}" if options.check else f"{done} {key}"
        for done, verb in verbs.items()
        for key in data[done]
    ]
    differences = [
        output.Difference(key, before.get(key, ""), after.get(key, "")) for key in sorted(before.keys() | after.keys())
    ]
    answer = output.with_differences(options, data, lines or ["nothing to change"], differences)
    answer.warnings = plan.warnings
    return answer


def _list(options: argparse.Namespace) -> Answer:
    layout = Layout(options.root)
    missing = missing_root(layout)
    warnings = [missing] if missing else []
    if options.pod is not None:
        return _list_for_pod(layout, options, warnings)
    hooks = _scheduled(layout, options) if options.scheduled else _installed(layout)
    if options.event:
        hooks = [hook for hook in hooks if hook["event"] == options.event]
    columns = ("event", "id", "version", "state") if options.scheduled else ("event", "id", "version", "origin")
    rows = [[hook["event"] or "(global)", *(hook[name] or "" for name in columns[1:])] for hook in hooks]
    for hook, row in zip(hooks, rows):
        row[-1] += ", in rollout" if hook.get("in_rollout") else ""
    nothing = (
        "no hook is scheduled, and none from the store is here" if options.scheduled else "no hook is installed here"
    )
    lines = output.table(columns, rows) if rows else [nothing]
    return Answer({"hooks": hooks}, lines, warnings=warnings)


def _installed(layout: Layout) -> list[dict[str, Any]]:
    hooks = []
    for key, home in sorted(
        install_plan.installed_hooks(layout).items(), key=lambda item: (item[0].event or "", item[0].id)
    ):
        record = home.record()
        if record is None:  # removed since
            continue
        hooks.append(
            {
                "event": key.event,
                "id": key.id,
                "version": output.versions(record.versions),
                "versions": record.versions,
                "origin": record.origin,
                "manifest_sha": record.manifest_sha,
            }
        )
    return hooks


def _scheduled(layout: Layout, options: argparse.Namespace) -> list[dict[str, Any]]:
    store = _store(options)
    node = own_node(options.node)
    scheduled = wanted.wanted_hooks(store, node).hooks
    plan = install_plan.plan_scheduled(layout, store, node=node, allow_empty=True)
    states = {action.key: _state(layout, store, action) for action in plan.actions}
    states.update(dict.fromkeys(plan.overridden, "a local one is installed instead"))
    hooks = []
    for key in {*scheduled, *states}:
        pod = scheduled.get(key)
        versions = {launchable.id: launchable.version or "" for launchable in pod.launchables} if pod else {}
        error = plan.errors.pop(str(key), None)
        hooks.append(
            {
                "event": key.event,
                "id": key.id,
                "version": output.versions(versions),
                "versions": versions,
                "manifest_sha": pod.sha if pod else None,
                "in_rollout": key in plan.in_rollout,
                "state": f"error: {error}" if error else states.get(key, "installed"),
            }
        )
    for store_key, error in plan.errors.items():  # no valid manifest, or no valid key
        event, dummy, hook_id = store_key.partition("/")[2].rpartition("/")
        hooks.append(
            {
                "event": event or None,
                "id": hook_id,
                "version": "",
                "versions": {},
                "manifest_sha": None,
                "in_rollout": False,
                "state": f"error: {error}",
            }
        )
    return sorted(hooks, key=lambda hook: (hook["event"] or "", hook["id"]))


def _state(layout: Layout, store: Store, action: install_plan.Action) -> str:
    """Return how this host differs from what is scheduled, and why installing that cannot work, as far as it shows."""
    home = PodHome(layout, action.key)
    try:
        missing = (
            [each for each in action.manifest.launchables if not home.has_artifact(each)] if action.manifest else []
        )
        obstacle = next(filter(None, (fetch.obstacle(each, store) for each in missing)), None)
    except ArtifactError as error:
        obstacle = str(error)
    return f"{action.reason}; cannot be installed: {obstacle}" if obstacle else action.reason


def _list_for_pod(layout: Layout, options: argparse.Namespace, warnings: list[str]) -> Answer:
    if options.event is None:
        raise UsageError("--pod needs --event, since what runs depends on that; see p2-hook list --help")
    check_id(options.pod, "the id of the pod")
    installed = {hook.path: hook for hook in hooks_of(layout, options.event)}
    hooks = []
    for would in would_run(layout, options.event):
        hook = installed.get(would["path"])
        version = hook.artifact_version if hook else None
        hooks.append({**would, "hook_id": hook.id if hook else None, "version": version})
    data = {"pod_id": options.pod, "event": options.event, "hooks": hooks}
    rows = [
        [
            "skip" if hook["reason"] else "run",
            hook["hook"],
            output.versions({"": hook["version"] or ""}),
            hook["reason"] or "",
        ]
        for hook in hooks
    ]
    nothing = run_command.nothing_runs(layout, options.event)
    lines = output.table(("would", "hook", "version", "why not"), rows) if rows else [nothing]
    return Answer(data, lines, warnings=warnings)


def _install(options: argparse.Namespace) -> Answer:
    layout = Layout(options.root)
    make_plan = _install_planner(options, layout)
    if options.check:
        plan = make_plan()
        actions, errors = plan.actions, plan.errors
    else:
        with install.lock(layout):
            plan = make_plan()
            store = _store(options) if plan.needs_store else None
            actions, errors = install.apply(layout, plan, store, max_unpacked_bytes=options.max_unpacked_size)
    data: dict[str, Any] = {
        "changed": bool(actions),
        "actions": [
            {
                "action": action.kind,
                "event": action.key.event,
                "id": action.key.id,
                "origin": action.origin if action.manifest else None,
            }
            for action in actions
        ],
        "overridden": [str(key) for key in plan.overridden],
        "in_rollout": [str(key) for key in plan.in_rollout],
        "errors": {key: str(error) for key, error in errors.items()},
    }
    lines = [f"{_said(action, check=options.check)} {action.key}" for action in actions]
    lines = [f"{line}, in rollout" if action.key in plan.in_rollout else line for line, action in zip(lines, actions)]
    lines += [f"left {key} alone: a local hook stands in front of the scheduled one" for key in plan.overridden]
    if not lines and not errors:
        lines = ["nothing to change"]
    differences = [
        output.Difference(str(action.key), action.before, action.manifest.text if action.manifest else "")
        for action in actions
    ]
    answer = output.with_differences(options, data, lines, differences)
    answer.errors = [text if key in text else f"{key}: {text}" for key, text in data["errors"].items()]
    answer.warnings = plan.all_warnings
    if errors:
        answer.code = ERROR if options.state else PARTLY_INSTALLED
    return answer


def _said(action: install_plan.Action, *, check: bool) -> str:
    """Return what is done, or would be if ``check``, to a hook."""
    if not check:
        return action.done
    return f"would {'change' if action.keeps_version else action.kind.replace('_', ' ')}"


def _install_planner(options: argparse.Namespace, layout: Layout) -> Callable[[], install_plan.InstallPlan]:
    if options.state is None:
        if options.hook is not None:
            raise UsageError(
                f"{shown(options.hook)} is given, but not what to do with it; add --local, --absent or --hand-back"
            )
        events = options.events or None
        return lambda: install_plan.plan_scheduled(
            layout, _store(options), node=own_node(options.node), events=events, allow_empty=options.allow_empty
        )
    if options.hook is None or len(options.events) != 1:
        raise UsageError("--local, --absent and --hand-back need one HOOK, and one --event EVENT or --global")
    key, pod = hook_named(options.events[0], options.hook, is_manifest=options.state == "present")
    if options.state == "absent":
        return lambda: install_plan.plan_absent(layout, key)
    if pod is None or options.state == "handed_back":
        return lambda: install_plan.plan_hand_back(layout, _store(options), key, node=own_node(options.node))
    return lambda: install_plan.plan_present(layout, key, pod)


def _run(options: argparse.Namespace) -> Answer:
    return run_command.answer(vars(options))


def _compile(options: argparse.Namespace) -> Answer:
    changed, path = not bundle.is_compiled(), start.bundle_path()
    if not changed:
        line = f"the engine is compiled, and what runs of hooks need of it is in {path}"
    elif options.check:
        line = f"would compile the engine, and what runs of hooks need of it into {path}"
    else:
        line = f"compiled the engine, and what runs of hooks need of it into {bundle.compile_engine()}"
    return Answer({"changed": changed, "bundle": path}, [line])


COMMANDS: dict[str, Callable[[argparse.Namespace], Answer]] = {
    "bin2pod": _bin2pod,
    "schedule": _schedule,
    "unschedule": _unschedule,
    "list": _list,
    "info": info.answer,
    "install": _install,
    "run": _run,
    "rollout": rollout.answer,
    "audit": audit.answer,
    "audit-prune": audit.prune,
    "audit-import": audit.import_p2,
    "compile": _compile,
}


def _store(options: argparse.Namespace, *, create: bool = False) -> Store:
    return open_store(vars(options), create=create)
