#!/usr/bin/python
# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: resources
version_added: 0.1.0
short_description: Make the resources of an environment match their settings
description:
  - Compares what each resource of a list should be with what M(algo.trading.environment_info) found, and calls the
    resource's own Ansible module only where something is to be done. A run that changes nothing starts no module.
  - Decides about all resources first, then changes those that differ, up to eight at a time. A resource waits for those
    that it refers to, and for nothing else.
  - Check mode gives the same decisions with the same reasons in the same order, also for what depends on resources that
    do not exist yet; their ids are then V((known after apply)).
  - Checks the whole list before anything is changed. An unknown id or attribute, a cycle, an unknown option, and an
    argument that the module does not take or that no reading could compare, are refused.
  - A resource that fails does not stop the others. Those that refer to it are not tried, and are named in the message.
    The next run continues.
  - Adds the environment's tags and the name, does not touch resources without those tags, and refuses
    changes that AWS cannot make to a resource which holds data.
options:
  resources:
    description:
      - The resources, in the order in which a plan lists them.
      - A list among the entries stands for its own entries, so roles can share parts of a list.
      - In O(resources[].settings), O(resources[].once) and O(resources[].alternatives), V(${id.attribute}) refers to
        another entry, V(${id.0.attribute}) to one of the resources of an entry with O(resources[].for_each), and
        V(${id.*.attribute}) to all of them. A string that is one reference becomes the value; in a longer string, the
        value becomes text; V(${id.*.attribute}) in a list becomes items of that list. V($${) stands for V(${). What has
        a colon or a slash between the braces, such as a policy variable, is left as it is.
      - The attributes are those that AWS gives when it makes the resource, such as C(id) or C(arn), and C(name).
    type: list
    elements: raw
    required: true
    suboptions:
      id:
        description: What other entries call it. Needed only where one refers to it.
        type: str
      module:
        description: Fully qualified name of the module that manages this kind of resource.
        type: str
        required: true
      name:
        description:
          - The resource's name. Becomes its C(Name) tag, and the module's own name argument where it has one.
        type: str
        required: true
      settings:
        description:
          - The module's arguments without name, tags and connection.
          - An argument that no reading of the account reports is refused here. It can be given in
            O(resources[].once).
        type: dict
        default: {}
      state:
        description: Whether the resource should exist.
        type: str
        choices: [present, absent]
        default: present
      when:
        description: Whether the entry counts.
        type: bool
        default: true
      for_each:
        description:
          - Makes the entry stand for one resource for each item.
          - V(${each}) is the item, V(${each.name}) a value of it, and V(${each.index}) its place, counted from 0. They
            can stand in every option but this one, also within a reference, as in V(${subnet.${each.index}.id}).
        type: list
        elements: raw
      needs:
        description:
          - Ids of entries that this one depends on without referring to them. It is not done where one of them fails.
        type: list
        elements: str
      after:
        description:
          - Ids of entries that are worked on before this one. It is done whatever became of them.
        type: list
        elements: str
      block:
        description:
          - Entries that share one O(resources[].when) or O(resources[].for_each), instead of all other options. The
            list is evaluated once for all of them.
        type: list
        elements: raw
      component:
        description: The component that the resource belongs to, the value of its C(Component) tag.
        type: str
      once:
        description:
          - Arguments that are passed when the resource is made and are never compared, such as a first password.
        type: dict
        default: {}
      alternatives:
        description:
          - Settings of which one set is enough, best first, such as instance types and subnets. They are tried in this
            order where AWS has none to give.
          - A resource that was made from any of them is up to date.
        type: list
        elements: dict
        default: []
      disable_protection:
        description: As O(disable_protection), for one entry.
        type: bool
  component:
    description:
      - The component of the entries that name none. By default the component of the role that the task stands in.
    type: str
  disable_protection:
    description:
      - Whether to delete resources despite deletion protection, such as a database's,
        which is turned off first. For the removal of a whole environment that was confirmed.
    type: bool
    default: false
  refuse:
    description: Reasons to change nothing. If there are any, the task fails with them.
    type: list
    elements: str
    default: []
  outputs:
    description:
      - Name of a variable whose value the task returns as RV(outputs). Its templates can use C(result), what this task
        returns, because they are evaluated when the resources are there.
    type: str
  summary:
    description:
      - Name of a variable as for O(outputs), whose value becomes the C(summary) of the run's end, as
        M(ansible.builtin.set_stats) would hand it on.
    type: str
attributes:
  check_mode:
    description: Decides exactly as a real run does, and calls nothing that writes.
    support: full
  diff_mode:
    description: Shows the settings that differ.
    support: full
notes:
  - Reads the variables C(algo_account) (what M(algo.trading.environment_info) returned), C(algo_project),
    C(algo_environment), C(algo_tags) and C(algo_aws_connection), the arguments that every call to AWS gets.
  - The check mode of a plain amazon.aws module fails on an empty account or says that something would change, without
    saying what; that is why this action exists.
author:
  - The algo.trading authors (@algo-trading)
"""

EXAMPLES = r"""
- name: Provision a network
  algo.trading.resources:
    resources:
      - id: vpc
        module: amazon.aws.ec2_vpc_net
        name: algo-trading-network-qa
        settings:
          cidr_block: [10.30.0.0/16]

      - id: subnet
        module: amazon.aws.ec2_vpc_subnet
        for_each: [{zone: us-east-1a, cidr: 10.30.0.0/19}, {zone: us-east-1b, cidr: 10.30.32.0/19}]
        name: algo-trading-network-qa-${each.index}
        settings:
          vpc_id: ${vpc.id}
          az: ${each.zone}
          cidr: ${each.cidr}

      - module: amazon.aws.ec2_vpc_route_table
        name: algo-trading-network-qa
        settings:
          vpc_id: ${vpc.id}
          subnets: ${subnet.*.id}
  register: network

- name: Show the subnets' ids
  ansible.builtin.debug:
    var: network.resources.subnet | map(attribute='id')

- name: Remove the schedule that dev does not have, then its group
  algo.trading.resources:
    resources:
      - id: schedule
        module: algo.trading.scheduler_schedule
        name: algo-trading-trading-server-shutdown-dev/shutdown
        state: absent

      - module: algo.trading.scheduler_schedule_group
        name: algo-trading-trading-server-shutdown-dev
        state: absent
        after: [schedule]
"""

RETURN = r"""
plan:
  description:
    - The decisions as lines of the run's plan, in the order of the list. What is absent and should be has none.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: The decision, one of create, update, replace, delete, no-op, refuse.
      type: str
      sample: update
    type:
      description: What kind of resource it is.
      type: str
      sample: S3 bucket
    name:
      description: Its name.
      type: str
      sample: algo-trading-mlflow-server-qa-123456789012
    component:
      description: The component that it belongs to.
      type: str
      sample: mlflow_server
    reasons:
      description: Why, in words.
      type: list
      elements: str
      sample: ['versioning: false → true']
    status:
      description:
        - V(planned) in check mode, V(done) where the resource is as it should be, V(failed) where it could not be made
          so, V(not started) where it was not tried because one that it needs failed.
      type: str
      sample: done
    seconds:
      description: How long the change took. Only where one was made.
      type: float
      sample: 2.5
    shown:
      description: Set where the line was shown when the change was made.
      type: bool
      sample: true
  sample:
    - action: update
      type: S3 bucket
      name: algo-trading-mlflow-server-qa-123456789012
      component: mlflow_server
      reasons: ['versioning: false → true']
      status: done
      seconds: 2.5
      shown: true
outputs:
  description: The value of the variable that O(outputs) names.
  returned: with O(outputs), where nothing failed
  type: raw
  sample: {vpc_id: vpc-0123456789abcdef0}
resources:
  description:
    - What other resources refer to, by the entries' ids. A list for an entry with C(for_each); empty for what is absent
      or does not count.
  returned: always
  type: dict
  sample:
    vpc: {id: vpc-0123456789abcdef0}
    subnet: [{id: subnet-0123456789abcdef0}, {id: subnet-0123456789abcdef1}]
"""
