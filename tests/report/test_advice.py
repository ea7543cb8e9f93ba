import pytest

from btkd_det.report.advice import advise, mean_confidence


def found(right, rows=1000, background=0, sure=False, foreground=None):
    """What a bias report finds, as far as the advice reads it."""
    wrong = rows - right
    counts = [0] * 10
    counts[9 if sure else 3] = wrong
    result = dict(rows=rows, right=right, right_rate=right / rows)
    result['kinds'] = dict(another_class=wrong - background)
    result['confidence'] = dict(bins=10, wrong=counts, right=[0] * 9 + [right])
    if foreground is not None:
        result['foreground'] = dict(rows=100, right=foreground, right_rate=foreground / 100)
        result['kinds']['background_as_object'] = background
    return result


@pytest.mark.parametrize(
    ('teacher', 'student', 'preset', 'words'),
    [
        (found(800), None, 'btkd', ['right on 80.0 % of the images']),
        (found(995), None, 'kd', ['nothing to put right', 'btkd-paper fades to nothing']),
        (found(300), None, 'btkd', ['right on 30.0 %', 'give it as --student']),
        (found(90), None, None, ['right on 9.0 %', 'hardly anything', 'look for a better one']),
        (found(90), found(20), 'btkd', ['errs only 7 % less often']),
        (found(300), found(500), None, ['alone is right on 50.0 %', 'nothing to teach it']),
        (found(500), found(500), None, ['nothing to teach it']),
        (found(550), found(500), 'btkd', ['errs only 10 % less often', 'Expect the plain student']),
        (found(800), found(500), 'btkd', ['the teacher errs 60 % less often']),
        (found(800, sure=True), None, 'btkd', ['sure of its mistakes (95 % on average)']),
        (
            found(800, background=150, foreground=90),
            None,
            'btkd',
            ['right on 90.0 % of the objects', '75 % of its mistakes are objects where nothing'],
        ),
        (
            found(900, foreground=60),
            found(800, foreground=70),
            None,
            ['alone is right on 70.0 %'],
        ),
    ],
)
def test_the_advice_and_the_figures_it_rests_on(teacher, student, preset, words):
    advice = advise(teacher, student)
    assert advice.preset == preset
    text = ' '.join(advice.lines())
    for word in words:
        assert word in text
    assert text.endswith('Measured in docs/results.md.')
    assert text.startswith(
        'Advice: do not distill' if preset is None else f'Advice: --distill {preset}.'
    )


def test_few_mistakes_of_kinds_are_not_named():
    text = ' '.join(advise(found(800, background=50, foreground=90)).lines())
    assert 'annotated' not in text
    assert 'sure of its mistakes' not in text


def without_objects():
    result = found(900, foreground=0)
    result['foreground'] = dict(rows=0, right=0, right_rate=None)
    return result


@pytest.mark.parametrize('student', [None, found(800, foreground=70)], ids=['alone', 'student'])
def test_data_without_objects_give_no_advice(student):
    advice = advise(without_objects(), student)
    assert (advice.preset, advice.measured) == (None, False)
    assert advice.lines() == [
        'No advice.',
        'The teacher was judged on no object: nothing was measured.',
    ]


def test_no_advice_without_an_image():
    result = dict(found(0), rows=0, right=0, right_rate=None)
    assert 'judged on no image: nothing' in ' '.join(advise(result).lines())


@pytest.mark.parametrize(
    ('teacher', 'preset', 'words'),
    [(90, 'btkd', 'right on 90.0 %'), (5, None, 'hardly anything'), (100, 'kd', 'put right')],
)
def test_a_student_that_was_judged_on_no_object_is_not_compared(teacher, preset, words):
    advice = advise(found(999, foreground=teacher), without_objects())
    text = ' '.join(advice.lines())
    assert (advice.preset, advice.measured) == (preset, True)
    assert words in text
    assert 'The student was judged on no object: the two are not compared.' in text
    assert '--student' not in text


def test_a_detector_without_background_rows_gets_advice():
    result = found(500, foreground=50)
    result['background'] = dict(rows=0, right=0, right_rate=None)
    result['kinds']['background_as_object'] = 0
    advice = advise(result)
    assert advice.preset == 'btkd'
    assert 'background' not in ' '.join(advice.lines())


def test_the_mean_confidence_is_that_of_the_bins():
    bins = dict(bins=4, wrong=[1, 0, 0, 3], right=[0] * 4)
    assert mean_confidence(bins) == pytest.approx((0.125 + 3 * 0.875) / 4)
    assert mean_confidence(bins, 'right') is None


def test_a_teacher_that_takes_background_for_objects_has_not_found_what_nobody_annotated():
    result = found(300, background=650, foreground=40)
    result['background'] = dict(rows=900, right=90, right_rate=0.1)
    text = ' '.join(advise(result).lines())
    assert 'knows the background on 10 % of its places' in text
    assert 'nothing is annotated' not in text
