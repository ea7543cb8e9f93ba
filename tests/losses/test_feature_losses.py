"""Feature losses: the published values, their edges, adapters and gates."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.losses.cwd import CWDLoss
from btkd_det.losses.fitnet import FitNetLoss
from btkd_det.losses.pkd import PKDLoss
from btkd_det.losses.reviewkd import ReviewKDLoss, hierarchical_context_loss

GOLDEN = Path(__file__).parents[1] / 'golden'
LOSSES = [FitNetLoss, PKDLoss, CWDLoss]


@pytest.fixture(scope='module')
def golden():
    arrays = np.load(GOLDEN / 'features.npz')
    return arrays, json.loads((GOLDEN / 'features.json').read_text())


def maps(arrays, who, grad=False):
    return [torch.tensor(arrays[f'{who}/{i}']).requires_grad_(grad) for i in range(3)]


@pytest.mark.parametrize(
    ('name', 'loss', 'levels'),
    [
        ('reviewkd_hcl', hierarchical_context_loss, 3),
        ('pkd', PKDLoss(), 3),
        ('cwd_tau1_level0', CWDLoss(temperature=1.0), 1),
        ('cwd_tau4_level0', CWDLoss(temperature=4.0), 1),
    ],
)
def test_values_and_gradients_of_the_published_code(golden, name, loss, levels):
    arrays, values = golden
    student, teacher = maps(arrays, 'student', grad=True), maps(arrays, 'teacher')
    value = loss(student[:levels], teacher[:levels])
    assert value.item() == pytest.approx(values[name], rel=1e-6)
    if f'grad/{name}' in arrays:
        value.backward()
        expected = torch.tensor(arrays[f'grad/{name}'], dtype=torch.float64)
        torch.testing.assert_close(student[0].grad, expected, rtol=1e-5, atol=1e-8)


def test_golden_gradients_are_there(golden):
    assert {'grad/pkd', 'grad/reviewkd_hcl'} <= set(golden[0])


def random_maps(channels=4, sizes=((8, 12), (4, 6)), seed=0, batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, channels, *s, generator=generator).to(dtype) for s in sizes]


@pytest.mark.parametrize('cls', LOSSES)
def test_equal_maps_cost_nothing(cls):
    student = random_maps()
    assert cls()(student, [m.clone() for m in student]).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize('cls', LOSSES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_large_values_stay_finite_and_the_teacher_gets_no_gradient(cls, dtype):
    student, teacher = (
        [(m * 1e4).clamp(-6e4, 6e4).requires_grad_() for m in random_maps(seed=seed, dtype=dtype)]
        for seed in (0, 1)
    )
    loss = cls()(student, teacher)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(m.grad).all() for m in student)
    assert all(m.grad is None for m in teacher)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_the_hierarchical_context_alone_in_half_precision(dtype):
    student, teacher = (
        [(m * 1e4).clamp(-6e4, 6e4) for m in random_maps(seed=seed, dtype=dtype)] for seed in (0, 1)
    )
    found = hierarchical_context_loss(student, teacher)
    assert found.dtype == torch.float32
    expected = hierarchical_context_loss(*([m.float() for m in ms] for ms in (student, teacher)))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('cls', LOSSES)
def test_a_constant_map_has_a_finite_gradient(cls):
    student = [torch.ones(2, 4, 3, 3, requires_grad=True)]
    cls()(student, [torch.randn(2, 4, 3, 3)]).backward()
    assert torch.isfinite(student[0].grad).all()


@pytest.mark.parametrize('cls', LOSSES)
def test_no_images_cost_an_exact_zero_with_a_gradient(cls):
    student = [torch.zeros(0, 4, 8, 8, requires_grad=True)]
    loss = cls()(student, [torch.zeros(0, 4, 8, 8)])
    loss.backward()
    assert loss.item() == 0
    assert student[0].grad is not None


@pytest.mark.parametrize('build', [FitNetLoss, lambda: ReviewKDLoss(mid_channels=4)])
def test_without_images_all_that_is_learned_still_takes_part(build):
    loss = build()
    loss.fit([(4, 8, 8), (4, 4, 4)], [(6, 8, 8), (6, 4, 4)])
    student = [torch.zeros(0, 4, side, side, requires_grad=True) for side in (8, 4)]
    value = loss(student, [torch.zeros(0, 6, side, side) for side in (8, 4)])
    assert value.item() == 0
    value.backward()
    assert list(loss.parameters())
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert not any(parameter.grad.any() for parameter in loss.parameters())


@pytest.mark.parametrize('cls', LOSSES)
def test_levels_choose_and_weights_scale(cls):
    student, teacher = random_maps(), random_maps(seed=1)
    both = cls(loss_weight=2.0)(student, teacher)
    one = [cls(levels=(i,), loss_weight=2.0)(student, teacher) for i in (0, 1)]
    torch.testing.assert_close(both, one[0] + one[1])
    torch.testing.assert_close(both, 2 * cls()(student, teacher))


@pytest.mark.parametrize('cls', [*LOSSES, ReviewKDLoss])
def test_levels_are_compared_with_the_teachers_of_the_same_stride(cls):
    sizes = ((16, 16), (8, 8), (4, 4))
    student, teacher = random_maps(sizes=sizes[1:]), random_maps(sizes=sizes, seed=1)
    shapes = [[m.shape[1:] for m in maps] for maps in (student, teacher)]
    gate = [torch.rand(2, 1, *m.shape[2:]) for m in teacher]
    values = []
    for options, partners in (
        (dict(levels=(1, 0), teacher_levels=(2, 1)), slice(0, 3)),
        (dict(), slice(1, 3)),
    ):
        torch.manual_seed(0)
        loss = cls(**options)
        loss.fit(shapes[0], shapes[1][partners])
        values.append(loss(student, teacher[partners], gate[partners]))
        assert not getattr(loss, 'adapters', None)
    torch.testing.assert_close(*values)
    assert values[0] > 0


@pytest.mark.parametrize('cls', [FitNetLoss, PKDLoss])
def test_an_even_gate_changes_nothing_and_a_closed_one_hides(cls):
    student, teacher = random_maps(), random_maps(seed=1)
    even = [torch.full((2, 1, *m.shape[2:]), 1 / (2 * m[0, 0].numel())) for m in student]
    torch.testing.assert_close(cls()(student, teacher, even), cls()(student, teacher))
    closed = [torch.zeros_like(gate) for gate in even]
    assert cls()(student, teacher, closed) == 0


def test_cwd_leaves_out_what_the_gate_closes():
    student, teacher = random_maps(), random_maps(seed=1)
    gate = [torch.zeros(2, 1, *m.shape[2:]) for m in student]
    for part in gate:
        part[..., :2] = 1
    cut = lambda levels: [m[..., :2] for m in levels]
    gated = CWDLoss()(student, teacher, gate)
    torch.testing.assert_close(gated, CWDLoss()(cut(student), cut(teacher)))


def test_cwd_leaves_out_images_that_the_gate_closes():
    student, teacher = random_maps(), random_maps(seed=1)
    gate = [torch.rand(2, 1, *m.shape[2:]) for m in student]
    first = lambda levels: [m[:1] for m in levels]
    alone = CWDLoss()(first(student), first(teacher), first(gate))
    for part in gate:
        part[1] = 0
    student = [m.requires_grad_() for m in student]
    value = CWDLoss()(student, teacher, gate)
    torch.testing.assert_close(value, alone)
    value.backward()
    assert all(m.grad[1].abs().sum() == 0 for m in student)
    assert CWDLoss()(student, teacher, [0 * part for part in gate]) == 0


@pytest.mark.parametrize('cls', [*LOSSES, ReviewKDLoss])
def test_other_channels_and_sizes_are_adapted(cls):
    student = random_maps(channels=4, sizes=((8, 12), (4, 6)))
    teacher = random_maps(channels=6, sizes=((16, 24), (4, 6)), seed=1)
    loss = cls()
    loss.fit([m.shape[1:] for m in student], [m.shape[1:] for m in teacher])
    value = loss(student, teacher)
    value.backward()
    learned = dict(loss.named_parameters())
    assert learned
    assert all(p.grad is not None for p in learned.values()), [
        n for n, p in learned.items() if p.grad is None
    ]
    assert torch.isfinite(value)


def test_an_adapter_that_is_not_wanted_is_an_error_with_both_shapes():
    loss = PKDLoss(adapter=None)
    loss.fit([(4, 8, 8)], [(4, 8, 8)])
    with pytest.raises(ConfigError, match=r'level 1.*\(4, 4, 4\).*\(6, 4, 4\)'):
        loss.fit([(4, 8, 8), (4, 4, 4)], [(4, 8, 8), (6, 4, 4)])


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(levels=()), 'levels'),
        (dict(levels=(0, 0)), 'levels'),
        (dict(levels=3), 'levels'),
        (dict(teacher_levels=(1, 2)), r'teacher_levels: \(1, 2\) for levels=\(\)'),
        (dict(levels=(0, 1), teacher_levels=(1,)), 'teacher_levels.*one for each'),
        (dict(levels=(0, 1), teacher_levels=()), r'teacher_levels: \(\)'),
        (dict(adapter='linear'), 'adapter: .*auto, None'),
        (dict(loss_weight=-1), 'loss_weight'),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        PKDLoss(**arguments)


def test_a_level_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r'no level 4.*valid: 0 to 1'):
        PKDLoss(levels=(0, 4)).fit([(4, 8, 8)] * 2, [(4, 8, 8)] * 2)


@pytest.mark.parametrize('cls', [*LOSSES, ReviewKDLoss])
def test_one_map_alone_is_one_level(cls):
    student, teacher = random_maps(batch=5), random_maps(seed=1, batch=5)
    values = []
    for pick in (lambda maps: maps[:1], lambda maps: maps[0]):
        torch.manual_seed(0)
        loss = cls()
        loss.fit([student[0].shape[1:]], [teacher[0].shape[1:]])
        values.append(loss(pick(student), pick(teacher)))
    assert torch.equal(*values)


@pytest.mark.parametrize('cls', [*LOSSES, ReviewKDLoss])
def test_maps_that_are_not_as_many_are_paired_by_their_size(cls):
    student = random_maps(sizes=((8, 12), (4, 6), (2, 3)))
    teacher = random_maps(sizes=((16, 24), (8, 12), (4, 6), (2, 3), (1, 2)), seed=1)
    shapes = [[m.shape[1:] for m in maps] for maps in (student, teacher)]
    values = []
    for options in (dict(), dict(levels=(0, 1, 2), teacher_levels=(1, 2, 3))):
        torch.manual_seed(0)
        loss = cls(**options)
        loss.fit(*shapes)
        values.append(loss(student, teacher))
    assert torch.equal(*values)
    assert values[0] > 0


@pytest.mark.parametrize(
    'teacher', [[(4, 16, 16), (4, 12, 12)], [(4, 8, 8), (4, 8, 8)], [(4, 32, 32)] * 3]
)
def test_maps_are_not_paired_by_guess(teacher):
    with pytest.raises(ConfigError, match=r'levels: not given.* 1 maps \(8 x 8\) and the teacher'):
        PKDLoss().fit([(4, 8, 8)], teacher)
    PKDLoss(levels=(0,), teacher_levels=(1,)).fit([(4, 8, 8)], teacher)


def test_a_level_that_the_teacher_lacks_is_named():
    with pytest.raises(ConfigError, match=r'teacher_levels: there is no level 2; the teacher has'):
        PKDLoss(levels=(0,), teacher_levels=(2,)).fit([(4, 8, 8)] * 3, [(4, 8, 8)] * 2)


def test_what_was_not_fitted_says_so():
    with pytest.raises(ValueError, match=r'fit\('):
        ReviewKDLoss()(random_maps(), random_maps())
    with pytest.raises(ValueError, match=r'differ in channels.*fit\('):
        PKDLoss()(random_maps(channels=4), random_maps(channels=6))


def test_reviewkd_learns_to_imitate():
    torch.manual_seed(0)
    student, teacher = random_maps(), random_maps(seed=1)
    loss = ReviewKDLoss(mid_channels=32)
    loss.fit([m.shape[1:] for m in student], [m.shape[1:] for m in teacher])
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    values = []
    for _ in range(150):
        value = loss(student, teacher)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 5


def test_reviewkd_takes_running_statistics_for_a_map_of_one_position():
    loss = ReviewKDLoss(mid_channels=4)
    loss.fit([(3, 2, 2), (3, 1, 1)], [(5, 2, 2), (5, 1, 1)])
    generator = torch.Generator().manual_seed(0)
    maps = lambda channels: [
        torch.randn(1, channels, side, side, generator=generator) for side in (2, 1)
    ]
    student, teacher = maps(3), maps(5)
    for part in student:
        part.requires_grad_()
    before = {k: v.clone() for k, v in loss.fusions['1'].state_dict().items()}
    fused, _ = loss.fusions['1'](student[1], None, (1, 1))
    torch.testing.assert_close(fused, loss.fusions['1'].eval()(student[1], None, (1, 1))[0])
    loss.train()
    value = loss(student, teacher)
    value.backward()
    assert torch.isfinite(value)
    assert all(part.grad.abs().sum() > 0 for part in student)
    assert all(torch.equal(v, before[k]) for k, v in loss.fusions['1'].state_dict().items())
    # Two positions are a batch again.
    loss.fusions['1'](torch.randn(2, 3, 1, 1, generator=generator), None, (1, 1))
    moved = loss.fusions['1'].state_dict()
    assert not torch.equal(moved['reduce.1.running_mean'], before['reduce.1.running_mean'])
