"""What every identity is for: the requests it must be able to make, and some that would be too much."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.algo.trading.tests.integration.policies.identities import (
    ACCOUNT,
    PROJECT,
    REGION,
    buckets,
    resource_name,
)

# Action, resource, context.
Need = tuple[str, str, dict[str, str]]

_INSTANCE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0123456789abcdef0"
_SSM_AGENT = (
    *(f"ssmmessages:{verb}{channel}Channel" for verb in ("Create", "Open") for channel in ("Control", "Data")),
    *(
        f"ec2messages:{action}"
        for action in ("AcknowledgeMessage", "DeleteMessage", "FailMessage", "GetEndpoint", "GetMessages", "SendReply")
    ),
)
_READ = ("s3:GetObject",)
_WRITE = ("s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject")


class Needs:
    """The needs of one environment's identities, by role."""

    def __init__(self, environment: str) -> None:
        self.environment = environment
        self.models, self.data, self.artifacts = (f"arn:aws:s3:::{bucket}" for bucket in buckets(environment))
        self._model = f"{self.models}/models/momentum/AAPL/sma-outer_0_inner_1"
        self._profile = f"arn:aws:iam::{ACCOUNT}:instance-profile/{self._name('trading_server')}"

    def all(self) -> dict[str, list[Need]]:
        return {
            "alpaca-websocket": [
                *self._host("alpaca_websocket"),
                *self._secret("alpaca_websocket"),
                *self._s3(self.data, ("s3:ListBucket", "s3:ListBucketMultipartUploads"), f"{self.data}/bars/x", _WRITE),
            ],
            "trading-server": [
                *self._host("trading_server"),
                *self._secret("alpaca_websocket"),
                *self._s3(self.models, ("s3:ListBucket",), f"{self._model}/model.joblib", _READ),
            ],
            "mlflow-server": [
                *self._host("mlflow_server"),
                *self._secret("mlflow_server"),
                *self._s3(
                    self.artifacts,
                    ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"),
                    f"{self.artifacts}/1/abc/artifacts/model",
                    (*_WRITE, "s3:DeleteObject"),
                ),
            ],
            "gpu-instance": [
                *self._host("gpu_instance"),
                *self._s3(self.models, ("s3:ListBucket",), f"{self._model}/model.joblib", _WRITE),
                *self._s3(self.artifacts, ("s3:GetBucketLocation", "s3:ListBucket"), f"{self.artifacts}/1/abc", _WRITE),
            ],
            "alpaca-websocket-lambda": [
                *self._function("alpaca_websocket"),
                *self._instances("alpaca_websocket", "ec2:StartInstances", "ec2:StopInstances"),
                ("ec2:DescribeInstances", "*", {}),
            ],
            "trading-server-lambda": list(self._fleet()),
            "trading-server-shutdown-lambda": [
                *self._function("trading_server_shutdown"),
                *self._instances("trading_server", "ec2:StopInstances", "ssm:SendCommand"),
                ("ssm:GetParameter", self._fleet_settings(), {}),
                ("ssm:GetParameter", self._arn("ssm", f"parameter/{PROJECT}/{self.environment}/halt"), {}),
                ("ec2:CreateTags", _INSTANCE, {**self._tags("trading_server"), **_NOTE}),
                ("ec2:TerminateInstances", _INSTANCE, {**self._tags("trading_server"), **_DRAINED}),
                ("ssm:SendCommand", self._arn("ssm", f"document/{self._name('trading_server')}-drain"), {}),
                ("sqs:SendMessage", self._arn("sqs", self._name("trading_server_shutdown")), {}),
                ("ec2:DescribeInstances", "*", {}),
                ("ec2:DescribeInstanceStatus", "*", {}),
                ("ssm:ListCommandInvocations", "*", {}),
                self._invoke("trading_server_shutdown"),
            ],
            "alpaca-websocket-scheduler": [self._invoke("alpaca_websocket")],
            "trading-server-scheduler": [self._invoke("trading_server")],
            "trading-server-shutdown-scheduler": [
                self._invoke("trading_server_shutdown"),
                ("sqs:SendMessage", self._arn("sqs", self._name("trading_server_shutdown")), {}),
            ],
        }

    def too_much(self) -> dict[str, list[Need]]:
        """Requests within the environment that belong to somebody else."""
        trading, feed = self._tags("trading_server"), self._tags("alpaca_websocket")
        launch = self._launch()
        return {
            "trading-server": [
                ("s3:PutObject", f"{self._model}/model.joblib", _OUR_ACCOUNT),
                ("s3:GetObject", f"{self.models}/elsewhere/model.joblib", _OUR_ACCOUNT),
                ("s3:GetObject", f"{self._model}/model.joblib", {"aws:ResourceAccount": "999999999999"}),
                ("s3:ListBucket", self.models, {"aws:ResourceAccount": "999999999999"}),
                ("s3:GetObject", f"{self.artifacts}/1/abc", {}),
                *self._secret("mlflow_server"),
                *self._settings("mlflow_server/anything", "lock"),
                ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{self._name('trading_server')}", {}),
            ],
            "alpaca-websocket": [("s3:DeleteObject", f"{self.data}/bars/x", {}), ("s3:ListBucket", self.models, {})],
            "mlflow-server": [("s3:ListBucket", self.models, {}), *self._secret("alpaca_websocket")],
            "gpu-instance": [("s3:DeleteObject", f"{self._model}/model.joblib", {})],
            "alpaca-websocket-lambda": [
                ("ec2:StopInstances", _INSTANCE, trading),
                ("ec2:TerminateInstances", _INSTANCE, feed),
            ],
            "trading-server-shutdown-lambda": [
                ("ec2:TerminateInstances", _INSTANCE, trading),
                ("ec2:TerminateInstances", _INSTANCE, {**feed, **_DRAINED}),
                ("ec2:CreateTags", _INSTANCE, {**trading, "aws:RequestTag/Model": "momentum/AAPL"}),
                ("ec2:CreateTags", _INSTANCE, {**trading, **_NOTE, "aws:RequestTag/Environment": "elsewhere"}),
                ("ec2:CreateTags", _INSTANCE, {**feed, **_NOTE}),
                ("ec2:StopInstances", _INSTANCE, feed),
                ("ssm:SendCommand", f"arn:aws:ssm:{REGION}::document/AWS-RunShellScript", {}),
                ("ssm:SendCommand", self._arn("ssm", f"document/{self._name('trading_server')}-status"), {}),
                *self._settings("lock", "trading_server/other"),
                self._invoke("trading_server"),
                self._invoke("alpaca_websocket"),
            ],
            "trading-server-lambda": [
                ("ssm:SendCommand", self._arn("ssm", f"document/{self._name('trading_server')}-drain"), {}),
                ("ssm:SendCommand", f"arn:aws:ssm:{REGION}::document/AWS-RunShellScript", {}),
                ("ssm:SendCommand", _INSTANCE, feed),
                ("ec2:TerminateInstances", _INSTANCE, feed),
                ("ec2:TerminateInstances", _INSTANCE, {**trading, "aws:ResourceTag/ManagedBy": ""}),
                ("ec2:CreateTags", _INSTANCE, {**trading, "aws:RequestTag/Environment": "elsewhere"}),
                ("ec2:CreateTags", _INSTANCE, {**trading, "aws:RequestTag/Project": "another"}),
                ("ec2:RunInstances", _INSTANCE, {**launch, "ec2:MetadataHttpTokens": "optional"}),
                ("ec2:RunInstances", _INSTANCE, {**launch, "ec2:InstanceProfile": ""}),
                ("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-0", {"ec2:Owner": "999999999999"}),
                (
                    "iam:PassRole",
                    f"arn:aws:iam::{ACCOUNT}:role/{self._name('trading_server')}",
                    {"iam:PassedToService": "lambda.amazonaws.com"},
                ),
                ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{self._name('mlflow_server')}", _TO_EC2),
                ("s3:PutObject", f"{self._model}/model.joblib", _OUR_ACCOUNT),
                ("s3:GetObject", f"{self._model}/manifest.json", {"aws:ResourceAccount": "999999999999"}),
                *self._settings("lock", "trading_server/other"),
            ],
            "trading-server-scheduler": [self._invoke("trading_server_shutdown")],
        }

    def _name(self, component: str) -> str:
        return resource_name(component, self.environment)

    def _arn(self, service: str, rest: str) -> str:
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"

    def _tags(self, component: str, prefix: str = "aws:ResourceTag") -> dict[str, str]:
        return {
            f"{prefix}/Project": PROJECT,
            f"{prefix}/Environment": self.environment,
            f"{prefix}/Component": component,
            f"{prefix}/ManagedBy": "algo.trading",
        }

    def _host(self, component: str) -> Iterator[Need]:
        group = self._arn("logs", f"log-group:/{PROJECT}/{self.environment}/{component}")
        yield "ssm:UpdateInstanceInformation", _INSTANCE, {}
        yield from ((action, "*", {}) for action in _SSM_AGENT)
        yield "logs:DescribeLogStreams", group, {}
        yield from ((action, f"{group}:log-stream:x", {}) for action in ("logs:CreateLogStream", "logs:PutLogEvents"))
        yield from self._settings("halt", f"{component}/anything")
        yield "ssm:GetParametersByPath", self._arn("ssm", f"parameter/{PROJECT}/{self.environment}/{component}"), {}

    def _function(self, component: str) -> Iterator[Need]:
        stream = self._arn("logs", f"log-group:/aws/lambda/{self._name(component)}:log-stream:2026/11/22/x")
        yield from ((action, stream, {}) for action in ("logs:CreateLogStream", "logs:PutLogEvents"))
        yield "sns:Publish", self._arn("sns", self._name("trading_server_shutdown")), {}

    def _settings(self, *names: str) -> Iterator[Need]:
        for name in names:
            parameter = self._arn("ssm", f"parameter/{PROJECT}/{self.environment}/{name}")
            yield from ((action, parameter, {}) for action in ("ssm:GetParameter", "ssm:GetParameters"))

    def _fleet_settings(self) -> str:
        return self._arn("ssm", f"parameter/{PROJECT}/{self.environment}/trading_server/fleet")

    def _secret(self, component: str) -> Iterator[Need]:
        secret = self._arn("secretsmanager", f"secret:{self._name(component)}-AbCdEf")
        yield from ((f"secretsmanager:{action}", secret, {}) for action in ("DescribeSecret", "GetSecretValue"))

    @staticmethod
    def _s3(bucket: str, on_bucket: tuple[str, ...], key: str, on_object: tuple[str, ...]) -> Iterator[Need]:
        yield from ((action, bucket, _OUR_ACCOUNT) for action in on_bucket)
        yield from ((action, key, _OUR_ACCOUNT) for action in on_object)

    def _instances(self, component: str, *actions: str) -> Iterator[Need]:
        yield from ((action, _INSTANCE, self._tags(component)) for action in actions)

    def _invoke(self, component: str) -> Need:
        return "lambda:InvokeFunction", self._arn("lambda", f"function:{self._name(component)}"), {}

    def _launch(self) -> dict[str, str]:
        return {
            **self._tags("trading_server", "aws:RequestTag"),
            "ec2:InstanceProfile": self._profile,
            "ec2:MetadataHttpTokens": "required",
        }

    def _fleet(self) -> Iterator[Need]:
        yield from self._function("trading_server")
        yield from (need for need in self._secret("alpaca_websocket") if need[0] == "secretsmanager:GetSecretValue")
        for name in ("halt", "trading_server/fleet"):
            yield "ssm:GetParameter", self._arn("ssm", f"parameter/{PROJECT}/{self.environment}/{name}"), {}
        # Copied models are judged by the content of their files.
        for file in ("manifest.json", "model.joblib"):
            yield from self._s3(self.models, ("s3:ListBucket",), f"{self._model}/{file}", _READ)
        yield from ((action, "*", {}) for action in ("ec2:DescribeInstances", "ec2:DescribeInstanceStatus"))
        yield "ssm:ListCommandInvocations", "*", {}
        yield "ssm:SendCommand", _INSTANCE, self._tags("trading_server")
        yield "ssm:SendCommand", self._arn("ssm", f"document/{self._name('trading_server')}-status"), {}
        for action in (
            "ModifyInstanceAttribute",
            "RebootInstances",
            "StartInstances",
            "StopInstances",
            "TerminateInstances",
        ):
            yield f"ec2:{action}", _INSTANCE, self._tags("trading_server")
        run, ec2 = "ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}"
        tags = self._tags("trading_server", "aws:RequestTag")
        yield run, f"{ec2}:instance/*", self._launch()
        yield run, f"{ec2}:volume/*", tags
        yield run, f"{ec2}:network-interface/*", {}
        yield run, f"{ec2}:subnet/subnet-0", self._tags("network")
        yield run, f"{ec2}:security-group/sg-0", self._tags("trading_server")
        yield run, f"arn:aws:ec2:{REGION}::image/ami-0", {"ec2:Owner": "136693071363"}
        yield "ec2:CreateTags", f"{ec2}:instance/*", {**tags, "ec2:CreateAction": "RunInstances"}
        yield "ec2:CreateTags", f"{ec2}:volume/*", {**tags, "ec2:CreateAction": "RunInstances"}
        yield "ec2:CreateTags", _INSTANCE, {**self._tags("trading_server"), "aws:RequestTag/Model": "momentum/AAPL"}
        yield "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{self._name('trading_server')}", _TO_EC2


_OUR_ACCOUNT = {"aws:ResourceAccount": ACCOUNT}
_DRAINED = {"aws:ResourceTag/DrainAsked": "2026-01-02T21:15:00+00:00"}
_NOTE = {"aws:RequestTag/DrainAsked": "2026-01-02T21:15:00+00:00", "aws:TagKeys": "DrainAsked"}
_TO_EC2 = {"iam:PassedToService": "ec2.amazonaws.com"}
