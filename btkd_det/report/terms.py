"""What the entries of a distilled training's log are, in words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

PREFIX = 'distill.'
#: What the losses log beside their values, in the order in which it is shown.
WORDS = {
    'right': 'right',
    'right_foreground': 'right on objects',
    'trust': 'trust',
    'gamma': 'gamma',
    'teacher_right': 'teacher right',
    'student_right': 'student right',
    'easy': 'easy',
    'hard': 'hard',
    'label_noise': 'label noise',
    'missed': 'missed',
    'teacher_scale': 'teacher scale',
    'seen': 'seen',
}
#: What each means; the page on watching a training has the same table.
MEANINGS = {
    'loss': 'the term as it is added to the losses, its weight included',
    'right': 'share of the rows (RoIs, anchors, images) that count as right, by judge=...',
    'right_foreground': 'the same, of the rows that show an object',
    'trust': 'how much of the term is left; 0 where the teacher is not ahead of the student',
    'gamma': 'the curriculum: weight of the rows that were put right, from 0 to 1',
    'teacher_right': 'share of the objects (images) whose class the teacher chooses; running mean',
    'student_right': 'the same of the student; trust compares the two',
    'easy': "the host's mean over the rows on which the teacher is right",
    'hard': "the host's mean over the rows that were put right",
    'label_noise': 'estimated share of labels that are wrong',
    'missed': 'estimated share of background rows that show an object nobody annotated',
    'teacher_scale': 'above 1: the teacher doubts more than it errs; below 1: it is too sure',
    'seen': 'share of the rows whose class has a mean by now',
}
#: Those that are shares of rows, shown in percent.
SHARES = (
    *('right', 'right_foreground', 'teacher_right', 'student_right'),
    *('label_noise', 'missed', 'seen'),
)


@dataclass(frozen=True)
class Term:
    """An entry ``distill.<site>.<name>`` of the log.

    Attributes:
        key (str): The entry.
        site (str): Where, with the stage of a cascade: ``'roi_logits.s1'``.
        name (str): What, with the number of a second loss of that name: ``'loss_kd2'``.
    """

    key: str
    site: str
    name: str

    @property
    def kind(self) -> str:
        """The name without a number."""
        return re.sub(r'\d+$', '', self.name)

    @property
    def is_loss(self) -> bool:
        """Whether it is one of the terms that are added up."""
        return self.name.startswith('loss_')

    @property
    def title(self) -> str:
        """The name in words."""
        number = self.name.removeprefix(self.kind)
        words = self.kind if self.is_loss else WORDS.get(self.kind, self.kind.replace('_', ' '))
        return f'{words.removeprefix("loss_")} {number}'.strip()

    @property
    def meaning(self) -> str:
        """What it is; nothing of what only a user's own loss knows."""
        return MEANINGS.get('loss' if self.is_loss else self.kind, '')

    def text(self, value: float) -> str:
        """The value as it is read.

        Args:
            value (float): Of the log.
        """
        if self.kind in SHARES:
            return f'{100 * value:.0f} %'
        return f'{value:.3g}' if self.is_loss or abs(value) >= 100 else f'{value:.2f}'


def terms_of(keys: Iterable[str]) -> list[Term]:
    """The entries of distillation among those of a log.

    Args:
        keys (Iterable[str]): Names without ``train/`` before them.

    Returns:
        list[Term]: Site by site in the log's order; of a site the losses first, then the order
        of :data:`WORDS`.
    """
    terms = []
    for key in keys:
        site, _, name = key.removeprefix(PREFIX).rpartition('.')
        if key.startswith(PREFIX) and site:
            terms.append(Term(key, site, name))
    sites = list(dict.fromkeys(term.site for term in terms))
    known = list(WORDS)
    place = lambda term: known.index(term.kind) if term.kind in known else len(known)
    return sorted(terms, key=lambda t: (sites.index(t.site), not t.is_loss, place(t)))
