# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Types of the resource engine: an environment's scope, a resource type, a resource found, a decision.

The engine decides from two plain values: the desired settings and the actual ones. Both are
written in the vocabulary of the Ansible module that would make the change, so a task looks like that module's task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._naming import Scope

# Stands for a value that AWS gives only when the resource is made; the plan shows it as it is.
UNKNOWN = "(known after apply)"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A resource as it is in the account.

    ``settings`` are named and shaped like the arguments of the module that manages it; ``attributes`` are what other
    resources refer to (``id``, ``arn``, …).
    """

    key: str
    settings: Settings = field(default_factory=dict)
    attributes: Settings = field(default_factory=dict)
    tags: dict[str, str] | None = None
    owner: str | None = None
    """Key of the taggable resource that this one is a part of (a rule of a bucket): it is ours when that one is."""
    unfinished: bool = False
    """Made under our name in our account by a run that was cut off before it could tag it, and still empty: ours."""
    pending_deletion: str = ""
    """Set while AWS deletes it, such as ``being deleted``."""
    note: str = ""
    """Note for the operator, shown when it is refused."""

    def as_dict(self, ours: bool) -> Settings:
        return {
            "ours": ours or self.unfinished,
            "settings": self.settings,
            "attributes": self.attributes,
            "tags": self.tags,
            **({"owner": self.owner} if self.owner else {}),
            **({"pending_deletion": self.pending_deletion} if self.pending_deletion else {}),
            **({"note": self.note} if self.note else {}),
        }


def _same(arguments: Settings) -> Settings:
    return arguments


def _no_attributes(result: Settings, arguments: Settings) -> Settings:
    return {}


def _no_extra(arguments: Settings, found: Mapping[str, Any] | None) -> Settings:
    return {}


def _no_suppression(desired: Settings, found: Mapping[str, Any]) -> Settings:
    return desired


# Names within a dictionary, each with its type or with what is in it.
Shape = Mapping[str, "str | Shape"]
Reader = Callable[[Any, Scope], Iterable[Found]]


@dataclass(frozen=True)
class States:
    """AWS's words for the state of one resource type, in lower case. A word that is not listed is unhealthy.

    :param healthy: usable, also while AWS works on it.
    :param transitional: changing; later it is usable or gone.
    :param stopped: stopped by a person. AWS changes nothing about such a resource.
    :param start: how to start it, a template for its ``name``.
    """

    healthy: frozenset[str]
    transitional: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    start: str = ""


@dataclass(frozen=True)
class ResourceType:
    """How one kind of resource is read, compared, made and removed.

    :param module: the Ansible module that makes the change.
    :param title: what an operator calls the resource.
    :param read: ``(reading, scope)`` to the resources found; ``reading(service)`` gives a boto3 client, and
        ``reading.once`` asks what another type needs as well.
    :param tagged: whether the module takes tags; the engine then adds the environment's.
    :param separate_tags: whether the resource has tags but the module takes none: the engine then sets them by the
        ARN among ``attributes``.
    :param force_new: arguments that AWS cannot change on an existing resource.
    :param replaceable: whether a changed ``force_new`` argument may delete the resource and create a new one.
    :param compared: arguments that ``read`` reports, so that a plan can compare them. What is neither among these nor
        create-only or steering is refused: it would differ in every run.
    :param create_only: arguments that count when the resource is made and are never compared.
    :param steering: arguments that tell the module how to work and do not describe the resource.
    :param normalize: arguments to the shape that ``read`` gives.
    :param extra_arguments: more arguments for the call, from ours and the resource found (its id, say).
    :param name_argument: the argument that takes the resource's name, if the module has one.
    :param computed: attributes that others refer to; a plan shows them as unknown until the resource is created.
    :param attributes: the module's result and arguments to ``attributes`` as ``read`` gives them.
    :param delete_arguments: arguments that remove the resource, from what was found; its name is added.
    :param retryable_errors: parts of AWS's messages that pass by themselves (a role not yet known everywhere).
    :param destroy_order: removal order, lowest first.
    :param unordered: list arguments whose order has no meaning.
    :param takes_region: whether the module's ``region`` is the connection's.
    :param diff_suppress: ``(desired, found)`` to the desired settings without the differences that AWS itself makes (a
        minor version, grown storage). ``found["adopted"]`` says that somebody else made the resource.
    :param protection: the setting that keeps the resource from being removed; replacing does not get past it, and
        removing only when told to turn it off.
    :param restorable: whether a resource that is pending deletion is restored by running the module.
    :param capacity_errors: parts of AWS's messages that say "not this one": the next of a task's alternatives is tried.
    :param states: what AWS's words for the resource's state mean.
    :param write_ids: request parameters, singular, that name the resource in write calls. The calls of the module may
        touch what was found under them or what the module has just made, and nothing else.
    :param shapes: what is compared within arguments that the module documents as free dictionaries, or lists of them.
        Anything else in them is refused: it would neither be refused by the module nor be compared.
    :param tagged_later: whether the module makes the resource first and tags it in a second call.
    :param service: the AWS service whose model a process that acts needs.
    :param part_of: a resource's name to what it shares with others of its kind, which are changed one at a time.
    :param absent: what AWS answers to the module's first question, by operation, where there is no such resource: an
        answer, or the code of an error. A run that has found none and makes one does not let the module ask again. Only
        for what AWS itself refuses to make twice, or what is replaced as a whole.
    :param retry_attempts: how often what ``retryable_errors`` names is tried, five seconds apart.
    """

    module: str
    title: str
    read: Reader
    tagged: bool = True
    separate_tags: bool = False
    force_new: frozenset[str] = frozenset()
    replaceable: bool = False
    compared: frozenset[str] = frozenset()
    create_only: frozenset[str] = frozenset()
    steering: frozenset[str] = frozenset()
    normalize: Callable[[Settings], Settings] = _same
    extra_arguments: Callable[[Settings, Mapping[str, Any] | None], Settings] = _no_extra
    attributes: Callable[[Settings, Settings], Settings] = _no_attributes
    name_argument: str | None = "name"
    computed: tuple[str, ...] = ("id",)
    delete_arguments: Callable[[Mapping[str, Any]], Settings] = lambda found: {}
    retryable_errors: tuple[str, ...] = ()
    destroy_order: int = 50
    unordered: frozenset[str] = frozenset()
    takes_region: bool = True
    diff_suppress: Callable[[Settings, Mapping[str, Any]], Settings] = _no_suppression
    protection: str | None = None
    restorable: bool = False
    capacity_errors: tuple[str, ...] = ()
    states: States | None = None
    write_ids: frozenset[str] = frozenset()
    tagged_later: bool = False
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    absent: Mapping[str, Any] = field(default_factory=dict)
    retry_attempts: int = 12
    service: str = ""
    part_of: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Decision:
    """What is to be done with one resource, and why. ``action`` is create, update, replace, delete, leave or refuse."""

    action: str
    reasons: tuple[str, ...] = ()
    before: Settings = field(default_factory=dict)
    after: Settings = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    """Arguments that differ and stay as they are on an adopted resource: AWS could change them on a new one only."""

    @property
    def changes(self) -> bool:
        return self.action in {"create", "update", "replace", "delete"}
