"""Classifiers whose heads state no number of classes are classifiers all the same."""

import pytest
from mmengine.config import Config

from btkd_det.config import count_classes
from btkd_det.errors import ConfigError
from btkd_det.report.class_means import gather
from tests.classifiers import build_classifier, image_batch, tiny_resnet


def lenet():
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.LeNet5', num_classes=7),
        head=dict(type='mmpretrain.ClsHead'),
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[33.0], std=[79.0]),
    )


def test_the_class_means_of_a_head_without_classes():
    model = build_classifier(lenet())
    batch = image_batch()
    batch['inputs'] = batch['inputs'][:, :1]
    found = gather(model, [batch])
    assert found['class_means'].shape == (7, 7)
    assert found['class_counts'].sum() == 6


def test_a_head_of_several_labels_is_refused():
    several = tiny_resnet()
    several['head'].update(type='mmpretrain.MultiLabelLinearClsHead')
    several['head'].pop('loss', None)
    with pytest.raises(ConfigError, match='gives no logits per class'):
        gather(build_classifier(several), [image_batch()])


def stating_none():
    model = lenet()
    model['backbone'].pop('num_classes')
    return model


@pytest.mark.parametrize(
    ('model', 'data', 'count'),
    [
        (lenet(), dict(type='MNIST', data_root='x'), 7),
        (stating_none(), dict(type='MNIST', data_root='x'), 10),
        (stating_none(), dict(type='CustomDataset', data_root='x', classes=['a', 'b']), 2),
        (tiny_resnet(), dict(type='MNIST', data_root='x'), 7),
        (dict(type='FasterRCNN'), dict(type='CocoDataset', data_root='x'), None),
    ],
)
def test_the_number_of_classes_is_the_heads_or_the_datas(model, data, count):
    cfg = Config(dict(default_scope='mmpretrain', model=model, train_dataloader=dict(dataset=data)))
    assert count_classes(cfg) == count
