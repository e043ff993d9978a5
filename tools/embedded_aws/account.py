"""Looking into moto: the one account, its identities and functions. Everything here is called under moto's lock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PARTITION = "aws"


@dataclass(frozen=True)
class Credentials:
    """Short-lived credentials of a role."""

    access_key: str
    secret_key: str
    token: str
    expires: float

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.token,
        }


def account_id() -> str:
    from moto.core import DEFAULT_ACCOUNT_ID

    return str(DEFAULT_ACCOUNT_ID)


def backend(service: str, region: str) -> Any:
    """moto's tables for a service: by region, or for the whole account (`region` is then `PARTITION`)."""
    from moto.backends import get_backend

    name: Any = service  # not one of the literals that the type information lists
    return get_backend(name)[account_id()][region]


def functions(region: str) -> list[Any]:
    return list(backend("lambda", region).list_functions("ALL"))


def function(region: str, name: str) -> Any | None:
    """A Lambda function by name or ARN."""
    wanted = name.split(":function:")[-1].split(":")[0]
    return next((each for each in functions(region) if each.function_name == wanted), None)


def event_sources() -> Iterator[tuple[str, Any]]:
    """Region and mapping, for every queue that a function reads."""
    from moto.backends import get_backend

    for region, own in get_backend("lambda")[account_id()].items():
        found = list(own.list_event_source_mappings("", ""))
        yield from ((region, mapping) for mapping in found if mapping.event_source_arn.split(":")[2] == "sqs")


def visible_messages(arn: str) -> int:
    """How many messages of a queue can be received now; 0 if there is no such queue."""
    queue = backend("sqs", arn.split(":")[3]).queues.get(arn.rsplit(":", 1)[1])
    return len(queue.messages) if queue is not None else 0


def schedules() -> Iterator[tuple[str, Any]]:
    """Region and schedule, for every schedule of the account."""
    from moto.backends import get_backend

    for region, own in get_backend("scheduler")[account_id()].items():
        for group in own.schedule_groups.values():
            yield from ((region, schedule) for schedule in list(group.schedules.values()))


def role(arn: str) -> Any | None:
    return next((each for each in backend("iam", PARTITION).roles.values() if each.arn == arn), None)


def assume(role_arn: str, session: str, region: str, seconds: int = 3600) -> Credentials:
    """Credentials of a role, as the service that acts for it gets them."""
    made = backend("sts", PARTITION).assume_role(
        region_name=region,
        role_session_name=session[:64],
        role_arn=role_arn,
        policy=None,
        duration=seconds,
        external_id=None,
    )
    return Credentials(made.access_key_id, made.secret_access_key, made.session_token, made.expiration.timestamp())


def role_of(access_key: str) -> str | None:
    """ARN of the role whose credentials these are; None for everybody else's."""
    assumed = backend("sts", PARTITION).get_assumed_role_from_access_key(access_key)
    return str(assumed.role_arn) if assumed else None


def expired(access_key: str) -> bool:
    """Whether these are a role's credentials whose time is over."""
    assumed = backend("sts", PARTITION).get_assumed_role_from_access_key(access_key)
    return bool(assumed and assumed.expiration.timestamp() < time.time())


def session_of(access_key: str) -> str:
    """Session name of a role's credentials, for a host's the instance id; empty for everybody else's."""
    assumed = backend("sts", PARTITION).get_assumed_role_from_access_key(access_key)
    return str(assumed.session_name) if assumed else ""


def instances(region: str) -> list[Any]:
    """All of EC2's instances."""
    return list(backend("ec2", region).all_instances())


def tags_of(ec2_id: str, region: str) -> dict[str, str]:
    """The tags of something in EC2."""
    return dict(backend("ec2", region).tags.get(ec2_id, {}))


def queue_url(arn: str, endpoint: str) -> str:
    """The URL of a queue. Services know a queue by its ARN; boto3 wants its URL.

    :raises LookupError: if there is no such queue
    """
    region, name = arn.split(":")[3], arn.rsplit(":", 1)[1]
    if name not in backend("sqs", region).queues:
        raise LookupError(f"Queue {arn} does not exist.")
    return f"{endpoint}/{account_id()}/{name}"
