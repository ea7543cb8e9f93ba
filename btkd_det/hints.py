"""Names for types that hints use and that no package states."""

from typing import Any, TypeAlias

#: A model of a host package, or a part of one: its attributes are known to that package alone, and
#: what of them is there is checked when a distilled model is built.
Model: TypeAlias = Any
