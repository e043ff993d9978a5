# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of an account does not fit the settings of an environment. All of it is found at once, before any change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._naming import Scope
from .promotion import unverified
from .resources import TYPES, State
from .resources.storage import ANOTHER_ACCOUNT

Found = Mapping[str, Any]


def account_problems(account: Found, settings: Found, components: Sequence[str]) -> list[str]:
    """Why a run must not start, a sentence or more for each reason.

    :param account: what ``algo.trading.environment_info`` returned.
    :param settings: what ``algo.trading.settings`` returned under that name.
    :param components: those of the run; none for a removal, which creates and adopts nothing.
    """
    if account["account_id"] != settings["algo_account_id"]:
        # The rest of what was read belongs to somebody else.
        return [
            f"The credentials belong to account {account['account_id']} ({account['caller_arn']}), but "
            f"{settings['algo_environment']} uses account {settings['algo_account_id']}. Use credentials of that "
            "account, or correct algo_account_id."
        ]
    found = [
        *_not_offered(account, settings),
        *_unusable_buckets(account, settings, removal=not components),
        *_foreign(account, settings),
    ]
    if components:
        found += [
            *_too_few_zones(account, settings),
            *_unmatched(account, settings),
            *_not_promoted(account, settings),
        ]
    return found


def foreign(state: State, adopted: Sequence[str] = ()) -> list[str]:
    """Resources with a name of ours but without our tags, each with its type; without those to adopt."""
    return [
        f"{TYPES[module].title} {name}"
        for module, things in state.items()
        for name, thing in things.items()
        if not thing["ours"] and not {name, thing.get("owner")} & set(adopted)
    ]


def unmatched_adoptions(state: State, adopted: Sequence[str], planned: Sequence[str] = ()) -> list[str]:
    """Names to adopt that no resource has, a sentence each, with similar names.

    :param planned: names that may not exist yet.
    """
    foreign_names = {name for things in state.values() for name, thing in things.items() if not thing["ours"]}
    known = {name for things in state.values() for name in things} | set(planned)
    sentences = []
    for name in adopted:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(foreign_names) or sorted(known), n=3)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            sentences.append(f"{name} does not exist.{meant}")
    return sentences


def _not_offered(account: Found, settings: Found) -> Iterable[str]:
    if types := account["unknown_instance_types"]:
        yield (
            f"These instance types are not offered in {settings['algo_region']}: {', '.join(types)}. "
            "Correct the settings."
        )
    if errors := [image["error"] for image in account["images"].values() if "error" in image]:
        yield f"Machine images: {'; '.join(errors)}. Correct algo_release.images in release.yml."


def _too_few_zones(account: Found, settings: Found) -> Iterable[str]:
    zones, count = account["zones"], settings["aws_network_zone_count"]
    if len(zones) < count:
        yield (
            f"aws_network_zone_count is {count}, but {settings['algo_region']} has only {', '.join(zones)}. "
            "Set a smaller number."
        )


def _noted_buckets(account: Found) -> dict[str, str]:
    buckets = account["resources"]["amazon.aws.s3_bucket"]
    return {name: bucket["note"] for name, bucket in buckets.items() if bucket.get("note")}


def _unusable_buckets(account: Found, settings: Found, *, removal: bool) -> Iterable[str]:
    noted = _noted_buckets(account)
    if removal:
        # It removes what is ours, and needs no bucket of anybody else.
        noted = {name: note for name, note in noted.items() if not note.startswith(ANOTHER_ACCOUNT)}
    if settings["aws_trading_server_model_owner"] != settings["algo_account_id"]:
        noted.pop(settings["algo_model_bucket"], None)
    if noted:
        yield (
            f"Buckets that cannot be used: {'; '.join(f'{name}: {note}' for name, note in noted.items())}. Bucket "
            "names are globally unique: choose other names in the settings. The model bucket may belong to another "
            "account if aws_trading_server_model_owner is set to its id."
        )


def _foreign(account: Found, settings: Found) -> Iterable[str]:
    known = [*settings["algo_adopt"], settings["algo_model_bucket"], *_noted_buckets(account)]
    if found := foreign(account["resources"], known):
        project, environment = settings["algo_project"], settings["algo_environment"]
        tags = ", ".join(f"{name}={value}" for name, value in Scope(project, environment).tags("").items() if value)
        yield (
            f"These resources have names of {environment} but not its tags: {', '.join(found)}. Remove or rename them. "
            f"To adopt them, name them in algo_adopt, or add the tags {tags}."
        )


def _unmatched(account: Found, settings: Found) -> Iterable[str]:
    planned = [settings[f"algo_{name}_bucket"] for name in ("model", "data", "artifact")]
    if sentences := unmatched_adoptions(account["resources"], settings["algo_adopt"], planned):
        yield (
            f"algo_adopt matches nothing: {' '.join(sentences)} Correct algo_adopt. It takes resource names as a plan "
            "shows them; trading servers cannot be adopted."
        )


def _not_promoted(account: Found, settings: Found) -> Iterable[str]:
    source = settings.get("algo_promoted_from")
    if not source or settings.get("algo_unverified"):
        return
    if reasons := list(unverified(settings["algo_release"], account["images"], source)):
        yield (
            f"The release is not promoted: {'; '.join(reasons)}. Promote it: ansible-playbook -i inventories/{source} "
            f"playbooks/promote.yml -e algo_promote_to={settings['algo_environment']}, have the change reviewed, and "
            "run this again. To run it unverified, which is recorded: -e 'algo_unverified=reason'."
        )
