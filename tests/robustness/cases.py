"""What a case is, and the list of all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from .place import Place

ALL: list = []


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name (str): ``kind/what``.
        spoil (Callable): Changes a :class:`Place`.
        expected (str): ``refused``: one line before anything is written; ``trained``: it is no
            fault; ``mended``: trained, with a warning.
        words (tuple[str, ...]): What the line, or the warning, has to say.
    """

    name: str
    spoil: Callable[[Place], None]
    expected: str
    words: tuple

    def fault(self, outcome) -> str | None:
        """What is wrong with the outcome, or None."""
        verdict = outcome.verdict
        if verdict != ('trained' if self.expected == 'mended' else self.expected):
            return verdict
        text = outcome.text if self.expected == 'mended' else outcome.last
        missing = [word for word in self.words if word not in text]
        if missing and self.expected != 'trained':
            return f'does not say {missing}'
        if self.expected == 'mended' and not any(
            'WARNING' in line and self.words[0] in line for line in text.splitlines()
        ):
            return 'no warning'
        return None


def add(name, spoil, *words, expected='refused'):
    """Add a case to the list."""
    assert name not in {case.name for case in ALL}, name
    ALL.append(Case(name, spoil, expected, words))


def add_lines(name, lines, *words, expected='refused', args=()):
    """Add a case that is Python at the end of the config, or a command line."""

    def spoil(place):
        place.lines.append(lines.replace('DATA', str(place.data)))
        place.args += [arg.replace('DATA', str(place.data)) for arg in args]

    add(name, spoil, *words, expected=expected)
