"""A class of the user's with a name of MMRazor's is not translated as MMRazor's."""

import pytest

from btkd_det.errors import ConfigError
from btkd_det.from_mmrazor import convert_config
from btkd_det.from_mmrazor.losses import find_loss
from btkd_det.from_mmrazor.sides import kind_of

from .test_from_mmrazor import CLASSIFIER, TINY, WIDE, at, connected, mmpretrain, small


def outcome(tmp_path, *args, **kwargs):
    return convert_config(str(small(tmp_path, *args, **kwargs)))


def connected_by(kind):
    distiller = connected()['distiller']
    distiller['connectors']['c']['type'] = kind
    return distiller


def recorded_by(kind, **more):
    distiller = at('neck')
    distiller['student_recorders'] = dict(a=dict(type=kind, source='neck', **more))
    return distiller


def learned_through(kind):
    connector = dict(type=kind, student_channels=16, teacher_channels=16)
    loss = dict(type='MGDLoss', alpha_mgd=1e-5)
    through = ('neck', dict(data_idx=0, connector='m'))
    return at(through, ('neck', dict(data_idx=0)), loss, connectors=dict(m=connector))


@pytest.mark.parametrize(
    ('distiller', 'named'),
    [
        (at('neck', loss=dict(type='mine.PKDLoss')), 'loss_a: mine.PKDLoss: not among L2Loss'),
        (
            at('neck', loss=dict(type='PKDLoss', _scope_='mine')),
            'loss_a: PKDLoss: not among L2Loss',
        ),
        (recorded_by('mine.ModuleOutputs'), "its recorder 'mine.ModuleOutputs' is not Module"),
        (recorded_by('ModuleOutputs', _scope_='mine'), "its recorder 'ModuleOutputs' is not Mod"),
        (connected_by('mine.ConvModuleConnector'), 'the connector c is a mine.ConvModuleConnec'),
        (learned_through('mine.MGDConnector'), 'valid for a translation is a MGDConnector'),
    ],
    ids=['loss', 'scope of loss', 'recorder', 'scope of recorder', 'connector', 'learned'],
)
def test_an_own_part_of_the_distiller_is_named(distiller, named, tmp_path):
    found = outcome(tmp_path, distiller, teacher=WIDE if 'connectors' in distiller else TINY)
    assert len(found.missing) == 1, found.missing
    assert named in found.missing[0]
    assert found.cfg.model.distill.to_dict() == {}


@pytest.mark.parametrize(
    ('distiller', 'expected'),
    [
        (at('neck', loss=dict(type='mmrazor.PKDLoss')), 'PKDLoss'),
        (recorded_by('mmrazor.ModuleOutputs'), 'PKDLoss'),
        (recorded_by('ModuleOutputs', _scope_='mmrazor'), 'PKDLoss'),
        (connected_by('mmrazor.ConvModuleConnector'), 'PKDLoss'),
        (learned_through('mmrazor.MGDConnector'), 'MGDLoss'),
    ],
)
def test_mmrazors_own_are_known_with_its_scope(distiller, expected, tmp_path):
    found = outcome(tmp_path, distiller, teacher=WIDE if 'connectors' in distiller else TINY)
    assert found.missing == []
    assert found.cfg.model.distill.fpn.type == f'btkd_det.{expected}'


@pytest.mark.parametrize(
    ('model', 'named'),
    [
        (
            dict(top="model['type'] = 'mine.FpnTeacherDistill'"),
            "its model is 'mine.FpnTeacherDistill'",
        ),
        (dict(top="model['_scope_'] = 'mine'"), "its model is 'FpnTeacherDistill'"),
        (
            dict(distiller=dict(at('neck'), type='mine.ConfigurableDistiller')),
            "model.distiller is 'mine.ConfigurableDistiller'",
        ),
        (
            dict(distiller=dict(at('neck'), type='mine.BTKDDistiller')),
            "model.distiller is 'mine.BTKDDistiller'",
        ),
        (
            dict(student=dict(type='mine.ModelOfConfig', config='t.py')),
            'model.architecture: ModelOfConfig has no distilled class',
        ),
    ],
)
def test_an_own_algorithm_or_distiller_is_refused(model, named, tmp_path):
    with pytest.raises(ConfigError, match=named):
        outcome(tmp_path, **model)


def test_an_own_hook_or_loop_is_named_and_stays(tmp_path):
    hook = dict(type='mine.StopDistillHook', stop_epoch=1)
    loop = dict(type='mine.SingleTeacherDistillValLoop')
    top = f'train_cfg = dict(max_epochs=2)\ncustom_hooks = [{hook!r}]\nval_cfg = {loop!r}'
    found = outcome(tmp_path, top=top)
    assert found.missing == [
        "val_cfg: mine.SingleTeacherDistillValLoop stays as it is; it is not MMRazor's "
        'SingleTeacherDistillValLoop',
        "custom_hooks: mine.StopDistillHook stays as it is; it is not MMRazor's StopDistillHook",
    ]
    assert found.cfg.custom_hooks == [hook]
    assert found.cfg.val_cfg == loop
    assert found.cfg.model.distill.fpn.to_dict() == dict(type='btkd_det.PKDLoss', loss_weight=1.0)


def test_classes_are_known_by_where_they_are_written():
    own = type('PKDLoss', (), dict(__module__='mine.losses'))
    razors = type('PKDLoss', (), dict(__module__='mmrazor.models.losses'))
    assert [kind_of(dict(type=kind)) for kind in (own, razors)] == ['', 'PKDLoss']
    from btkd_det.losses import PKDLoss

    keys, _, takes_maps = find_loss(dict(type=PKDLoss), dict(student_maps=dict()))
    assert keys == ('student_maps', 'teacher_maps', None)
    assert takes_maps


@mmpretrain
@pytest.mark.parametrize('scope', ['mine.', 'mmengine.', ''])
def test_an_own_preprocessor_stays(scope, tmp_path):
    preprocessor = dict(type=f'{scope}ImgDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3)
    student = dict(CLASSIFIER, type='ImageClassifier')
    distiller = at('head.fc', loss=dict(type='KLDivergence', tau=2), names=('preds_S', 'preds_T'))
    found = outcome(
        tmp_path, distiller, student=student, teacher=student, data_preprocessor=preprocessor
    )
    kind = found.cfg.model.data_preprocessor.type
    assert kind == (preprocessor['type'] if scope == 'mine.' else 'ClsDataPreprocessor')


@mmpretrain
def test_the_former_name_of_mmpretrain_is_known(tmp_path):
    student = dict(CLASSIFIER, type='mmcls.ImageClassifier', _scope_='mmcls')
    found = outcome(
        tmp_path, at('head.fc', loss=dict(type='KLDivergence')), student=student, teacher=student
    )
    assert found.cfg.model.type == 'btkd_det.DistilledImageClassifier'
