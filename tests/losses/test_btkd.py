import pytest
import torch

from btkd_det.bias import rectify
from btkd_det.bias.rectify import RULES, register_rule
from btkd_det.errors import ConfigError
from btkd_det.losses import BTKDLoss, DKDLoss, IKDLoss, KDLoss, LogitLoss
from btkd_det.registry import MODELS, build

from .every import HOSTS, batch

GAMMA = 0.1464466094067263  # 1 - cos^2(pi / 2 * 0.25)


def parts(host, student, teacher, labels, rule='swap', space='logits'):
    """Easy and hard part by indexing the rows, as one would write it down."""
    right = teacher.argmax(dim=1) == labels
    rectified = rectify(teacher, labels, rule, space)
    if space == 'probs':
        rectified = rectified.log()
    easy = host(student[right], teacher[right], labels[right])
    hard = host(student[~right], rectified[~right], labels[~right])
    return easy, hard, right


@pytest.mark.parametrize('name', sorted(HOSTS.keys() - {'dist'}))
@pytest.mark.parametrize(
    ('rule', 'space'),
    [('swap', 'logits'), ('blend', 'logits'), ('pair_blend', 'probs'), ('label_revision', 'probs')],
)
def test_the_formula_around_every_host(name, rule, space):
    student, teacher, labels = batch(20, 4, seed=1)
    host = HOSTS[name]()
    easy, hard, right = parts(host, student, teacher, labels, rule, space)
    assert 0 < right.sum() < 20
    loss = BTKDLoss(host, rectify=rule, space=space, loss_weight=2.0)
    value = loss(student, teacher, labels, progress=0.25)
    torch.testing.assert_close(value, 2 * ((1 - GAMMA) * easy + GAMMA * hard))
    assert loss.log_vars['easy'].item() == pytest.approx(easy.item())
    assert loss.log_vars['hard'].item() == pytest.approx(hard.item())
    assert loss.log_vars['right'].item() == pytest.approx(right.double().mean().item())
    assert loss.log_vars['gamma'].item() == pytest.approx(GAMMA)


def test_the_class_wise_part_of_dist_counts_once():
    student, teacher, labels = batch(20, 4, seed=1)
    dist = HOSTS['dist']()
    rectified = rectify(teacher, labels)
    right = teacher.argmax(dim=1) == labels
    inter = HOSTS['dist'](intra_weight=0).per_row(student, rectified)
    intra = HOSTS['dist'](inter_weight=0)(student, rectified, labels)
    expected = (1 - GAMMA) * inter[right].mean() + GAMMA * inter[~right].mean() + intra
    torch.testing.assert_close(BTKDLoss(dist)(student, teacher, labels, progress=0.25), expected)


def test_the_default_host():
    host = BTKDLoss().host
    assert isinstance(host, KDLoss)
    assert host.temperature == 5.0


@pytest.mark.parametrize('wrong', [True, False])
def test_a_part_without_rows_is_zero(wrong):
    student, teacher, labels = batch(8, 4, wrong=wrong)
    kd = KDLoss()
    loss = BTKDLoss(kd)
    whole = kd(student, rectify(teacher, labels), labels)
    share, empty = (GAMMA, 'easy') if wrong else (1 - GAMMA, 'hard')
    torch.testing.assert_close(loss(student, teacher, labels, progress=0.25), share * whole)
    assert loss.log_vars[empty] == 0
    assert loss.log_vars['right'] == (0 if wrong else 1)


def test_each_step_alone():
    student, teacher, labels = batch(20, 4, seed=1)
    kd = KDLoss()
    easy, hard, right = parts(kd, student, teacher, labels)
    _, as_it_is, _ = parts(kd, student, teacher, labels, 'none')
    share = right.double().mean()

    def value(**options):
        return BTKDLoss(kd, **options)(student, teacher, labels, progress=0.25)

    curriculum_alone = (1 - GAMMA) * easy + GAMMA * as_it_is
    torch.testing.assert_close(value(rectify='none'), curriculum_alone)
    rectification_alone = share * easy + (1 - share) * hard
    torch.testing.assert_close(value(schedule='none'), rectification_alone)
    torch.testing.assert_close(value(rectify='drop', schedule='none'), share * easy)
    torch.testing.assert_close(value(rectify='drop'), (1 - GAMMA) * easy)
    nothing = value(rectify='none', schedule='none')
    torch.testing.assert_close(nothing, kd(student, teacher, labels))
    by_all = (1 - GAMMA) * share * easy + GAMMA * (1 - share) * hard
    torch.testing.assert_close(value(normalize='all'), by_all)
    torch.testing.assert_close(value(schedule='linear'), 0.75 * easy + 0.25 * hard)


def test_without_a_schedule_no_progress_is_needed_and_no_gamma_logged():
    loss = BTKDLoss(schedule='none')
    loss(*batch(4, 3))
    assert 'gamma' not in loss.log_vars


def test_progress_as_a_tensor():
    arguments = batch(8, 4)
    loss = BTKDLoss()
    expected = loss(*arguments, progress=0.25)
    torch.testing.assert_close(loss(*arguments, progress=torch.tensor(0.25)), expected)
    assert loss.log_vars['gamma'].item() == pytest.approx(GAMMA)


def test_swap_is_the_same_on_logits_and_on_probabilities():
    arguments = batch(20, 6, seed=3, scale=10.0)
    logits, probs = BTKDLoss(), BTKDLoss(space='probs')
    torch.testing.assert_close(logits(*arguments, progress=0.5), probs(*arguments, progress=0.5))


def test_right_rows_reach_the_host_as_they_are_even_where_their_softmax_is_zero():
    student, teacher, labels = batch(4, 3, scale=2e3, wrong=False)
    student, teacher = student.float(), teacher.float()
    assert (teacher.softmax(dim=1) == 0).any()
    kd = KDLoss(temperature=100.0)
    value = BTKDLoss(kd, space='probs')(student, teacher, labels, progress=0.0)
    torch.testing.assert_close(value, kd(student, teacher, labels))


def test_the_weight_and_warmup_of_the_host_count():
    arguments = batch(8, 4)
    plain = BTKDLoss(DKDLoss())(*arguments, progress=0.25)
    heavy = BTKDLoss(DKDLoss(loss_weight=3.0), loss_weight=2.0)(*arguments, progress=0.25)
    torch.testing.assert_close(heavy, 6 * plain)
    warm = BTKDLoss(DKDLoss(warmup=0.5))(*arguments, progress=0.25)
    torch.testing.assert_close(warm, plain / 2)


def test_rows_outside_the_judged_foreground_are_easy():
    student, teacher, labels = batch(20, 4, seed=1)
    foreground = torch.arange(20) < 10
    right = (teacher.argmax(dim=1) == labels) | ~foreground
    assert not right.all()
    kd = KDLoss()
    rows = kd.per_row(student, torch.where(right[:, None], teacher, rectify(teacher, labels)))
    expected = (1 - GAMMA) * rows[right].mean() + GAMMA * rows[~right].mean()
    loss = BTKDLoss(kd, foreground_only=True)
    value = loss(student, teacher, labels, progress=0.25, foreground=foreground)
    torch.testing.assert_close(value, expected)


def test_a_wrong_box_makes_a_row_hard_and_leaves_its_logits():
    student, teacher, labels = batch(20, 4, seed=1)
    right_class = teacher.argmax(dim=1) == labels
    ious = torch.where(torch.arange(20) % 2 == 0, 0.9, 0.3)
    right = right_class & (ious >= 0.5)
    assert (right_class & ~right).any()
    kd = KDLoss()
    rows = kd.per_row(student, rectify(teacher, labels))
    expected = (1 - GAMMA) * rows[right].mean() + GAMMA * rows[~right].mean()
    loss = BTKDLoss(kd, judge='class_and_box')
    value = loss(student, teacher, labels, progress=0.25, box_ious=ious)
    torch.testing.assert_close(value, expected)
    assert 'box_ious' in loss.extra_inputs
    assert 'box_ious' not in BTKDLoss().extra_inputs
    with pytest.raises(ValueError, match='needs box_ious'):
        loss(student, teacher, labels, progress=0.25)


@pytest.fixture
def own_classes():
    rules, modules = dict(RULES), dict(MODELS.module_dict)
    yield
    RULES.clear()
    RULES.update(rules)
    MODELS.module_dict.clear()
    MODELS.module_dict.update(modules)


@pytest.mark.usefixtures('own_classes')
def test_a_host_and_a_rule_of_ones_own():
    @MODELS.register_module()
    class SquaredLoss(LogitLoss):
        def per_row(self, student_logits, teacher_logits, labels):
            return (student_logits - teacher_logits).square().sum(dim=1)

    @register_rule('raise_label')
    def raise_label(teacher, labels, predicted, by=1.0):
        return teacher.scatter_add(1, labels[:, None], torch.full_like(teacher[:, :1], by))

    student, teacher, labels = batch(8, 4, wrong=True)
    cfg = dict(
        type='BTKDLoss',
        loss=dict(type='SquaredLoss'),
        rectify=dict(type='raise_label', by=2.0),
        schedule='none',
    )
    loss = build(cfg, 'distill.roi_logits', LogitLoss)
    target = teacher.clone()
    target[torch.arange(8), labels] += 2
    expected = (student - target).square().sum() / 8
    torch.testing.assert_close(loss(student, teacher, labels), expected)


def test_any_host_computes_in_float32_and_never_trains_the_teacher():
    class Seen(LogitLoss):
        def per_row(self, student_logits, teacher_logits, labels):
            self.seen = student_logits.dtype, teacher_logits.dtype, teacher_logits.requires_grad
            return student_logits.sum(dim=1) - teacher_logits.sum(dim=1)

    student, teacher, labels = batch(8, 4)
    teacher.requires_grad_()
    host = Seen()
    for loss in (host, BTKDLoss(host, schedule='none')):
        loss(student.half(), teacher.half(), labels)
        assert host.seen == (torch.float32, torch.float32, False)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rectify='swop'), "x.rectify: 'swop', which is no rule .*; valid: swap, blend, pair"),
        (dict(rectify=['swap']), r"x.rectify: \['swap'\], which is no rule"),
        (dict(space='prob'), "x.space: 'prob' .*; valid: logits, probs"),
        (dict(schedule='cos'), "x.schedule: 'cos' .*; valid: cosine, linear, none"),
        (dict(normalize='n'), "x.normalize: 'n'; valid: subset, all"),
        (dict(trust=True), 'x.trust: True; valid: None, measured'),
        (dict(judge='box'), "x.judge: 'box'.*; valid: class, class_and_box"),
        (dict(rectify='label_revision'), "x.space: rule 'label_revision' is not defined on 'logi"),
        (dict(rectify='label_revision', space='probs', eta=2), 'x.eta: 2; valid: a number above 0'),
        (dict(eta=0.9), "x.eta: rule 'swap' has no such option"),
        (dict(rectify=dict(type='swap', b=1)), "x.b: rule 'swap' has no such option"),
        (dict(loss_weight=-1), 'x.loss_weight: -1; valid: a number of at least 0'),
        (dict(iou_threshold=1.5), 'x.iou_threshold: 1.5; valid'),
        (dict(trust='measured', trust_gain=0), 'x.trust_gain: 0; valid: a number above 0'),
        (dict(trust='measured', trust_momentum=1), 'x.trust_momentum: 1; valid: a number of at'),
        (dict(loss=dict(type='KDLoss', temperature=0)), 'x.loss.temperature: 0; valid: a numb'),
        (dict(loss=dict(type='KDLos')), r"x.loss.type: 'KDLos' is not .* \(did you mean 'KDLoss'"),
        (dict(loss=dict(type='BTKDLoss')), 'x.loss: BTKDLoss cannot be the host of BTKDLoss'),
        (
            dict(loss=dict(type='BinaryKDLoss'), space='probs'),
            "x.space: 'probs' hands the host .*BinaryKDLoss does not read; valid: 'logits'",
        ),
        (dict(loss=dict(type='IKDLoss', num_classes=3)), 'x.loss: IKDLoss cannot be the host'),
        (dict(loss='KDLoss'), r"x.loss: expected dict\(type=..., ...\), got 'KDLoss'"),
        (dict(temperature=4.0), "x: unknown key 'temperature'"),
    ],
)
def test_values_that_cannot_work_are_refused_at_build_time(options, message):
    with pytest.raises(ConfigError, match=message):
        build(dict(type='BTKDLoss', **options), 'x', LogitLoss)


@pytest.mark.parametrize(
    ('cfg', 'field'),
    [
        (dict(type='KDLoss', temperature='4'), 'temperature'),
        (dict(type='KDLoss', temperature=float('nan')), 'temperature'),
        (dict(type='DKDLoss', temperature=-1), 'temperature'),
        (dict(type='DKDLoss', alpha=-1), 'alpha'),
        (dict(type='DKDLoss', warmup=1.0), 'warmup'),
        (dict(type='NKDLoss', gamma=-1), 'gamma'),
        (dict(type='WTTMLoss', gamma=0), 'gamma'),
        (dict(type='RLDLoss', confidence_temperature=0), 'confidence_temperature'),
        (dict(type='DISTLoss', intra_weight=-1), 'intra_weight'),
        (dict(type='IKDLoss', num_classes=1), 'num_classes'),
        (dict(type='IKDLoss', num_classes=3, collect_epochs=0.5), 'collect_epochs'),
        (dict(type='IKDLoss', num_classes=3, collect_iters=-1), 'collect_iters'),
        (dict(type='IKDLoss', num_classes=3, collect_iters=True), 'collect_iters'),
    ],
)
def test_hosts_refuse_values_out_of_range(cfg, field):
    with pytest.raises(ConfigError, match=rf'x\.{field}: .*; valid'):
        build(cfg, 'x', LogitLoss)


def test_an_instance_as_host_and_in_a_checkpoint():
    host = KDLoss(2.0)
    loss = BTKDLoss(host)
    assert loss.host is host
    assert not loss.state_dict()
    assert set(BTKDLoss(trust='measured').state_dict()) == {'trust.sums'}
    assert set(IKDLoss(3).state_dict()) == {'class_means', 'class_counts', 'collected'}


@pytest.mark.parametrize(
    ('judge', 'asks'), [('class', False), ('object', False), ('class_and_box', True)]
)
def test_boxes_are_asked_for_where_they_are_judged(judge, asks):
    assert ('box_ious' in BTKDLoss(judge=judge).extra_inputs) == asks
