"""Where is the teacher wrong, and what then? Three small steps that know torch alone."""

from .curriculum import curriculum
from .judge import is_right
from .rectify import rectify
from .rules import register_rule

__all__ = ['curriculum', 'is_right', 'rectify', 'register_rule']
