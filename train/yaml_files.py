"""YAML as people write it: ``3e-3`` is a number, and a key that is given twice is an error.

Numbers, booleans and null are those of YAML 1.2 (its core schema). What earlier versions took for one, and 1.2 takes
for text, is an error: ``1:30`` was 90, ``1_000`` a number and ``no`` false.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from train.files import read_text

_TAG = "tag:yaml.org,2002:"
#: YAML 1.2.2, section 10.3.2: what is not quoted is of the first kind whose pattern it has, text if there is none.
_CORE = {
    "null": re.compile(r"^(?:null|Null|NULL|~|)$"),
    "bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "int": re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"),
    "float": re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
}
_EARLIER = yaml.SafeLoader.yaml_implicit_resolvers
_TEXT = f"{_TAG}str"


class _Loader(yaml.SafeLoader):
    """The core schema, and nothing else that a tag may ask for."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's
    yaml_constructors = {  # noqa: RUF012
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("str", "seq", "map")
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.MarkedYAMLError(problem=f"the key {twice[0]!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave ``<<`` alone: YAML 1.2 has no merge keys."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        tag = str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        if kind is yaml.ScalarNode and implicit[0] and tag == _TEXT and _was_something_else(value):
            raise yaml.YAMLError(
                f"{value!r} is text in YAML 1.2 and was something else before: write true or false, a plain number, or "
                f"quotes around a text"
            )
        return tag

    def construct_scalar_of(self, node: yaml.ScalarNode) -> Any:
        """Return null, a boolean or a number, also where a tag asks for it."""
        kind, text = node.tag.removeprefix(_TAG), str(self.construct_scalar(node))
        if not (_CORE[kind].match(text) or (kind == "float" and _CORE["int"].match(text))):
            raise yaml.MarkedYAMLError(problem=f"{text!r} is no {kind}", problem_mark=node.start_mark)
        if kind in ("null", "bool"):
            return None if kind == "null" else text.lower() == "true"
        if kind == "int" or _CORE["int"].match(text):
            number = int(text, 0 if text[:2] in ("0o", "0x") else 10)
            return number if kind == "int" else float(number)
        sign, named = ("-" if text.startswith("-") else ""), text.lower().lstrip("+-")
        return float(f"{sign}{named[1:]}") if named in (".inf", ".nan") else float(text)


class _Dumper(yaml.SafeDumper):
    """Text that YAML 1.1 or 1.2 takes for something else is quoted."""


for _kind, _pattern in _CORE.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, [*"-+.0123456789nNtTfF~", ""])
    _Loader.add_constructor(f"{_TAG}{_kind}", _Loader.construct_scalar_of)
for _kind in ("int", "float"):
    _Dumper.add_implicit_resolver(f"{_TAG}{_kind}", _CORE[_kind], list("-+.0123456789"))


def _was_something_else(text: str) -> bool:
    """Whether YAML 1.1 took an unquoted text for a number, a boolean, a date or a merge key."""
    return any(pattern.match(text) for _, pattern in _EARLIER.get(text[:1], []))


def parse_yaml(text: str, source: str) -> Any:
    """Return the value of a YAML text; ``source`` says in the error message where it came from.

    Raises:
        ValueError: the text is not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise ValueError(f"{source} is not valid YAML: {detail}") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        ValueError: the file cannot be read or holds something else.
    """
    data = parse_yaml(read_text(path), str(path))
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a mapping of keys to values, got {type(data).__name__}")
    return data


def dump_yaml(data: Any) -> str:
    """Return a mapping as YAML, keys in the order they have."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def dump_value(value: Any) -> str:
    """Return a value as one line of YAML, as it is written after ``--set key=``."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
