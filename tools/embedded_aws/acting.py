"""What services do for a role: calls with its credentials, which are looked at like anybody's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from . import account


class Acting:
    """Calls this AWS as a role.

    :param moto: held while moto's tables are looked at
    :param endpoint: URL of this AWS, once it is known
    """

    def __init__(self, moto: AbstractContextManager[Any], endpoint: Callable[[], str]) -> None:
        self._moto, self.endpoint = moto, endpoint
        self._making = threading.Lock()
        self._session: Any = None

    def client(self, service: str, region: str, credentials: account.Credentials) -> Any:
        """A boto3 client; all are made by one session, which reads each service's model once."""
        import boto3
        from botocore.config import Config

        with self._making:  # using clients is safe between threads, making them is not
            self._session = self._session or boto3.session.Session()
            return self._session.client(
                service,
                region_name=region,
                endpoint_url=self.endpoint(),
                aws_access_key_id=credentials.access_key,
                aws_secret_access_key=credentials.secret_key,
                aws_session_token=credentials.token,
                config=Config(proxies={}, retries={"total_max_attempts": 1}),
            )

    def send(
        self,
        arn: str,
        text: str,
        region: str,
        credentials: account.Credentials,
        attributes: Mapping[str, str | int] | None = None,
    ) -> None:
        """Hand a text to a function (asynchronously), a queue or a topic.

        :param attributes: message attributes, for a queue or a topic
        :raises ValueError: for anything else
        """
        service = arn.split(":")[2]
        given = {
            name: {"DataType": "Number" if isinstance(value, int) else "String", "StringValue": str(value)}
            for name, value in (attributes or {}).items()
        }
        client = self.client(service, region, credentials) if service in ("lambda", "sqs", "sns") else None
        if service == "lambda" and client is not None:
            client.invoke(FunctionName=arn, InvocationType="Event", Payload=text.encode())
        elif service == "sqs" and client is not None:
            with self._moto:
                url = account.queue_url(arn, self.endpoint())
            client.send_message(QueueUrl=url, MessageBody=text, MessageAttributes=given)
        elif service == "sns" and client is not None:
            client.publish(TopicArn=arn, Message=text, MessageAttributes=given)
        else:
            raise ValueError(f"Cannot deliver to {arn}: the embedded AWS does not run {service}.")
