import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from btkd_det.bias import is_right, rectify, register_rule
from btkd_det.bias.rectify import POLE, RULES
from btkd_det.errors import ConfigError

from ..losses import golden

PAIRS = [(rule, space) for rule in ('swap', 'blend', 'pair_blend') for space in ('logits', 'probs')]
ALL = [
    *PAIRS,
    ('label_revision', 'probs'),
    ('posterior', 'logits'),
    ('none', 'logits'),
    ('drop', 'probs'),
]


@st.composite
def batches(draw, max_scale=20.0):
    """Random float64 logits, (N, C), and labels, with 0 to 8 rows and 2 to 6 classes."""
    rows, classes = draw(st.integers(0, 8)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = draw(st.floats(0.1, max_scale))
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale
    return logits, torch.randint(0, classes, (rows,), generator=generator)


def start(logits, space):
    return logits if space == 'logits' else logits.softmax(dim=1)


@pytest.mark.parametrize('case', golden.CASES)
def test_the_published_rows(case):
    arrays = golden.arrays()
    teacher, labels = arrays[f'{case}/teacher'], arrays[f'{case}/labels']
    wrong = ~arrays[f'{case}/right']
    assert torch.equal(~is_right(teacher, labels), wrong)
    for rule, space in PAIRS:
        folder = 'rectified_logits' if space == 'logits' else 'rectified_probs_T1'
        expected = arrays[f'{case}/{folder}/{rule}']
        found = rectify(teacher, labels, rule, space)[wrong]
        # A softmax may differ in its last bit between processors, the logits may not.
        precision = 0 if space == 'logits' else 1e-15
        torch.testing.assert_close(found, expected, rtol=precision, atol=precision)
    for eta in (0.8, 0.95):
        expected = arrays[f'{case}/rectified_probs_T1/label_revision_eta{eta}']
        found = rectify(teacher, labels, 'label_revision', 'probs', eta=eta)[wrong]
        torch.testing.assert_close(found, expected, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(('rule', 'space'), ALL)
@settings(deadline=None, max_examples=25)
@given(batch=batches())
def test_right_rows_come_back_bit_for_bit(rule, space, batch):
    logits, labels = batch
    right = is_right(logits, labels)
    assert torch.equal(rectify(logits, labels, rule, space)[right], start(logits, space)[right])


@pytest.mark.parametrize('rule', ['none', 'drop'])
def test_rules_that_rewrite_nothing(rule):
    logits, labels = torch.randn(6, 4), torch.arange(6) % 4
    assert torch.equal(rectify(logits, labels, rule), logits)


@settings(deadline=None, max_examples=50)
@given(batch=batches(), space=st.sampled_from(['logits', 'probs']))
def test_swap_keeps_the_values_of_a_row(batch, space):
    logits, labels = batch
    swapped = rectify(logits, labels, 'swap', space)
    assert torch.equal(swapped.sort(dim=1).values, start(logits, space).sort(dim=1).values)
    assert is_right(swapped, labels).all()


@settings(deadline=None, max_examples=50)
@given(batch=batches())
def test_pair_blend_keeps_the_sum_of_probabilities(batch):
    logits, labels = batch
    sums = rectify(logits, labels, 'pair_blend', 'probs').sum(dim=1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize('rule', ['blend', 'label_revision'])
@settings(deadline=None, max_examples=50)
@given(batch=batches(max_scale=3.0))
def test_rules_that_always_end_right_on_probabilities(rule, batch):
    logits, labels = batch
    rectified = rectify(logits, labels, rule, 'probs')
    assert is_right(rectified, labels).all()
    sums = rectified.sum(dim=1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_pair_blend_on_probabilities_beats_the_choice_but_not_every_class():
    logits = torch.tensor([[0.35, 0.05, 0.32, 0.28]], dtype=torch.float64).log()
    rectified = rectify(logits, torch.tensor([1]), 'pair_blend', 'probs')[0]
    assert rectified[1] > rectified[0]
    assert rectified.argmax() == 2


def test_blend_and_pair_blend_on_logits_end_right_within_one_of_the_choice_only():
    labels = torch.zeros(2, dtype=torch.long)
    logits = torch.tensor([[2.1, 3.0, -5.0], [1.9, 3.0, -5.0]])
    for rule in ('blend', 'pair_blend'):
        assert is_right(rectify(logits, labels, rule), labels).tolist() == [True, False]


def test_label_revision_leads_by_one_minus_eta():
    probs = torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.float64)
    for eta in (0.8, 0.95):
        label, top, _ = rectify(probs.log(), torch.tensor([0]), 'label_revision', 'probs', eta=eta)[
            0
        ]
        assert (label - top).item() == pytest.approx(1 - eta)


def test_pair_blend_leaves_a_pair_unscaled_near_its_pole():
    gaps = torch.tensor([-0.9, -0.1, -0.009, 0.0, 0.009, 0.1], dtype=torch.float64) * POLE * 2
    top = torch.full_like(gaps, 0.5)
    label = -1.5 + gaps
    rectified = rectify(
        torch.stack([label, top], dim=1), torch.zeros(6, dtype=torch.long), 'pair_blend'
    )
    unscaled = torch.stack([(label + 1) / 2, top / 2], dim=1)
    near = gaps.abs() < POLE
    assert near.tolist() == [False, True, True, True, True, True]
    assert torch.equal(rectified[near], unscaled[near])
    factor = 2 * (-1 + gaps) / gaps
    torch.testing.assert_close(rectified[0], unscaled[0] * factor[0])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(('rule', 'space'), ALL)
def test_half_precision_keeps_its_dtype_and_stays_finite(rule, space, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(64, 5, generator=generator) * 3e3).to(dtype)
    logits[0] = torch.tensor([-6e4, 6e4, 0, 0, 0])
    labels = torch.zeros(64, dtype=torch.long)
    rectified = rectify(logits, labels, rule, space)
    assert rectified.dtype == dtype
    assert rectified.isfinite().all()


def test_rows_called_right_are_left_alone():
    logits, labels = torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0])
    right = torch.tensor([True, False])
    for rule in ('swap', 'pair_blend'):
        rectified = rectify(logits, labels, rule, right=right)
        assert torch.equal(rectified[0], logits[0])
        assert not torch.equal(rectified[1], logits[1])


@pytest.mark.parametrize('rule', ['swap', 'blend', 'pair_blend'])
def test_a_right_class_in_a_wrong_box_has_nothing_to_put_right(rule):
    logits, labels = torch.tensor([[0.0, 1.0]]), torch.tensor([1])
    assert torch.equal(rectify(logits, labels, rule, right=torch.tensor([False])), logits)


@pytest.fixture
def own_rules():
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


@pytest.mark.usefixtures('own_rules')
def test_a_rule_of_ones_own():
    @register_rule('label_first', spaces=('logits',), pair=True)
    def label_first(label_value, top_value, margin=1.0):
        return top_value + margin, top_value

    @register_rule('hundredfold')
    def hundredfold(teacher, labels, predicted):
        return teacher * 100

    @register_rule('one_hot')
    def one_hot(teacher, labels, predicted):
        return torch.nn.functional.one_hot(labels, teacher.shape[1]).to(teacher.dtype)

    logits, labels = torch.tensor([[0.0, 1.0, 5.0], [4.0, 1.0, 2.0]]), torch.tensor([0, 0])
    found = rectify(logits, labels, 'label_first', margin=2.0)
    assert found.tolist() == [[7.0, 1.0, 5.0], [4.0, 1.0, 2.0]]
    found = rectify(logits, labels, 'one_hot', 'probs')
    assert found[0].tolist() == [1.0, 0.0, 0.0]
    assert torch.equal(found[1], logits[1].softmax(dim=0))
    half = torch.tensor([[-1e3, 1e3]], dtype=torch.float16)
    limit = torch.finfo(torch.float16).max
    assert rectify(half, labels[:1], 'hundredfold').tolist() == [[-limit, limit]]
    with pytest.raises(ConfigError, match="space: rule 'label_first' is not defined on 'probs'"):
        rectify(logits, labels, 'label_first', 'probs')
    with pytest.raises(ConfigError, match='is taken'):
        register_rule('swap')(one_hot)


@pytest.mark.usefixtures('own_rules')
def test_a_name_is_not_taken_from_another_function():
    def swap(label_value, top_value):
        return label_value, top_value

    # As in a module or a notebook of one's own, whose function is called as the built-in is.
    swap.__qualname__ = 'swap'
    built_in = RULES['swap']
    with pytest.raises(ConfigError, match=r"name 'swap' is taken by btkd_det\.bias\.rectify\.swap"):
        register_rule('swap', pair=True)(swap)
    assert RULES['swap'] is built_in
    with pytest.raises(ConfigError, match='is taken by'):
        register_rule('drop', pair=True)(swap)
    with pytest.raises(ConfigError, match='is taken by'):
        register_rule('none')(functools.partial(swap, 1))
    register_rule('first')(lambda teacher, labels, predicted: teacher)
    with pytest.raises(ConfigError, match=r"'first' is taken by .*<lambda>"):
        register_rule('first')(lambda teacher, labels, predicted: -teacher)


@pytest.mark.usefixtures('own_rules')
def test_a_module_that_is_imported_again_replaces_its_rules():
    for factor in (2, 3):

        @register_rule('mine')
        def mine(teacher, labels, predicted, factor=factor):
            return teacher * factor

    logits, labels = torch.tensor([[0.0, 1.0]]), torch.tensor([0])
    assert rectify(logits, labels, 'mine').tolist() == [[0.0, 3.0]]


def test_what_does_not_exist():
    logits, labels = torch.randn(2, 3), torch.tensor([0, 1])
    with pytest.raises(
        ConfigError, match="rectify: 'swop', which is no rule .*; valid: swap, blend"
    ):
        rectify(logits, labels, 'swop')
    with pytest.raises(ConfigError, match="space: 'log' .*; valid: logits, probs"):
        rectify(logits, labels, 'swap', 'log')
    with pytest.raises(ConfigError, match="'label_revision' is not defined on 'logits'; valid: pr"):
        rectify(logits, labels, 'label_revision')
    with pytest.raises(ConfigError, match="eta: rule 'swap' has no such option; its options: none"):
        rectify(logits, labels, 'swap', eta=0.9)
    with pytest.raises(ConfigError, match="spaces: 'z'; valid"):
        register_rule('mine', spaces=('z',))


def test_posterior_is_bayes_rule_with_the_teacher_as_the_prior():
    logits = torch.tensor([[2.0, 0.5, -1.0, 0.0], [0.1, 0.0, 0.2, 0.3]], dtype=torch.float64)
    labels = torch.tensor([1, 2])
    noise = 0.1
    likelihood = torch.full((2, 4), noise / 3, dtype=torch.float64)
    likelihood[torch.arange(2), labels] = 1 - noise
    expected = logits.softmax(dim=1) * likelihood
    expected = expected / expected.sum(dim=1, keepdim=True)
    found = rectify(logits, labels, 'posterior', label_noise=noise).softmax(dim=1)
    torch.testing.assert_close(found, expected)


def test_posterior_lets_the_label_win_where_the_teacher_hardly_errs_only():
    labels = torch.tensor([1, 1])
    logits = torch.tensor([[1.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    assert is_right(rectify(logits, labels, 'posterior'), labels).tolist() == [True, False]


def test_posterior_keeps_an_object_that_the_teacher_is_sure_of_where_objects_are_missed():
    sure = torch.tensor([[4.0, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    background = torch.tensor([2, 2])
    found = rectify(sure, background, 'posterior', label_noise=0.1, missed=0.3)
    assert found.argmax(dim=1).tolist() == [0, 2]
    # P(background | object) = 0.3, P(background | background) = 0.9.
    expected = sure.softmax(dim=1) * torch.tensor([0.3, 0.3, 0.9], dtype=torch.float64)
    expected = expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(found.softmax(dim=1), expected)
    objects = torch.tensor([1, 1])
    plain = rectify(sure, objects, 'posterior', label_noise=0.1)
    assert torch.equal(rectify(sure, objects, 'posterior', label_noise=0.1, missed=0.3), plain)


def test_posterior_takes_rates_as_tensors():
    logits = torch.tensor([[2.0, 0.5, -1.0], [2.0, 0.5, -1.0]])
    labels = torch.tensor([1, 2])
    expected = rectify(logits, labels, 'posterior', label_noise=0.2, missed=0.4)
    rates = dict(label_noise=torch.tensor(0.2), missed=torch.tensor(0.4))
    torch.testing.assert_close(rectify(logits, labels, 'posterior', **rates), expected)
