"""Shows what docstrings mark up for Sphinx, such as ``:class:`~a.b.C```, as the code that it is."""

import re

import griffe

ROLE = re.compile(r':(?:class|func|meth|mod|attr|data|exc):`(~?)([^`]+)`')


class Roles(griffe.Extension):
    """Rewrites the docstrings of what is collected."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Rewrite one docstring."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(_code, obj.docstring.value)


def _code(match: re.Match) -> str:
    name = match[2].rpartition('.')[2] if match[1] else match[2]
    return f'`{name}`'
