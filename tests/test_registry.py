"""One way to build what a config names, and one way to say what is wrong with it."""

import pytest
import torch
from mmengine.registry import MODELS as MMENGINE_MODELS

from btkd_det.errors import ConfigError
from btkd_det.losses import KDLoss
from btkd_det.registry import MODELS, build, registered

LogitLoss = MODELS.get('LogitLoss')


@pytest.fixture
def users_own():
    @MMENGINE_MODELS.register_module(name='MeanGap')
    class MeanGap(LogitLoss):
        def __init__(self, power=1.0, **kwargs):
            super().__init__(**kwargs)
            self.power = power

        def per_row(self, student_logits, teacher_logits, labels):
            return (student_logits - teacher_logits).abs().pow(self.power).mean(1)

    yield MeanGap
    MMENGINE_MODELS.module_dict.pop('MeanGap')


def test_losses_are_found_by_mmengine_too():
    loss = MMENGINE_MODELS.build(dict(type='btkd_det.KDLoss', temperature=3.0))
    assert isinstance(loss, KDLoss)
    assert loss.temperature == 3.0


def test_a_users_own_loss_is_built_and_hosts_btkd(users_own):
    loss = build(dict(type='MeanGap', power=2.0, loss_weight=0.5), 'distill.x', LogitLoss)
    rows = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([1])
    assert loss(*rows).item() == pytest.approx(0.5 * 2.5)
    wrapped = build(
        dict(type='BTKDLoss', loss=dict(type='MeanGap'), schedule='none'), 'distill.x', LogitLoss
    )
    assert wrapped(*rows).item() == pytest.approx(1.5)


def test_an_instance_is_taken_as_it_is():
    loss = KDLoss()
    assert build(loss, 'x', LogitLoss) is loss


def test_keys_of_a_class_with_open_keywords_are_checked_up_the_line(users_own):
    with pytest.raises(ConfigError, match=r"'powr'.*did you mean 'power'.*loss_weight"):
        build(dict(type='MeanGap', powr=2.0), 'x', LogitLoss)


def test_what_is_registered_but_no_loss_is_refused():
    with pytest.raises(ConfigError, match=r"x\.type: 'mmdet\.L1Loss'.*valid types: .*KDLoss"):
        build(dict(type='mmdet.L1Loss'), 'x', LogitLoss)


@pytest.mark.parametrize('base', ['LogitLoss', 'FeatureLoss'])
@pytest.mark.parametrize('scope', ['', 'btkd_det.'])
def test_an_abstract_base_is_not_built(base, scope):
    cls = MODELS.get(base)
    for cfg in (dict(type=scope + base), dict(type=cls), cls()):
        with pytest.raises(ConfigError, match=rf'x\.type: {base} is abstract.*valid types: .*[DK]'):
            build(cfg, 'x', cls)
    assert base not in registered(cls)


def test_nor_is_a_class_that_says_as_little():
    class Silent(LogitLoss):
        pass

    class OwnForward(LogitLoss):
        def forward(self, student_logits, teacher_logits, labels=None):
            return student_logits.sum() * 0

    class Borrowed(KDLoss):
        pass

    with pytest.raises(ConfigError, match=r'x\.type: Silent is abstract, it has no per_row'):
        build(dict(type=Silent), 'x', LogitLoss)
    assert isinstance(build(dict(type=OwnForward), 'x', LogitLoss), OwnForward)
    assert isinstance(build(dict(type=Borrowed), 'x', LogitLoss), Borrowed)
    for cls, message in ((Silent, r'x\.loss\.type: Silent is'), (OwnForward, r'x\.loss: OwnForw')):
        with pytest.raises(ConfigError, match=message):
            build(dict(type='BTKDLoss', loss=dict(type=cls)), 'x', LogitLoss)


@pytest.mark.parametrize('name', ['BoxLoss', 'DistributionLoss'])
def test_a_base_that_is_whole_is_a_choice(name):
    base = MODELS.get(name)
    assert registered(base) == [name]
    with pytest.raises(ConfigError, match=rf'valid types: {name}$'):
        build(dict(type='btkd_det.KDLoss'), 'x', base)


def test_the_base_itself_is_no_choice():
    assert 'LogitLoss' not in registered(LogitLoss)
    assert {'KDLoss', 'BTKDLoss'} <= set(registered(LogitLoss))
