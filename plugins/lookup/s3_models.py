# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: s3_models
author:
  - The algo.trading authors (!UNKNOWN)
version_added: 0.1.0
short_description: List the trading models in S3 buckets, one entry per model
description:
  - Lists what a model repository has published to S3 and returns one entry per model artifact,
    with its identity (type, symbol, model, folds), its place and a version that changes with its files.
  - A model is a folder C(models/<type>/<symbol>/<model>-outer_X_inner_Y/) with any files in it, or a single file of
    that name, with an extension (C(….tar.gz)) or without.
  - Keys that fit no model are reported as O(on_invalid) says, never guessed at, and stop no other model.
    So are checksums, signatures and unfinished uploads (C(….tar.gz.sha256)), files that are named after another
    artifact (C(x.tar.gz) beside the folder C(x/)), and models whose name or URI is longer than the 256 characters
    of a tag. The empty objects by which consoles show an empty folder count as nothing.
  - It only reads, and it needs C(s3:ListBucket) on the bucket, and C(s3:GetObject) on the C(manifest.json) of models
    of 1000 objects or more, and on the files of models that were copied from another bucket.
options:
  _terms:
    description: Names of the buckets to list, without C(s3://) and without a path.
    type: list
    elements: str
    required: true
  prefix:
    description:
      - Only keys that begin like this are read.
      - S3 takes it as it is; end it with a slash to name a folder.
      - By default, the literal beginning of O(pattern), which is C(models/) for the layout above.
    type: str
  pattern:
    description:
      - A Python regular expression that matches the name of a model from the beginning of its key,
        with the named groups V(type), V(symbol), V(model), V(outer) and V(inner).
      - Behind the match, a key may go on with a slash (the model is a folder), with an extension (a single file),
        or end.
      - Not set, it is the layout above, where type, symbol and model consist of ASCII letters, digits and
        V(._+=@-), and folds are numbers without leading zeros.
    type: str
  type:
    description: Only models of these types. Empty means all.
    type: list
    elements: str
    default: []
    aliases: [types]
  symbol:
    description: Only models for these symbols. Empty means all.
    type: list
    elements: str
    default: []
    aliases: [symbols]
  model:
    description: Only models of these names, as the group V(model) of O(pattern) has them. Empty means all.
    type: list
    elements: str
    default: []
    aliases: [models]
  owner:
    description:
      - Id of the account that the buckets belong to. S3 then refuses to read a bucket of another account, for instance
        one that another account created under a freed name.
      - Not checked, if not set.
    type: str
  on_invalid:
    description:
      - What to do about keys under O(prefix) that fit no model.
      - V(warn) names some of them in a warning, V(error) fails, V(ignore) says nothing.
    type: str
    choices: [warn, error, ignore]
    default: warn
  require_manifest:
    description:
      - Whether the model repository promises a C(manifest.json) in each folder, uploaded last.
      - Then a folder without one is still being published, and its entry says so in RV(_list.status).
    type: bool
    default: false
  exact:
    description:
      - Read models of 1000 objects and more to their end, at the cost of a page for every 1000 objects.
      - The version of such a model is another one than with V(false); do not switch to and fro.
    type: bool
    default: false
notes:
  - B(Cost.) Objects are read flat, 1000 to a page. Where a page ends inside a model of which 1000 objects have been
    seen, the next page starts behind that model. So there are never more pages than in a flat listing, and a model
    of 10,000 objects costs one or two.
  - B(What a version covers.) It is a digest of the paths, ETags and sizes of all files, for models of fewer than 1000
    objects. For larger ones it covers the first 1000 objects and C(manifest.json), which names all files with their
    digests and is uploaded last; it is read once per large model, for the totals.
    A large model without a manifest is V(partial), and a warning says so; O(exact=true) reads it whole.
    Versions depend neither on the bucket nor on neighbouring models, so that the same files have the same version in
    every environment, given the same way of uploading and encrypting.
  - B(Publication in progress.) S3 has no transactions. An entry is V(publishing) while a file is newer than the
    folder's manifest, or while it is written during the listing. If that lasts, a file was changed
    after its manifest was written.
  - B(Copies.) Who copies a bucket writes files in the order of their keys, some after the manifest. Then the content
    decides, if the manifest names each file with C(path), C(size) and C(sha256). The files newer than it are asked for
    their SHA-256, or read, up to 10,000 files and 512 MiB without SHA-256 for a model; a model of 1000 objects or more
    is listed whole for that. That is one request for the manifest and each such file in every listing. What is larger
    is V(unverified) until the manifest is written once more, so copy manifests last where you can.
  - All AWS connection options are those of the lookups of C(amazon.aws).
seealso:
  - module: algo.trading.model_fleet
  - name: ListObjectsV2
    description: The S3 operation behind this lookup.
    link: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
extends_documentation_fragment:
  - amazon.aws.boto3
  - amazon.aws.common.plugins
  - amazon.aws.region.plugins
  - amazon.aws.assume_role.plugins
"""

EXAMPLES = r"""
- name: Show every model of a bucket
  ansible.builtin.debug:
    msg: "{{ item.name }} {{ item.version }} ({{ item.objects }} files, {{ item.size }} bytes)"
  loop: "{{ query('algo.trading.s3_models', 'algo-model-deploy') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Make the fleet match the models
  algo.trading.model_fleet:
    models: "{{ query('algo.trading.s3_models', 'algo-model-deploy', on_invalid='error') }}"

- name: Show the momentum models for two symbols only
  ansible.builtin.debug:
    msg: "{{ query('algo.trading.s3_models', 'algo-model-deploy', type='momentum', symbol=['AAPL', 'MSFT']) }}"

- name: Keep what is still being published out
  ansible.builtin.set_fact:
    finished: >-
      {{ query('algo.trading.s3_models', 'algo-model-deploy', require_manifest=true)
         | selectattr('status', 'equalto', 'published') }}

- name: Name the latest model of each symbol
  ansible.builtin.debug:
    msg: "{{ item.0 }}: {{ (item.1 | sort(attribute='last_modified') | last).uri }}"
  loop: "{{ query('algo.trading.s3_models', 'algo-model-deploy') | ansible.builtin.groupby('symbol') }}"

- name: Read a bucket of another account, in another region, through a role
  ansible.builtin.debug:
    msg: >-
      {{ query('algo.trading.s3_models', 'their-bucket', region='eu-west-1', profile='research',
               assume_role_arn='arn:aws:iam::123456789012:role/model-reader') }}

- name: Read a layout of one's own (models as v2/<symbol>/<type>.<model>.<outer>.<inner>.zip)
  ansible.builtin.debug:
    msg: "{{ query('algo.trading.s3_models', 'their-bucket', prefix='v2/', pattern=layout) }}"
  vars:
    layout: 'v2/(?P<symbol>\w+)/(?P<type>\w+)\.(?P<model>\w+)\.(?P<outer>\d+)\.(?P<inner>\d+)'

- name: Talk to an S3 that is not AWS's
  ansible.builtin.debug:
    msg: "{{ query('algo.trading.s3_models', 'algo-model-deploy-local', endpoint_url='http://127.0.0.1:5000') }}"
"""

RETURN = r"""
_list:
  description: One entry per model, bucket by bucket in the order given, and in the order of keys within a bucket.
  type: list
  elements: dict
  contains:
    key:
      description: Key of the model. A folder's key stands without the slash at its end.
      type: str
      sample: models/momentum/AAPL/sma-outer_0_inner_1
    name:
      description: The model's identity within its bucket. It stays when a folder becomes a single file.
      type: str
      sample: momentum/AAPL/sma-outer_0_inner_1
    type:
      description: Type of the model.
      type: str
      sample: momentum
    symbol:
      description: What the model trades.
      type: str
      sample: AAPL
    model:
      description: Name of the model without its folds.
      type: str
      sample: sma
    outer:
      description: Outer fold of the nested cross-validation.
      type: int
      sample: 0
    inner:
      description: Inner fold.
      type: int
      sample: 1
    bucket:
      description: The bucket that holds it.
      type: str
      sample: algo-model-deploy
    uri:
      description: Where it is. A folder ends with a slash.
      type: str
      sample: s3://algo-model-deploy/models/momentum/AAPL/sma-outer_0_inner_1/
    version:
      description: 32 hexadecimal digits that change when a file of the model changes, comes or goes.
      type: str
      sample: 9f86d081884c7d659a2feaa0c55ad015
    size:
      description: Bytes in all files together. If RV(_list.status) is V(partial), in the first 1000.
      type: int
      sample: 5120
    objects:
      description: Number of files. If RV(_list.status) is V(partial), 1000, of more.
      type: int
      sample: 3
    last_modified:
      description: When the newest of the files was written, in UTC.
      type: str
      sample: '2026-03-02T14:30:00Z'
    status:
      description:
        - V(published), if the version covers every file.
        - V(publishing), if a file is newer than the model's C(manifest.json) and its content is not what that says,
          if it was written during the listing, or if O(require_manifest) is set and there is none.
        - V(unverified), if files are newer than the manifest and too large or too many to be compared with it, as
          after a copy from another bucket.
        - V(unreadable), if files or manifest may not be read, so that it cannot be told.
        - V(ambiguous), if there are several artifacts of the model and none is named after another, as C(x.zip) and
          C(x.tar.gz). The entry is the first one.
        - V(partial), if the model has 1000 objects or more, no readable C(manifest.json), and O(exact) is not set,
          so that the version covers the first 1000 only.
      type: str
      sample: published
    reason:
      description: Why it is V(unverified) or V(unreadable), and what to do. Otherwise empty.
      type: str
      sample: ''
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError, from_aws
from ansible_collections.algo.trading.plugins.module_utils.models import (
    DEFAULT_PATTERN,
    FILTERS,
    InvalidKey,
    Model,
    check_layout,
    invalid_message,
    list_models,
    literal_prefix,
)
from ansible_collections.amazon.aws.plugins.plugin_utils.lookup import AWSLookupBase

_SHOWN = 5
_RETRIES = {"retries": {"mode": "standard", "max_attempts": 6}}


class LookupModule(AWSLookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        super().run(terms, variables, **kwargs)
        buckets = [str(term) for term in self._flatten(terms)]
        if not buckets or not all(buckets):
            raise AnsibleLookupError("algo.trading.s3_models requires at least one bucket name as a term.")
        try:
            s3 = self._s3()
        except AnsibleLookupError as exc:
            raise AnsibleLookupError(
                f"Could not list the bucket {buckets[0]}: {exc}. Check the options profile, region and access_key."
            ) from exc
        return [model.as_dict() for bucket in buckets for model in self._models(s3, bucket)]

    def _s3(self) -> t.Any:
        role = self.get_option("assume_role_arn")
        if not role:
            return self.client("s3", aws_config=_RETRIES)
        try:
            answer = self.client("sts", aws_config=_RETRIES).assume_role(
                RoleArn=role, RoleSessionName="algo.trading.s3_models"
            )
        except Exception as exc:
            raise AnsibleLookupError(str(from_aws(f"assume the role {role}", exc)).rstrip(".")) from exc
        issued = answer["Credentials"]
        return self.client(
            "s3",
            aws_config=_RETRIES,
            profile_name=None,
            aws_access_key_id=issued["AccessKeyId"],
            aws_secret_access_key=issued["SecretAccessKey"],
            aws_session_token=issued["SessionToken"],
        )

    def _models(self, s3: t.Any, bucket: str) -> list[Model]:
        pattern = self.get_option("pattern") or DEFAULT_PATTERN
        prefix = self.get_option("prefix")
        try:
            check_layout(pattern, prefix or "")
            found = list_models(
                s3,
                bucket,
                prefix=literal_prefix(pattern) if prefix is None else prefix,
                pattern=pattern,
                filters={name: self.get_option(name) for name in FILTERS},
                exact=self.get_option("exact"),
                require_manifest=self.get_option("require_manifest"),
                region=self.region,
                owner=self.get_option("owner") or "",
            )
        except AlgoTradingError as exc:
            raise AnsibleLookupError(str(exc)) from exc
        self._report_invalid(bucket, found.invalid)
        self._report_status(bucket, found.models)
        self.debug(f"s3_models: {bucket} has {len(found.models)} models")
        return found.models

    def _report_invalid(self, bucket: str, invalid: list[InvalidKey]) -> None:
        reaction = self.get_option("on_invalid")
        if not invalid or reaction == "ignore":
            return
        message = invalid_message(bucket, invalid)
        if reaction == "error":
            raise AnsibleLookupError(message)
        self.warn(message)

    def _report_status(self, bucket: str, models: list[Model]) -> None:
        meanings = {
            "ambiguous": "have several artifacts. Remove all but one",
            "publishing": "are being published, or their files do not match their manifest. Upload manifest.json last",
            "partial": "have 1000 or more objects and no readable manifest.json: their versions cover the first 1000 "
            "only. Publish a manifest.json with them, or set exact=true",
        }
        for status, meaning in meanings.items():
            if names := [model.name for model in models if model.status == status]:
                self.warn(f"{len(names)} model(s) in the bucket {bucket} {meaning}: {_some(names)}.")
        for model in [model for model in models if model.reason][:_SHOWN]:
            self.warn(f"The model {model.name} in the bucket {bucket} is {model.status}: {model.reason}.")


def _some(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
