"""The engine on images that take a second: real trainings, real teachers, wrong labels."""

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, METRICS
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.evaluation.teacher_agreement import agreement
from experiments.lab.classification import Classification
from experiments.lab.images import StudySplit, build_dataset, corrupt
from experiments.lab.study import Run
from experiments.lab.training import one_cycle
from tests.classifiers import read_json, write_images

from .studies import CONTENT, KD, TRIALS, TUNING, laboratory, study


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    write_images(folder / 'train', per_class=10)
    write_images(folder / 'test', per_class=4, seed=1)
    return folder


@pytest.fixture(scope='module')
def finished(data_root, tmp_path_factory):
    """The whole tiny study, one seed and a tuning, done."""
    folder = tmp_path_factory.mktemp('study')
    noise = dict(label_noise=0.5)
    arms = dict(
        CONTENT['arms'],
        kd=dict(host_weight=0.5, distill=dict(logits=KD), trials=TRIALS),
    )
    cells = dict(good={}, noisy=dict(teacher=noise), both=dict(teacher=noise, student=noise))
    small = study(seeds=[0], cells=cells, arms=arms, tuning=TUNING)
    trainer = Classification(small, data_root, folder / 'work' / small.name)
    lab = laboratory(folder, small, trainer, workers=2)
    assert lab.run(), [
        (folder / 'work/tiny' / run.key / 'run.log').read_text() for run in lab.failed[:1]
    ]
    return lab


def split(data_root, part='train', **keys):
    source = dict(type='CustomDataset', data_prefix='train', data_root=str(data_root))
    return StudySplit(source, part, **keys)


def test_a_set_is_split_by_the_last_of_each_class(data_root):
    train, val = (split(data_root, part, val_per_class=2) for part in ('train', 'val'))
    assert train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert val.labels.tolist() == [0, 0, 1, 1, 2, 2]
    names = {info['img_path'].rpartition('/')[2] for info in map(val.get_data_info, range(6))}
    assert names == {'8.png', '9.png'}
    assert len(split(data_root, 'test', val_per_class=2)) == 30
    two = split(data_root, classes=2)
    assert (len(two), two.metainfo['classes']) == (20, ('cat', 'dog'))


def test_noise_is_exact_nested_and_reaches_every_other_class():
    labels = np.arange(1000) % 5
    some, more = (corrupt(labels, share, 5, seed=0) for share in (0.2, 0.4))
    assert ((some != labels).sum(), (more != labels).sum()) == (200, 400)
    wrong = some != labels
    assert (more[wrong] == some[wrong]).all()
    steps = np.bincount((more - labels) % 5, minlength=5)
    assert steps[0] == 600
    assert steps[1:].min() > 70
    assert (corrupt(labels, 0.2, 5, seed=1) != some).any()
    assert (corrupt(labels, 0.0, 5, seed=0) == labels).all()


def test_wrong_labels_are_served_and_the_clean_ones_known(data_root):
    noisy = split(data_root, label_noise=0.5)
    assert (noisy.labels != noisy.clean_labels).sum() == 15
    images = build_dataset(
        dict(
            type='btkd_det.InMemoryImages',
            dataset=dict(
                type='btkd_det.StudySplit',
                dataset=dict(type='CustomDataset', data_prefix='train', data_root=str(data_root)),
                part='train',
                label_noise=0.5,
            ),
        )
    )
    assert images.labels.tolist() == noisy.labels.tolist()


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(part='dev'), "part: 'dev'"),
        (dict(classes=4), 'classes: 4'),
        (dict(label_noise=1.5), 'label_noise: 1.5'),
        (dict(val_per_class=10), 'leaves no image'),
    ],
)
def test_a_wrong_split_is_told(data_root, keys, message):
    with pytest.raises(ConfigError, match=message):
        split(data_root, **keys)


def test_every_run_has_its_result(finished):
    for run in finished.study.final_runs():
        found = finished.results.read(run)
        assert 0 <= found['test']['top1'] <= 100
        assert 0 <= found['validation']['top1'] <= 100
        assert ('teacher/agreement' in found['test']) == (run.arm == 'kd')
        assert ('trial' in found) == (run.arm == 'kd')
    assert not finished.missing()


def test_tuning_reads_no_test_image(finished):
    for run in finished.study.tuning_runs():
        found = finished.results.read(run)
        assert 'test' not in found
        assert set(found['validation']) == {'top1'}
        log = (finished.work_dir / run.key / 'run.log').read_text()
        assert 'Epoch(val)' in log
        assert 'Epoch(test)' not in log
    log = (finished.work_dir / finished.study.final_runs()[0].key / 'run.log').read_text()
    assert 'Epoch(test)' in log


def test_a_teacher_says_how_right_it_is(finished):
    good, noisy, both = (finished.results.read(Run(cell)) for cell in finished.study.cells)
    right = good['right_on_training_images']
    assert right['by_the_students_labels'] == right['by_the_clean_labels']
    # One training serves both cells; only the labels that it is held against differ.
    assert noisy['checkpoint_sha256'] == both['checkpoint_sha256'] != good['checkpoint_sha256']
    assert noisy['right_on_training_images']['by_the_clean_labels'] == pytest.approx(
        both['right_on_training_images']['by_the_clean_labels']
    )
    assert finished.results.read(Run('good', 'kd'))['teacher_sha256'] == good['checkpoint_sha256']


def test_a_run_gives_the_same_again(finished, tmp_path):
    run = Run('noisy', 'kd')
    known = finished.results.read(run)
    torch.manual_seed(12345)
    again = finished.trainer.train_student(run, finished.results.chosen_trial('kd'), tmp_path)
    assert again['test'] == known['test']
    assert again['validation'] == known['validation']


def test_the_config_of_a_run_is_what_the_study_says(finished):
    arm = finished.study.arm('kd', 1)
    settings = dict(finished.study.student, epochs=4, stop_after=1)
    cfg = finished.trainer._config(settings, 5, arm, 'both')
    assert cfg.model.type == 'btkd_det.DistilledImageClassifier'
    assert cfg.model.head.loss.loss_weight == 0.3
    assert cfg.model.distill.logits.loss_weight == 0.7
    assert cfg.randomness.seed == 5
    # A training that stops early follows the schedule of the whole one.
    assert cfg.train_cfg.max_epochs == 1
    assert cfg.param_scheduler[0]['end'] == 4 * 3
    assert cfg.test_dataloader.dataset.dataset.get('label_noise') is None


def test_the_schedule_starts_slowly_and_ends_at_0():
    start, cosine = one_cycle(epochs=8, steps=141, warmup=100)
    assert (start['start_factor'], start['end']) == (0.01, 100)
    assert (cosine['begin'], cosine['end'], cosine['T_max']) == (100, 1128, 1028)
    assert one_cycle(5, 10, milestones=[3, 4])[0]['milestones'] == [3, 4]
    assert one_cycle(5, 10, milestones=[]) == []
    with pytest.raises(ConfigError, match='warmup: 100'):
        one_cycle(1, 100, warmup=100)


def test_bfloat16_wrapper_casts_the_forward_pass_alone():
    model = nn.Linear(4, 4)
    wrapper = build_optim_wrapper(
        model, dict(type='btkd_det.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    )
    with wrapper.optim_context(model):
        answer = model(torch.ones(2, 4))
    wrapper.update_params(answer.float().sum())

    assert answer.dtype == torch.bfloat16
    assert model(torch.ones(2, 4)).dtype == model.weight.dtype == torch.float32


def test_channels_last_keeps_the_values():
    model = nn.Conv2d(3, 4, 3)
    before = model.weight.detach().clone()
    hook = HOOKS.build(dict(type='btkd_det.ChannelsLastHook'))
    hook.before_train(type('Runner', (), dict(model=model)))

    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.weight, before)


def test_recorded_agreement_is_that_of_the_choices(tmp_path):
    (tmp_path / 'choices.json').write_text('[0, 1, 1, 2]')
    metric = METRICS.build(
        dict(type='btkd_det.RecordedTeacherAgreement', choices=str(tmp_path / 'choices.json'))
    )
    labels, student = [0, 1, 2, 2], [0, 2, 2, 2]
    # In another order than that of the images.
    for i in (2, 0, 3, 1):
        sample = dict(
            sample_idx=i, gt_label=torch.tensor([labels[i]]), pred_label=torch.tensor([student[i]])
        )
        metric.process({}, [sample])

    expected = agreement(*map(torch.tensor, (labels, student, [0, 1, 1, 2])))
    assert metric.evaluate(4) == {f'teacher/{k}': v for k, v in expected.items()}
    assert expected['beyond'] == 1
    assert read_json(tmp_path / 'choices.json') == metric.choices
