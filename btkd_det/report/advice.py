"""What a teacher's mistakes advise: which preset, or not to distill its logits at all."""

from dataclasses import dataclass, field

#: The teacher's errors have to be fewer than the student's by this share; as the margin of
#: :class:`~btkd_det.losses.trust.MeasuredTrust`.
MARGIN = 0.2
#: From this right-rate on nothing is left to put right.
ALWAYS_RIGHT = 0.99
#: Below, a teacher is not worth a training without having been held against the student.
HARDLY_EVER = 0.1
#: A mean confidence on mistakes above which the teacher is sure of them.
SURE = 0.7
#: Where the rules come from.
STUDY = 'docs/results.md'


@dataclass
class Advice:
    """A recommendation, or that there can be none.

    Attributes:
        preset (str | None): Of ``--distill``; None advises against distilling the logits, where
            something was measured.
        reasons (list[str]): Sentences with the figures that it rests on.
        study (str): The page with the measurements behind the rules.
        measured (bool): Whether there is anything to rest on. If not, it advises nothing.
    """

    preset: str | None
    reasons: list[str] = field(default_factory=list)
    study: str = STUDY
    measured: bool = True

    def lines(self) -> list[str]:
        """The recommendation in words, the preset first."""
        if not self.measured:
            return ['No advice.', *self.reasons]
        if self.preset is None:
            first = 'Advice: do not distill the logits of this teacher.'
        else:
            first = f'Advice: --distill {self.preset}.'
        return [first, *self.reasons, f'Measured in {self.study}.']


def advise(result: dict, student: dict | None = None) -> Advice:
    """What to do with a teacher.

    Args:
        result (dict): What was found of the teacher, from
            :meth:`~btkd_det.report.teacher_bias.BiasCount.result`.
        student (dict, optional): The same of the student, trained alone, on the same data.

    Returns:
        Advice: The recommendation.
    """
    rate, subject = judged(result)['right_rate'], 'object' if 'foreground' in result else 'image'
    if rate is None:
        reasons = [f'The teacher was judged on no {subject}: nothing was measured.']
        return Advice(None, reasons, measured=False)
    reasons = [f'The teacher is right on {100 * rate:.1f} % of the {subject}s.']
    students = None if student is None else judged(student)['right_rate']
    if students is not None and _beside_the_student(rate, students, reasons):
        return Advice(None, reasons)
    if student is not None and students is None:
        reasons.append(f'The student was judged on no {subject}: the two are not compared.')
    if rate >= ALWAYS_RIGHT and result['right_rate'] >= ALWAYS_RIGHT:
        reasons.append(
            'The teacher leaves nothing to put right: btkd is then KD, and btkd-paper fades to '
            'nothing at the end of training.'
        )
        return Advice('kd', reasons)
    if students is None and rate < HARDLY_EVER:
        reasons.append(
            'The teacher has learned hardly anything: look for a better one, or train it longer.'
        )
        if student is None:
            reasons.append(
                'A student alone, given as --student, would show whether it is ahead of that.'
            )
        return Advice(None, reasons)
    if student is None and rate < 0.5:
        reasons.append(
            'That is few: a student alone may be better. Train it once and give it as --student, '
            'which compares the two.'
        )
    reasons += _kinds_of_mistakes(result)
    return Advice('btkd', reasons)


def judged(result: dict) -> dict:
    """The rates of what trust counts: objects in a detector, images in a classifier.

    Args:
        result (dict): See :func:`advise`.

    Returns:
        dict: With ``rows``, ``right`` and ``right_rate``, which is None without rows.
    """
    return result.get('foreground', result)


def _beside_the_student(teacher: float, student: float, reasons: list[str]) -> bool:
    """Whether the teacher is not ahead; adds the reason."""
    lead = 1 - (1 - teacher) / max(1 - student, 1e-3)
    compared = f'The student alone is right on {100 * student:.1f} %'
    if lead <= 0:
        reasons.append(f'{compared}: the teacher has nothing to teach it at its logits.')
        return True
    if lead < MARGIN:
        reasons.append(
            f'{compared}: the teacher errs only {100 * lead:.0f} % less often, and btkd fades its '
            f'term below {100 * MARGIN:.0f} %. Expect the plain student.'
        )
    else:
        reasons.append(f'{compared}: the teacher errs {100 * lead:.0f} % less often.')
    return False


def _kinds_of_mistakes(result: dict) -> list[str]:
    """What the mistakes are like, where that changes what to look at."""
    found = []
    wrong = result['rows'] - result['right']
    background = result['kinds'].get('background_as_object', 0)
    known = result.get('background', {}).get('right_rate')
    if known is not None and known < 0.5:
        found.append(
            f'It knows the background on {100 * known:.0f} % of its places alone: its box head has '
            'not learned it yet.'
        )
    elif 2 * background > wrong:
        found.append(
            f'{100 * background / wrong:.0f} % of its mistakes are objects where nothing is '
            'annotated, which btkd leaves as the teacher says them. Look at the pictures before '
            'you believe either.'
        )
    sure = mean_confidence(result['confidence'])
    if sure is not None and sure > SURE:
        found.append(
            f'It is sure of its mistakes ({100 * sure:.0f} % on average): either labels are wrong '
            'there, or it learned wrong labels by heart. The pictures tell which.'
        )
    return found


def mean_confidence(found: dict, kind: str = 'wrong') -> float | None:
    """Mean probability of the teacher's choice, by the middles of the bins.

    Args:
        found (dict): ``bins`` and the counts ``wrong`` and ``right``, a number for each bin.
        kind (str): Which counts. Defaults to ``'wrong'``.

    Returns:
        float | None: From 0 to 1; None without rows.
    """
    counts = found[kind]
    total = sum(counts)
    if not total:
        return None
    return sum((i + 0.5) / found['bins'] * n for i, n in enumerate(counts)) / total
