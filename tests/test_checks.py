"""Values of a config are refused in one form: the field, the value, what would be valid."""

import re

import numpy as np
import pytest

from btkd_det import checks
from btkd_det.errors import ConfigError

REFUSED = {
    'above': (lambda: checks.check_positive(a=0), 'a: 0; valid: a number above 0'),
    'negative': (lambda: checks.check_not_negative(a=-1), 'a: -1; valid: a number of at least 0'),
    'fraction': (
        lambda: checks.check_fraction(a=1),
        'a: 1; valid: a number of at least 0 and below 1',
    ),
    'text': (lambda: checks.check_positive(a='4'), "a: '4'; valid: a number above 0"),
    'nan': (lambda: checks.check_positive(a=float('nan')), 'a: nan; valid: a number above 0'),
    'infinite': (lambda: checks.check_positive(a=float('inf')), 'a: inf; valid: a number above 0'),
    'bool': (lambda: checks.check_positive(a=True), 'a: True; valid: a number above 0'),
    'both ends': (
        lambda: checks.check_number('a.b', 2, least=0, most=1, optional=True),
        'a.b: 2; valid: a number from 0 to 1, or None',
    ),
    'or a text': (
        lambda: checks.check_number('a', 'guessed', above=0, below=1, other=('estimated',)),
        "a: 'guessed'; valid: a number above 0 and below 1, or 'estimated'",
    ),
    'none': (lambda: checks.check_number('a', None), 'a: None; valid: a number'),
    'no count': (lambda: checks.check_count(a=0), 'a: 0; valid: a whole number of at least 1'),
    'half': (lambda: checks.check_count(a=1.0), 'a: 1.0; valid: a whole number of at least 1'),
    'too large': (
        lambda: checks.check_whole('a', 9, least=0, below=9),
        'a: 9; valid: a whole number of at least 0 and below 9',
    ),
    'no bool': (lambda: checks.check_bool(a=1), 'a: 1; valid: True, False'),
    'choice': (
        lambda: checks.check_choice('a', 'tow', ('one', 'two')),
        "a: 'tow' (did you mean 'two'?); valid: one, two",
    ),
    'choice of a kind': (
        lambda: checks.check_choice('a', 5, ('one', 'two'), 'word'),
        'a: 5, which is no word; valid: one, two',
    ),
    'true is not one': (lambda: checks.check_choice('a', True, (1, 2)), 'a: True; valid: 1, 2'),
    'an array': (
        lambda: checks.check_choice('a', np.zeros(2), ('x',)),
        'a: array([0., 0.]); valid: x',
    ),
    'key': (
        lambda: checks.check_known_keys('a', dict(onee=1), ('one', 'two')),
        "a: unknown key 'onee' (value 1) (did you mean 'one'?); valid keys: one, two",
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_refused(case):
    check, message = REFUSED[case]
    with pytest.raises(ConfigError, match=f'^{re.escape(message)}$'):
        check()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r'^a: no file .*/x \(looked in .*\); valid: another$'):
        checks.check_file('a', tmp_path / 'x', 'another')
    with pytest.raises(ConfigError, match='no file'):
        checks.check_file('a', tmp_path, 'another')


def test_what_is_taken(tmp_path):
    (tmp_path / 'x').touch()
    checks.check_file('a', tmp_path / 'x', 'another')
    checks.check_positive(a=1e-9, b=3, c=np.float32(2))
    checks.check_fraction(a=0, b=0.999)
    checks.check_count(a=1, b=np.int64(7))
    checks.check_number('a', None, optional=True)
    checks.check_number('a', 'estimated', above=0, other=('estimated',))
    checks.check_number('a', 1, least=0, most=1)
    checks.check_bool(a=True, b=False)
    checks.check_choice('a', None, (None, 'x'))
    checks.check_choice('a', True, (True, 'x'))
    checks.check_choice('a', 0.5, (0.5, 1))
    checks.check_known_keys('a', {}, ())
