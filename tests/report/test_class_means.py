import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from btkd_det.errors import ConfigError
from btkd_det.losses import IKDLoss
from btkd_det.report.class_means import gather
from btkd_det.sites.rois import record_rois

from ..classifiers import build_classifier, image_batch, tiny_resnet
from ..conftest import build_detector, detection_batch, tiny_faster_rcnn

TOOL = Path(__file__).parents[2] / 'tools/class_means.py'


def test_the_means_are_those_of_the_sampled_rois(detector):
    batches = [detection_batch(seed=0), detection_batch(seed=1)]
    torch.manual_seed(0)
    found = gather(detector, batches)
    assert not detector.training
    torch.manual_seed(0)
    rows = []
    with torch.no_grad():
        for batch in batches:
            with record_rois(detector.roi_head) as recorder:
                data = detector.data_preprocessor(batch, training=True)
                detector.loss(data['inputs'], data['data_samples'])
            rows += recorder.records
    logits = torch.cat([row.logits for row in rows]).double()
    labels = torch.cat([row.labels for row in rows])
    assert torch.equal(found['class_counts'], labels.bincount(minlength=4).double())
    assert found['class_counts'][-1] > 0
    for label in labels.unique():
        expected = logits[labels == label].mean(dim=0)
        torch.testing.assert_close(found['class_means'][label], expected)


def test_only_right_counts_fewer(detector):
    batch = detection_batch()
    torch.manual_seed(0)
    every = gather(detector, [batch])['class_counts']
    torch.manual_seed(0)
    right = gather(detector, [batch], only_right=True)['class_counts']
    assert (right <= every).all()
    assert right.sum() < every.sum()


def test_a_classifier_counts_its_images():
    pytest.importorskip('mmpretrain')
    from mmpretrain.models import ImageClassifier
    from mmpretrain.structures import DataSample

    torch.manual_seed(0)
    model = ImageClassifier(
        backbone=dict(type='mmpretrain.LeNet5'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=5, in_channels=120),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0], std=[255.0]),
    )
    images = torch.randint(0, 256, (6, 1, 32, 32), dtype=torch.uint8)
    labels = [0, 3, 3, 1, 0, 0]
    samples = [DataSample().set_gt_label(label) for label in labels]
    found = gather(model, [dict(inputs=list(images), data_samples=samples)])
    with torch.no_grad():
        logits = model(images.float() / 255, mode='tensor').double()
    assert found['class_counts'].tolist() == [3, 1, 0, 2, 0]
    torch.testing.assert_close(found['class_means'][3], logits[1:3].mean(dim=0))


def test_mixed_images_count_by_their_own_label():
    """Batch augmentation is for training: a mixed image would be one row of two classes."""
    pytest.importorskip('mmpretrain')
    mixed = dict(tiny_resnet(), train_cfg=dict(augments=dict(type='Mixup', alpha=1.0)))
    model = build_classifier(mixed).eval()
    batch = image_batch()
    with torch.no_grad():
        data = model.data_preprocessor(batch, training=False)
        logits = model.head(model.extract_feat(data['inputs'])).double()
    found = gather(model, [batch])
    labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
    assert torch.equal(found['class_counts'], labels.bincount(minlength=len(logits[0])).double())
    label = int(labels[0])
    torch.testing.assert_close(found['class_means'][label], logits[labels == label].mean(dim=0))


def test_a_model_without_class_logits_is_refused():
    with pytest.raises(ConfigError, match=r'CONFIG.model.type: Linear gives no logits per class'):
        gather(torch.nn.Linear(2, 2), [])


def test_no_batch_is_an_error(detector):
    with pytest.raises(ConfigError, match='gave no batch'):
        gather(detector, [])


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_the_command_writes_a_file_that_the_loss_reads(monkeypatch, folder, capsys):
    out = folder / 'new/means.pt'
    options = ['--out', out, '--device', 'cpu']
    run_tool(monkeypatch, folder / 'config.py', folder / 'teacher.pth', *options)
    said = capsys.readouterr().out
    loss = IKDLoss(4, class_means=str(out))
    assert f'Written: {out}' in said
    assert f'{int(loss.class_counts.sum())} rows of ' in said
    first = loss.class_means.clone()
    run_tool(monkeypatch, folder / 'config.py', folder / 'teacher.pth', *options)
    assert torch.equal(IKDLoss(4, class_means=str(out)).class_means, first)
    run_tool(monkeypatch, folder / 'config.py', folder / 'teacher.pth', *options, '--max-iters', 1)
    assert IKDLoss(4, class_means=str(out)).class_counts.sum() < loss.class_counts.sum()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.py', 'teacher.pth'], 'error: CONFIG'),
        (['config.py', 'nowhere.pth'], 'error: CKPT'),
        (['config.py', 'teacher.pth', '--max-iters', '0'], 'error: --max-iters: 0'),
        (['config.py', 'teacher.pth', '--cfg-options', 'data_root=/nowhere'], 'error: '),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(monkeypatch, folder, arguments, message):
    out = folder / 'means.pt'
    places = [folder / arguments[0], folder / arguments[1]]
    with pytest.raises(SystemExit) as end:
        run_tool(monkeypatch, *places, *arguments[2:], '--out', out)
    assert str(end.value).startswith(message)
    assert not out.exists()


def test_the_file_is_held_against_the_teacher_of_a_distilled_model(monkeypatch, folder):
    out = folder / 'means.pt'
    options = ['--out', out, '--device', 'cpu']
    run_tool(monkeypatch, folder / 'config.py', folder / 'teacher.pth', *options)
    student = tiny_faster_rcnn()
    student.update(
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=str(folder / 'config.py'), checkpoint=str(folder / 'teacher.pth')),
        distill=dict(roi_logits=dict(type='btkd_det.IKDLoss', num_classes=4, class_means=str(out))),
    )
    loss = build_detector(student).distill['roi_logits'][0]
    assert loss.class_names == ('cat', 'dog', 'hen')
    plain = loss.class_means.clone()
    model = build_detector(dict(student, teacher=dict(student['teacher'], class_map=[2, 0, 1])))
    order = [2, 0, 1, 3]
    assert torch.equal(model.distill['roi_logits'][0].class_means, plain[order][:, order])
    model = build_detector(student)
    with pytest.raises(ConfigError, match='class_means: has the classes cat, dog, hen, but the'):
        model.check_class_means(('dog', 'cat', 'hen'))
    mended = Config.fromfile(folder / 'config.py')
    mended.model.data_preprocessor.bgr_to_rgb = False
    with pytest.raises(ConfigError, match="distill.roi_logits.class_means.*the teacher's config"):
        build_detector(dict(student, teacher=dict(student['teacher'], config=mended)))
    torch.save(
        dict(state_dict=build_detector(tiny_faster_rcnn(), 3).state_dict()), folder / 'b.pth'
    )
    with pytest.raises(ConfigError, match="the checkpoint's SHA-256"):
        build_detector(
            dict(student, teacher=dict(student['teacher'], checkpoint=f'{folder}/b.pth'))
        )
