"""What ``tools/test.py`` makes of a config's evaluators, and the files and tables of detections."""

import json
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS

import btkd_det  # noqa: F401
from btkd_det.errors import ConfigError
from btkd_det.evaluation.evaluators import prepare_evaluators
from btkd_det.report.table import detection_table

FILE = 'annotations.json'


def prepared(*evaluators, model='FasterRCNN', **options):
    given = list(evaluators) if len(evaluators) != 1 else evaluators[0]
    cfg = Config(dict(model=dict(type=model), test_evaluator=given))
    return prepare_evaluators(cfg, **options)


@pytest.mark.parametrize(
    ('given', 'kind'),
    [
        (dict(), 'btkd_det.CocoAP'),
        (dict(metric=['bbox', 'segm'], iou_thrs=[0.5]), 'btkd_det.CocoAP'),
        (dict(format_only=True, outfile_prefix='x'), 'btkd_det.CocoAP'),
        (dict(metric='proposal', proposal_nums=(10,)), 'CocoMetric'),
        (dict(metric=['bbox', 'proposal_fast']), 'CocoMetric'),
    ],
)
def test_what_coco_ap_cannot_count_stays_mmdetections(given, kind):
    given = dict(given, type='CocoMetric', ann_file=FILE)
    (found,) = prepared(given)
    assert found['type'] == kind
    if kind == 'CocoMetric':
        assert found == given
    else:
        assert 'iou_thrs' not in found
        assert found.get('outfile_prefix') == given.get('outfile_prefix')


@pytest.mark.parametrize(
    ('given', 'count', 'topk'),
    [
        (dict(), 10, (1, 5)),
        (dict(), 4, (1,)),
        (dict(), None, (1,)),
        (dict(topk=(1, 3)), 10, (1, 3)),
        (dict(topk=3), None, (3,)),
        (dict(topk=(1, 5)), None, (1, 5)),
        (dict(topk=(1, 5)), 5, (1, 5)),
        (dict(topk=(5, 7)), 4, (1,)),
    ],
)
def test_the_users_top_k_stays_as_far_as_there_are_classes(given, count, topk):
    (found,) = prepared(dict(given, type='Accuracy'), model='ImageClassifier', class_count=count)
    assert found['topk'] == topk


def test_predictions_come_beside_what_is_measured():
    found = prepared(dict(type='VOCMetric', metric='mAP'), classwise=True, predictions='p.json')
    assert [each['type'] for each in found] == ['btkd_det.VocAP', 'btkd_det.CocoPredictions']
    assert found[0]['classwise']
    assert found[1] == dict(type='btkd_det.CocoPredictions', file='p.json', ann_file=None)
    assert prepared(dict(type='CocoMetric', ann_file=FILE), predictions='p')[1]['ann_file'] == FILE
    with pytest.raises(
        ConfigError, match='--predictions: p.json, but ImageClassifier gives no box'
    ):
        prepared(dict(type='Accuracy'), model='ImageClassifier', predictions='p.json')


@pytest.mark.parametrize('kind', [dict(type='Evaluator'), dict(), dict(type='mine.Evaluator')])
@pytest.mark.parametrize('several', [False, True])
def test_an_evaluator_around_its_metrics_stays(kind, several):
    inner = dict(type='CocoMetric', ann_file=FILE)
    given = dict(kind, metrics=[inner] if several else inner)
    found = prepared(given, classwise=True, predictions='p.json')
    counts, writes = found.pop('metrics')
    assert found == kind
    assert counts == dict(type='btkd_det.CocoAP', ann_file=FILE, classwise=True, fast=False)
    assert (writes['type'], writes['ann_file']) == ('btkd_det.CocoPredictions', FILE)
    assert inner == dict(type='CocoMetric', ann_file=FILE)


def test_an_evaluator_of_several_data_sets_keeps_its_metrics_number():
    inner = [dict(type='CocoMetric', ann_file=name) for name in ('a.json', 'b.json')]
    given = dict(type='MultiDatasetsEvaluator', metrics=inner, dataset_prefixes=['a', 'b'])
    found = prepared(given)
    assert (found['type'], found['dataset_prefixes']) == ('MultiDatasetsEvaluator', ['a', 'b'])
    assert [each['type'] for each in found['metrics']] == ['btkd_det.CocoAP'] * 2
    assert [each['ann_file'] for each in found['metrics']] == ['a.json', 'b.json']
    with pytest.raises(ConfigError, match='^--predictions: p.json, but test_evaluator is a Multi'):
        prepared(given, predictions='p.json')


def outputs(masks=False):
    found = dict(
        bboxes=torch.tensor([[1.0, 2.0, 4.0, 8.0], [0.0, 0.0, 2.0, 2.0]]),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.5, 0.25]),
    )
    if masks:
        found['masks'] = torch.ones(2, 4, 4, dtype=torch.bool)
    return [dict(img_id=7, pred_instances=found)]


@pytest.mark.parametrize('masks', [False, True])
@pytest.mark.parametrize('annotated', [False, True])
def test_predictions_are_cocos_results(tmp_path, masks, annotated):
    path = tmp_path / 'new/p.json'
    listed = [dict(id=30, name='dog'), dict(id=4, name='cow'), dict(id=9, name='cat')]
    (tmp_path / FILE).write_text(json.dumps(dict(categories=listed)))
    ann_file = str(tmp_path / FILE) if annotated else None
    metric = METRICS.build(dict(type='btkd_det.CocoPredictions', file=path, ann_file=ann_file))
    metric.dataset_meta = dict(classes=('dog', 'cat'))
    metric.process({}, outputs(masks))
    assert metric.evaluate(1) == {}
    entries = json.loads(path.read_text())
    assert [entry['bbox'] for entry in entries] == [[1, 2, 3, 6], [0, 0, 2, 2]]
    assert [entry['category_id'] for entry in entries] == ([9, 30] if annotated else [2, 1])
    assert [entry['score'] for entry in entries] == [0.5, 0.25]
    assert {entry['image_id'] for entry in entries} == {7}
    assert all(('segmentation' in entry) == masks for entry in entries)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_category_ids_are_read_in_every_encoding_that_the_data_are(tmp_path, encoding):
    listed = dict(categories=[dict(id=30, name='dog'), dict(id=9, name='cat')])
    (tmp_path / FILE).write_text(json.dumps(listed), encoding=encoding)
    metric = METRICS.build(
        dict(type='btkd_det.CocoPredictions', file='p', ann_file=str(tmp_path / FILE))
    )
    metric.dataset_meta = dict(classes=('dog', 'cat'))
    assert metric._categories() == [30, 9]


def test_voc_is_printed_as_a_table():
    metric = METRICS.build(dict(type='btkd_det.VocAP', metric='mAP', classwise=True))
    metric.dataset_meta = dict(classes=('cat', 'dog', 'cow'), dataset_type='X')
    empty = np.zeros((0, 4), dtype=np.float32)
    truth = dict(
        gt_instances=dict(
            bboxes=torch.tensor([[0.0, 0.0, 9.0, 9.0], [20.0, 20.0, 30.0, 30.0]]),
            labels=torch.tensor([0, 1]),
        ),
        ignored_instances=dict(bboxes=torch.from_numpy(empty), labels=torch.zeros(0)),
        pred_instances=dict(
            bboxes=torch.tensor([[0.0, 0.0, 9.0, 9.0]]),
            labels=torch.tensor([0]),
            scores=torch.tensor([0.9]),
        ),
    )
    metric.process({}, [truth])
    metrics = metric.evaluate(1)
    assert metrics['pascal_voc/AP50/cat'] == 1
    assert metrics['pascal_voc/AP50/dog'] == 0
    text = detection_table({**metrics, 'other/x': 3})
    lines = [line.split() for line in text.splitlines() if line]
    assert lines[0] == ['VOC', 'mAP', 'AP50']
    assert lines[2] == ['50.0', '50.0']
    assert ['cat', '100.0'] in lines
    assert ['cow', '-'] in lines
    assert lines[-1] == ['other/x:', '3']


@pytest.mark.parametrize('fast', [False, True])
def test_the_fast_evaluation_is_that_which_was_asked_for(fast):
    (found,) = prepared(dict(type='CocoMetric', ann_file=None), fast=fast)
    assert METRICS.build(found).fast is fast


def test_without_the_package_the_fast_evaluation_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(ConfigError, match='^fast: True, but faster-coco-eval is not there'):
        METRICS.build(prepared(dict(type='CocoMetric', ann_file=None), fast=True)[0])
    assert METRICS.build(prepared(dict(type='CocoMetric', ann_file=None))[0]).fast is False
