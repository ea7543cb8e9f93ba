"""FGD, MGD, FBKD, RKD and WSLD: the values of the published code, and what holds beside them."""

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.losses import (
    FBKDLoss,
    FGDLoss,
    MGDLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
    WSLDLoss,
)
from btkd_det.sites.focal import focal_masks
from btkd_det.sites.gate import Objects

from . import golden

FILE = 'detection_features'
SIZES = [(12, 16), (6, 8)]


def maps(who, grad=False):
    return [golden.arrays(FILE)[f'{who}/{i}'].clone().requires_grad_(grad) for i in range(2)]


def with_golden_weights(loss, method):
    """The loss, fitted, with the weights that the published code had."""
    shapes = [(6, *size) for size in SIZES]
    loss.fit(shapes, shapes)
    loss.double()
    for level in range(2):
        prefix = f'{method}/{level}/'
        state = loss.level_modules[str(level)].state_dict()
        found = {
            name.removeprefix(prefix): value
            for name, value in golden.arrays(FILE).items()
            if name.startswith(prefix) and not name.endswith('drawn')
        }
        learned = dict(loss.level_modules[str(level)].named_parameters())
        assert found.keys() == learned.keys()
        loss.level_modules[str(level)].load_state_dict({**state, **found})
    return loss


def annotated(boxes=None, right=None):
    if boxes is None:
        boxes = [golden.arrays(FILE)[f'boxes/{i}'] for i in range(2)]
    right = right or [torch.ones(len(part), dtype=torch.bool) for part in boxes]
    return [Objects(part, judged, (96, 128)) for part, judged in zip(boxes, right, strict=True)]


def focal(kind=None, **options):
    return focal_masks(annotated(**options), SIZES, (96, 128), kind)


def check(name, value, leaves):
    value.backward()
    assert value.item() == pytest.approx(golden.values(FILE)[name], rel=1e-5)
    for i, leaf in enumerate(leaves):
        expected = golden.arrays(FILE)[f'grad/{name}/{i}'].double()
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-8)


def test_fgd():
    loss = with_golden_weights(FGDLoss(0.5, 0.002, 0.0007, 0.001, 0.00005), 'fgd')
    student = maps('student', grad=True)
    check(
        'fgd_t0.5_a0.002_b0.0007_g0.001_l0.00005',
        loss(student, maps('teacher'), focal=[part.double() for part in focal()]),
        student,
    )


def test_mgd(monkeypatch):
    loss = with_golden_weights(MGDLoss(), 'mgd')
    drawn = {size: golden.arrays(FILE)[f'mgd/{i}/drawn'] for i, size in enumerate(SIZES)}
    monkeypatch.setattr(torch, 'rand', lambda *shape, device: drawn[shape[2:]])
    student = maps('student', grad=True)
    check('mgd_alpha2e-5_lambda0.65', loss(student, maps('teacher')), student)


def test_fbkd():
    # MMRazor pools by 2 and then by its maxpool_stride of 2.
    loss = with_golden_weights(FBKDLoss(pool=4), 'fbkd')
    student = maps('student', grad=True)
    check('fbkd_reduction2_stride2', loss(student, maps('teacher')), student)


@pytest.mark.parametrize(('cls', 'kind'), [(RKDDistanceLoss, 'distance'), (RKDAngleLoss, 'angle')])
@pytest.mark.parametrize('l2_norm', [True, False])
def test_rkd(cls, kind, l2_norm):
    student = golden.arrays(FILE)['rkd/student'].clone().requires_grad_()
    teacher = golden.arrays(FILE)['rkd/teacher']
    loss = cls(l2_norm=l2_norm)
    loss.fit([student.shape[1:]], [teacher.shape[1:]])
    name = f'rkd_{kind}_{"l2" if l2_norm else "plain"}'
    check(name, loss(student, teacher), [student])


def test_wsld():
    student, teacher, labels = (
        golden.arrays(FILE)[f'wsld/{name}'].clone() for name in ('student', 'teacher', 'labels')
    )
    student.requires_grad_()
    loss = WSLDLoss(temperature=2, loss_weight=2.5)
    check('wsld_tau2_w2.5', loss(student, teacher, labels), [student])


def test_focal_masks_follow_the_padded_input():
    # Of an image of 48 x 64 in a batch padded to 96 x 128: half of the map in each direction.
    image = Objects(torch.tensor([[16.0, 8.0, 31.0, 15.0]]), torch.tensor([True]), (48, 64))
    ((inside, outside),) = focal_masks([image], [(12, 16)], (96, 128))[0]
    expected = torch.zeros(12, 16)
    expected[1:3, 2:5] = 1 / 6
    torch.testing.assert_close(inside, expected)
    torch.testing.assert_close(outside, (expected == 0) / (expected == 0).sum())


def test_the_smallest_box_over_a_position_weighs_it():
    boxes = torch.tensor([[0.0, 0.0, 63.0, 63.0], [8.0, 8.0, 15.0, 15.0]])
    image = Objects(boxes, torch.tensor([True, True]), (64, 64))
    for order in ([0, 1], [1, 0]):
        inside = focal_masks([image._replace(boxes=boxes[order])], [(8, 8)], (64, 64))[0][0, 0]
        assert inside[1, 1] == pytest.approx(1 / 4)
        assert inside[5, 5] == pytest.approx(1 / 81)


def test_a_box_that_the_teacher_gets_wrong_is_neither_foreground_nor_background():
    boxes = torch.tensor([[0.0, 0.0, 15.0, 15.0], [32.0, 32.0, 47.0, 47.0]])
    image = Objects(boxes, torch.tensor([True, False]), (64, 64))
    right, every = (
        focal_masks([image], [(8, 8)], (64, 64), kind)[0][0]
        for kind in ('teacher_right', 'foreground')
    )
    assert right[0, 0, 0] == every[0, 0, 0] > 0
    assert right[0, 4, 4] == 0 < every[0, 4, 4]
    torch.testing.assert_close(right[1], every[1])
    assert right[1, 4, 4] == 0


def test_an_image_without_objects_is_background():
    image = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool), (64, 64))
    inside, outside = focal_masks([image], [(4, 4)], (64, 64))[0][0]
    assert not inside.any()
    torch.testing.assert_close(outside, torch.full((4, 4), 1 / 16))


MODULES = {
    'fgd': lambda **options: FGDLoss(**options),
    'mgd': lambda **options: MGDLoss(**options),
    'fbkd': lambda **options: FBKDLoss(pool=4, **options),
}


def fitted(name, channels=(6, 6), sizes=SIZES, **options):
    torch.manual_seed(0)
    loss = MODULES[name](**options)
    loss.fit(*([(width, *size) for size in sizes] for width in channels))
    return loss


def call(name, loss, student, teacher, **extra):
    """With FGD's foreground, and the same positions left out each time by MGD."""
    torch.manual_seed(1)
    if name == 'fgd':
        sizes = [tuple(part.shape[2:]) for part in teacher]
        objects = annotated()[: len(teacher[0])]
        extra = dict(focal=focal_masks(objects, sizes, (96, 128)))
    return loss(student, teacher, **extra)


def drawn(channels=6, seed=0, scale=1.0, batch=2, sizes=SIZES, dtype=torch.float32, grad=True):
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randn(batch, channels, *size, generator=generator) * scale for size in sizes]
    return [part.to(dtype).requires_grad_(grad) for part in levels]


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_large_values_stay_finite_and_the_teacher_gets_no_gradient(name, dtype):
    student, teacher = (drawn(seed=seed, scale=1e4, dtype=dtype) for seed in (0, 1))
    value = call(name, fitted(name), student, teacher)
    value.backward()
    assert value > 0
    assert value.isfinite()
    assert all(part.grad.isfinite().all() for part in student)
    assert all(part.grad is None for part in teacher)


@pytest.mark.parametrize('name', MODULES)
def test_other_channels_and_sizes_are_adapted_and_all_that_is_learned_gets_a_gradient(name):
    loss = fitted(name, channels=(4, 6))
    student = drawn(4, sizes=[(6, 8), (6, 8)])
    call(name, loss, student, drawn(6, seed=1)).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert all(part.grad.any() for part in student)


@pytest.mark.parametrize('name', MODULES)
def test_levels_and_weights(name):
    student, teacher = drawn(), drawn(seed=1)
    whole, second = fitted(name), fitted(name, levels=(1,))
    second.level_modules['1'].load_state_dict(whole.level_modules['1'].state_dict())
    shares = []
    for level in (0, 1):
        only = fitted(name, levels=(level,), loss_weight=3.0)
        only.load_state_dict(
            {k: v for k, v in whole.state_dict().items() if k in only.state_dict()}
        )
        shares.append(call(name, only, student, teacher) / 3)
    if name == 'mgd':
        # Drawn anew for each call: the deeper level alone leaves out other positions.
        shares, student, teacher = shares[:1], student[:1], teacher[:1]
        whole.levels = ((0, 0),)
    scale = whole.loss_weight
    found = call(name, whole, student, teacher) / scale
    torch.testing.assert_close(sum(shares), found)


@pytest.mark.parametrize('name', MODULES)
def test_no_images_cost_an_exact_zero_with_gradients(name):
    loss = fitted(name)
    student = drawn(batch=0)
    extra = dict(focal=[torch.zeros(0, 2, *size) for size in SIZES]) if name == 'fgd' else {}
    value = loss(student, drawn(batch=0, seed=1), **extra)
    value.backward()
    assert value == 0
    assert student[0].grad is not None
    assert all(parameter.grad is not None for parameter in loss.parameters())


@pytest.mark.parametrize('name', MODULES)
def test_a_single_image_with_a_map_of_one_position(name):
    sizes = [(2, 2), (1, 1)]
    loss = fitted(name, sizes=sizes)
    student, teacher = drawn(batch=1, sizes=sizes), drawn(batch=1, sizes=sizes, seed=1)
    value = call(name, loss, student, teacher)
    value.backward()
    assert value.isfinite()
    assert all(part.grad.isfinite().all() for part in student)


@pytest.mark.parametrize('name', MODULES)
def test_what_was_not_fitted_says_so(name):
    with pytest.raises(ValueError, match=r'fit\('):
        call(name, MODULES[name](), drawn(), drawn(seed=1))


@pytest.mark.parametrize('name', ['mgd', 'fbkd'])
def test_an_even_gate_changes_nothing(name):
    loss, student, teacher = fitted(name), drawn(), drawn(seed=1)
    even = [torch.full((2, 1, *size), 1 / (2 * size[0] * size[1])) for size in SIZES]
    torch.testing.assert_close(
        call(name, loss, student, teacher, gate=even), call(name, loss, student, teacher)
    )
    left = [part.clone() for part in even]
    for part in left:
        part[..., 3:] = 0
    assert call(name, loss, student, teacher, gate=left) != call(name, loss, student, teacher)


def test_mgd_does_not_see_what_the_gate_closes():
    loss, student, teacher = fitted('mgd'), drawn(), drawn(seed=1, grad=False)
    gate = [torch.rand(2, 1, *size) for size in SIZES]
    other = [part.clone() for part in teacher]
    for part, changed in zip(gate, other, strict=True):
        part[..., :3] = 0
        changed[..., :3] += 5
    gated = [call('mgd', loss, student, maps, gate=gate) for maps in (teacher, other)]
    assert gated[0] == gated[1]
    plain = [call('mgd', loss, student, maps) for maps in (teacher, other)]
    assert plain[0] != plain[1]
    assert call('mgd', loss, student, teacher, gate=[0 * part for part in gate]) == 0


def test_equal_maps_cost_fgd_nothing_at_first():
    # What the blocks add starts at 0.
    student = drawn()
    value = call('fgd', fitted('fgd'), student, [part.detach().clone() for part in student])
    assert value.item() == pytest.approx(0, abs=1e-9)


def test_equal_maps_have_a_finite_gradient_in_fbkd():
    loss = fitted('fbkd')
    with torch.no_grad():
        for module in loss.level_modules.values():
            for part in ('feature', 'relation'):
                module[part].weight.copy_(torch.eye(6)[:, :, None, None])
                module[part].bias.zero_()
            module['channel'].weight.copy_(torch.eye(6))
            module['channel'].bias.zero_()
            module['spatial'].weight.zero_()[..., 1, 1] = 1
            module['spatial'].bias.zero_()
    student = drawn()
    value = loss(student, [part.detach().clone() for part in student])
    value.backward()
    assert value == 0
    assert all(part.grad.isfinite().all() for part in student)


def test_mgd_leaves_out_the_share_that_it_says():
    kept = MGDLoss(mask_ratio=0.25).mask(torch.zeros(4, 3, 100, 100))
    assert kept.shape == (4, 1, 100, 100)
    assert set(kept.unique().tolist()) == {0, 1}
    assert kept.mean().item() == pytest.approx(0.75, abs=0.01)
    assert MGDLoss(mask_ratio=0.0).mask(torch.zeros(1, 3, 9, 9)).all()


@pytest.mark.parametrize('name', ['fgd', 'mgd', 'fbkd'])
def test_the_loss_learns_to_imitate(name):
    loss = fitted(name, loss_weight=1.0)
    student, teacher = drawn(), drawn(seed=1, grad=False)
    optimizer = torch.optim.Adam([*loss.parameters(), *student], lr=0.02)
    values = []
    for _ in range(60):
        value = call(name, loss, student, teacher)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 2


@pytest.mark.parametrize('cls', [RKDDistanceLoss, RKDAngleLoss])
def test_rkd_is_blind_to_what_leaves_relations_alone(cls):
    student = drawn(batch=5)[:1]
    turned = [torch.flip(part.detach(), dims=[1]) for part in student]
    assert cls()(student, turned).item() == pytest.approx(0, abs=1e-6)
    assert cls(l2_norm=False)(student, [part * 7 for part in turned]).item() == pytest.approx(
        0, abs=1e-4
    )
    assert cls()(student, drawn(batch=5, seed=1)[:1]) > 1e-3


@pytest.mark.parametrize('cls', [RKDDistanceLoss, RKDAngleLoss])
@pytest.mark.parametrize('batch', [0, 1])
def test_rkd_without_pairs_costs_an_exact_zero(cls, batch):
    student = drawn(batch=batch)
    value = cls()(student, drawn(batch=batch, seed=1))
    value.backward()
    assert value == 0
    assert student[0].grad.isfinite().all()


def test_rkd_with_a_gate_looks_at_its_share_alone():
    student, teacher = drawn(batch=4)[:1], drawn(batch=4, seed=1)[:1]
    gate = torch.zeros(4, 1, *SIZES[0])
    gate[..., :4] = 0.5
    cut = lambda levels: [part[..., :4] for part in levels]
    torch.testing.assert_close(
        RKDAngleLoss()(student, teacher, gate=[gate]), RKDAngleLoss()(cut(student), cut(teacher))
    )


@pytest.mark.parametrize(
    ('build', 'words'),
    [
        (lambda: FGDLoss(temperature=0), 'temperature: 0'),
        (lambda: FGDLoss(lambda_=-1), 'lambda_: -1'),
        (lambda: FGDLoss(gate='boxes'), "gate: 'boxes'"),
        (lambda: MGDLoss(mask_ratio=1), 'mask_ratio: 1'),
        (lambda: FBKDLoss(reduction=0), 'reduction: got 0.*whole number above 0'),
        (lambda: FBKDLoss(pool=2.5), r'pool: got 2\.5'),
        (lambda: FBKDLoss(spatial_weight=-1), 'spatial_weight'),
        (lambda: WSLDLoss(temperature=-1), 'temperature: -1'),
    ],
)
def test_wrong_arguments_are_named(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


def test_fgd_without_its_foreground_says_so():
    with pytest.raises(ValueError, match='FGDLoss needs focal'):
        fitted('fgd')(drawn(), drawn(seed=1))
