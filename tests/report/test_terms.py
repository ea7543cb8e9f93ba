"""The log's entries in words."""

import re
from pathlib import Path

import pytest

from btkd_det.report.terms import MEANINGS, WORDS, terms_of

PAGE = Path(__file__).parents[2] / 'docs' / 'watching.md'


def test_site_by_site_losses_first_then_in_the_order_of_the_words():
    keys = [
        'loss',
        'distill.roi_logits.s1.trust',
        'distill.fpn.loss_pkd',
        'distill.roi_logits.s1.own_count',
        'distill.roi_logits.s1.right',
        'distill.roi_logits.s1.loss_kd2',
        'lr',
    ]
    found = [(term.site, term.title, term.is_loss) for term in terms_of(keys)]
    assert found == [
        ('roi_logits.s1', 'kd 2', True),
        ('roi_logits.s1', 'right', False),
        ('roi_logits.s1', 'trust', False),
        ('roi_logits.s1', 'own count', False),
        ('fpn', 'pkd', True),
    ]


@pytest.mark.parametrize(
    ('name', 'value', 'text'),
    [
        ('right', 0.876, '88 %'),
        ('right_foreground2', 0.5, '50 %'),
        ('label_noise', 0.013, '1 %'),
        ('trust', 0.876, '0.88'),
        ('teacher_scale', 1.064, '1.06'),
        ('loss_btkd', 0.012345, '0.0123'),
        ('loss_btkd', 1234.5, '1.23e+03'),
    ],
)
def test_a_value_as_it_is_read(name, value, text):
    (term,) = terms_of([f'distill.logits.{name}'])
    assert term.text(value) == text


def test_every_word_has_a_meaning_and_the_page_has_it():
    assert set(MEANINGS) == {'loss', *WORDS}
    rows = dict(re.findall(r'^\| `(?:loss_\.\.\.|(\w+))` \| (.+?) \|$', PAGE.read_text(), re.M))
    assert rows == {'' if kind == 'loss' else kind: text for kind, text in MEANINGS.items()}
