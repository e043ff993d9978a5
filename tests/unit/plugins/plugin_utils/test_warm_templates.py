"""Templates are compiled once, and render as they would without that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.algo.trading.plugins.plugin_utils import warm_templates

environment = pytest.importorskip("ansible._internal._templating._jinja_bits").AnsibleEnvironment


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Jinja compiles, with the cache empty at the beginning and Ansible as it was at the end."""
    monkeypatch.setattr(warm_templates, "_codes", {})
    monkeypatch.setattr(warm_templates, "_of_roles", {})
    monkeypatch.setattr(warm_templates, "_new", False)
    texts: list[str] = []
    original = getattr(environment.compile, "uncached", environment.compile)

    def compile_anew(self: Any, source: Any, *args: Any, **keywords: Any) -> Any:
        texts.append(str(source))
        return original(self, source, *args, **keywords)

    monkeypatch.setattr(environment, "compile", compile_anew)
    warm_templates.share()
    return texts


def render(text: str, **variables: Any) -> Any:
    return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text))


def test_a_template_is_compiled_once_whatever_it_is_rendered_with(compiled: list[str]) -> None:
    assert [render("{{ a + 1 }}", a=number) for number in (1, 2, 3)] == [2, 3, 4]
    assert compiled == ["{{ a + 1 }}"]


def test_what_a_file_holds_is_compiled_beforehand(compiled: list[str]) -> None:
    data = {"a": "{{ b }}", "plain": "b", "deep": [{"c": "{% if b %}yes{% endif %}"}, 3, None]}
    for _step in warm_templates.load(data):
        pass
    assert compiled == ["{{ b }}", "{% if b %}yes{% endif %}"]
    assert render("{{ b }}", b=[1]) == [1]
    assert render("{% if b %}yes{% endif %}", b=True) == "yes"
    assert len(compiled) == 2


def test_template_files_and_what_they_include_are_compiled_beforehand(compiled: list[str], tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole.j2").write_text("{% for kind in kinds %}{% include 'parts/' ~ kind ~ '.j2' %};{% endfor %}")
    for kind in "ab":
        (tmp_path / "parts" / f"{kind}.j2").write_text(kind + r"={{ '\n' ~ kind }}")
    for _step in warm_templates.load_files(tmp_path):
        pass
    assert len(compiled) == 3
    lookup = lookup_loader.get("ansible.builtin.template", loader=DataLoader(), templar=Templar(DataLoader(), {}))
    rendered = lookup.run([str(tmp_path / "whole.j2")], {"kinds": ["a", "b"]})
    assert rendered == ["a=\na;b=\nb;"]
    assert len(compiled) == 3


def test_what_can_not_be_compiled_fails_only_where_it_is_used(compiled: list[str]) -> None:
    for _step in warm_templates.load(["{{ no end", "{{ a | no.such.filter }}", "{{ a }}"]):
        pass
    assert render("{{ a }}", a=1) == 1
    with pytest.raises(AnsibleError, match="Syntax error"):
        render("{{ no end")
    with pytest.raises(AnsibleError, match=r"no\.such\.filter"):
        render("{{ a | no.such.filter }}", a=1)


def test_the_same_text_with_another_syntax_is_another_template(compiled: list[str]) -> None:
    text = "{{ a }}[[ a ]]"
    assert render(text, a=1) == "1[[ a ]]"
    other = Templar(loader=DataLoader(), variables={"a": 1})
    brackets = {"variable_start_string": "[[", "variable_end_string": "]]"}
    assert other.template(trust_as_template(text), overrides=brackets) == "{{ a }}1"
    assert compiled == [text, text]


def test_a_backslash_means_what_it_meant(compiled: list[str]) -> None:
    text = r"{{ 'a\nb' }}"
    templar = Templar(loader=DataLoader(), variables={})
    escaped = templar.template(trust_as_template(text))
    assert escaped == r"a\nb"
    assert templar.template(trust_as_template(text), escape_backslashes=False) == "a\nb"
    assert templar.template(trust_as_template(text)) == escaped


def test_what_one_run_has_compiled_of_the_roles_the_next_one_has(
    compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(C.config, "get_config_value", lambda name: str(tmp_path))
    texts = ["{{ a }}", "{{ a + 1 }}"]
    for _step in (*warm_templates.load(texts[:1], of_role=True), *warm_templates.load(texts[1:])):
        pass
    warm_templates.keep()
    monkeypatch.setattr(warm_templates, "_codes", {})
    monkeypatch.setattr(warm_templates, "_of_roles", {})
    warm_templates.recall()
    assert [render(text, a=1) for text in texts] == [1, 2]
    # What is no role's may use filters of others, which the file does not know.
    assert compiled == [*texts, texts[1]]


def test_the_roles_whose_templates_are_kept_use_no_filters_of_others() -> None:
    """Whether a filter wants the context is compiled in, so another version of it would need the templates anew."""
    files = [path for path in warm_templates._FILTERS.parents[1].glob("roles/aws_*/**/*") if path.is_file()]
    assert len(files) > 50
    named = {
        name
        for path in files
        for name in re.findall(r"\|\s*([a-z_]+\.[a-z_]+)\.[a-z_]+", path.read_text(encoding="utf-8"))
    }
    assert named <= {"algo.trading", "ansible.builtin"}
