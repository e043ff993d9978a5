"""References in a list of resources: found, filled in, escaped, and refused where they lead nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.references import (
    BadReferenceError,
    Reference,
    fill_in,
    fill_in_each,
    found_in,
)

VALUES = {
    "${vpc.id}": "vpc-1",
    "${vpc.name}": "net",
    "${table.routes}": [{"dest": "0.0.0.0/0"}],
    "${subnet.0.id}": "subnet-1",
    "${subnet.*.id}": ["subnet-1", "subnet-2"],
}


def filled(value: Any) -> Any:
    return fill_in(value, lambda reference: VALUES[str(reference)])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("${vpc.id}", "vpc-1"),
        ("${ vpc.id }", "vpc-1"),
        ("${table.routes}", [{"dest": "0.0.0.0/0"}]),
        ("arn:aws:ec2:::vpc/${vpc.id}/${vpc.name}", "arn:aws:ec2:::vpc/vpc-1/net"),
        ({"a": {"b": ["x", "${subnet.0.id}"]}}, {"a": {"b": ["x", "subnet-1"]}}),
        ("${subnet.*.id}", ["subnet-1", "subnet-2"]),
        (["${vpc.id}", "${subnet.*.id}"], ["vpc-1", "subnet-1", "subnet-2"]),
        # Not references: a policy variable, a template of somebody else's, no braces.
        ("${aws:PrincipalTag/Project}", "${aws:PrincipalTag/Project}"),
        ("${a/b}", "${a/b}"),
        ("$vpc.id", "$vpc.id"),
        ("$${HOME}", "${HOME}"),
        ("$$${HOME}", "$${HOME}"),
        ("$${vpc.id} is ${vpc.id}", "${vpc.id} is vpc-1"),
        (7, 7),
        (None, None),
        ("", ""),
    ],
)
def test_values_are_filled_in(given: Any, expected: Any) -> None:
    assert filled(given) == expected


@pytest.mark.parametrize("text", ["${HOME}", "$${HOME}", "a ${x:y} ${vpc.id} $$ {b}", "$$$${", "{}"])
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    assert filled(text.replace("${", "$${")) == text


def test_what_is_given_stays_as_it_was() -> None:
    given = {"a": ["${vpc.id}"]}
    filled(given)
    assert given == {"a": ["${vpc.id}"]}


@pytest.mark.parametrize(
    "text", ["${vpc}", "${}", "${vpc id}", "${vpc-1.id}", "${a.b.c.d}", "${subnet.first.id}", "${HOME}"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadReferenceError):
        list(found_in(text))
    with pytest.raises(BadReferenceError):
        filled(text)


def test_references_are_found_however_deep() -> None:
    value = {"a": ["${vpc.id}", {"b": "x${subnet.*.id}y${subnet.0.id}"}], "c": "$${vpc.id}"}
    assert list(found_in(value)) == [
        Reference("vpc", None, "id"),
        Reference("subnet", "*", "id"),
        Reference("subnet", "0", "id"),
    ]


def test_each_is_filled_in_before_references() -> None:
    each = {"cidr": "10.0.0.0/19", "tags": {"tier": "private"}, "rules": [{"port": 1}]}
    given = {
        "cidr": "${each.cidr}",
        "tier": "${each.tags.tier}",
        "rules": "${each.rules}",
        "subnet": "${subnet.${each.index}.id}",
        "kept": "$${each.cidr} ${vpc.id}",
    }
    assert fill_in_each(given, each, 3) == {
        "cidr": "10.0.0.0/19",
        "tier": "private",
        "rules": [{"port": 1}],
        "subnet": "${subnet.3.id}",
        "kept": "$${each.cidr} ${vpc.id}",
    }


def test_each_may_be_a_plain_value_or_have_an_index_of_its_own() -> None:
    assert fill_in_each("${each}-${each.index}", "ssm", 1) == "ssm-1"
    assert fill_in_each("${each}", 5, 0) == 5
    assert fill_in_each("${each.index}", {"index": "own"}, 0) == "own"


def test_an_unknown_name_of_each_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadReferenceError, match=r"\$\{each.cdir\}: the item of for_each has cidr, zone"):
        fill_in_each("${each.cdir}", {"cidr": 1, "zone": 2}, 0)
