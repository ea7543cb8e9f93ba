"""COCO's twelve numbers: the published table, a case done by hand, and a slow second opinion."""

import functools
import json
import re

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools.coco import COCO

from btkd_det.evaluation import COCO_NUMBERS, CocoAP, coco_numbers
from tests.shared_data import SHARED_DATA, absent

ORACLE = SHARED_DATA / 'coco_ap_oracle'
THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = {'all': (0, 1e10), 's': (0, 32**2), 'm': (32**2, 96**2), 'l': (96**2, 1e10)}


@pytest.fixture(autouse=True, params=[False, True], ids=['pycocotools', 'fast'])
def fast(request, monkeypatch):
    """Every test of this file by pycocotools, and by the fast evaluation."""
    for function in (coco_numbers, CocoAP):
        by_default = functools.partial(function, fast=request.param)
        monkeypatch.setitem(globals(), function.__name__, by_default)


def ground_truth(tmp_path, annotations, images, categories=1):
    """A COCO object of boxes ``(image, category, x, y, w, h, iscrowd)``."""
    content = {
        'images': [{'id': i, 'width': 640, 'height': 640} for i in images],
        'categories': [{'id': c, 'name': f'class {c}'} for c in range(1, categories + 1)],
        'annotations': [
            {
                'id': number,
                'image_id': image,
                'category_id': category,
                'bbox': box,
                'area': box[2] * box[3],
                'iscrowd': crowd,
            }
            for number, (image, category, *box, crowd) in enumerate(annotations, 1)
        ],
    }
    path = tmp_path / 'ground_truth.json'
    path.write_text(json.dumps(content))
    return COCO(path)


def detections(*rows):
    """COCO results from ``(image, category, x, y, w, h, score)``."""
    return [
        {'image_id': image, 'category_id': category, 'bbox': box, 'score': score}
        for image, category, *box, score in rows
    ]


# --- COCO's published table -------------------------------------------------------------------


@pytest.fixture(scope='module')
def published():
    """Ground truth, detections and the box table that the authors of COCO publish for them."""
    if not ORACLE.is_dir():
        pytest.skip(absent('the ground truth and detections published by COCO'))
    text = (ORACLE / 'val2014_fake_eval_res.txt').read_text()
    section = text.split('type=bbox')[1].split('type=')[0]
    table = [float(v) for v in re.findall(r'\] = (-?[\d.]+)', section)]
    assert len(table) == 12
    results = json.loads((ORACLE / 'instances_val2014_fakebbox100_results.json').read_text())
    return (
        ORACLE / 'instances_val2014_100.json',
        results,
        dict(zip(COCO_NUMBERS, table, strict=True)),
    )


def test_published_table(published):
    path, results, table = published
    numbers, _ = coco_numbers(COCO(path), results)
    assert {name: round(value, 3) for name, value in numbers.items()} == table


def test_published_table_through_the_metric(published):
    """The way of a test run: data samples in, metrics out."""
    path, results, table = published
    metric = CocoAP(ann_file=str(path), prefix='coco', classwise=True)
    coco = COCO(path)
    categories = coco.loadCats(coco.getCatIds())
    metric.dataset_meta = {'classes': tuple(c['name'] for c in categories)}
    for image in coco.loadImgs(coco.getImgIds()):
        metric.process({}, [as_sample(image, results, [c['id'] for c in categories])])
    metrics = metric.evaluate(size=len(coco.imgs))
    assert {name: round(metrics[f'coco/bbox_{name}'], 3) for name in COCO_NUMBERS} == table
    by_class = [v for k, v in metrics.items() if k.startswith('coco/bbox_AP/')]
    assert len(by_class) == len(categories)
    counted = [v for v in by_class if v >= 0]
    assert np.mean(counted) == pytest.approx(metrics['coco/bbox_AP'])


def as_sample(image, results, category_ids):
    found = [r for r in results if r['image_id'] == image['id']]
    boxes = torch.tensor([r['bbox'] for r in found], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    sample = DetDataSample(
        metainfo=dict(img_id=image['id'], ori_shape=(image['height'], image['width']))
    )
    sample.pred_instances = InstanceData(
        bboxes=boxes,
        scores=torch.tensor([r['score'] for r in found], dtype=torch.float64),
        labels=torch.tensor([category_ids.index(r['category_id']) for r in found]).long(),
    )
    return sample.to_dict()


# --- by hand ----------------------------------------------------------------------------------


def test_two_objects_by_hand(tmp_path):
    """Two objects of 100 x 100; one found at IoU 0.82, a false alarm, the other found exactly.

    Up to a threshold of 0.8 (seven of ten) the three are right, wrong, right: precision 1 up to
    recall 0.5 (51 of COCO's 101 recall levels) and 2/3 up to recall 1. Above it (three) they
    are wrong, wrong, right: precision 1/3 up to recall 0.5, nothing beyond. Among large
    objects the first, of 8,200 pixels, is then no false alarm but of another size: 1/2.
    """
    truth = ground_truth(tmp_path, [(1, 1, 0, 0, 100, 100, 0), (1, 1, 200, 0, 100, 100, 0)], [1])
    found = detections(
        (1, 1, 0, 0, 100, 82, 0.9), (1, 1, 400, 400, 100, 100, 0.8), (1, 1, 200, 0, 100, 100, 0.7)
    )
    low, high, high_large = (51 + 50 * 2 / 3) / 101, 51 / 3 / 101, 51 / 2 / 101
    expected = dict.fromkeys(COCO_NUMBERS, -1.0)
    expected.update(AP=0.7 * low + 0.3 * high, AP50=low, AP75=low)
    expected.update(APl=0.7 * low + 0.3 * high_large)
    expected.update(AR1=0.7 * 0.5, AR10=0.85, AR100=0.85, ARl=0.85)
    numbers, by_class = coco_numbers(truth, found)
    assert numbers == pytest.approx(expected)
    assert by_class == pytest.approx({'class 1': expected['AP']})


def test_the_classes_of_a_file_in_any_order_keep_their_ap(tmp_path):
    truth = ground_truth(tmp_path, [(1, 1, 0, 0, 99, 99, 0), (1, 2, 200, 200, 99, 99, 0)], [1], 2)
    truth.dataset['categories'].reverse()
    truth.createIndex()
    found = detections((1, 2, 200, 200, 99, 99, 0.9))
    for ids in (None, [1, 2], [2, 1]):
        by_class = coco_numbers(truth, found, category_ids=ids)[1]
        assert by_class == pytest.approx({'class 1': 0.0, 'class 2': 1.0})


@pytest.mark.parametrize('ids', [(0, 1), (-3, 0), (1, 1), (None, 2)])
def test_an_annotation_is_found_whatever_its_id(tmp_path, ids):
    boxes = [(1, 1, 0, 0, 50, 50, 0), (1, 1, 200, 200, 50, 50, 0)]
    truth = ground_truth(tmp_path, boxes, [1])
    for annotation, identity in zip(truth.dataset['annotations'], ids, strict=True):
        annotation['id'] = identity
    truth.createIndex()
    found = detections(*((*box[:-1], 0.9) for box in boxes))
    assert coco_numbers(truth, found)[0]['AP'] == pytest.approx(1)
    assert tuple(a['id'] for a in truth.dataset['annotations']) == ids


def test_detections_in_a_crowd_are_neither_right_nor_wrong(tmp_path):
    boxes = [(1, 1, 0, 0, 50, 50, 0), (1, 1, 200, 200, 300, 300, 1)]
    truth = ground_truth(tmp_path, boxes, [1])
    in_crowd = [(1, 1, 210, 210, 40, 40, 0.95), (1, 1, 300, 300, 40, 40, 0.94)]
    numbers, _ = coco_numbers(truth, detections((1, 1, 0, 0, 50, 50, 0.5), *in_crowd))
    assert (numbers['AP'], numbers['AR100'], numbers['AR1']) == pytest.approx((1, 1, 0))


def test_a_false_alarm_on_an_empty_image_costs(tmp_path):
    truth = ground_truth(tmp_path, [(1, 1, 0, 0, 50, 50, 0)], [1, 2])
    found = detections((1, 1, 0, 0, 50, 50, 0.5), (2, 1, 0, 0, 50, 50, 0.9))
    assert coco_numbers(truth, found)[0]['AP'] == pytest.approx(0.5)
    assert coco_numbers(truth, found, image_ids=[1])[0]['AP'] == pytest.approx(1)


@pytest.mark.parametrize('false_alarms', [[], [(1, 1, 400, 400, 50, 50, 0.5)]])
def test_nothing_found_is_zero_and_nothing_to_find_is_not_counted(tmp_path, false_alarms):
    truth = ground_truth(tmp_path, [(1, 1, 0, 0, 50, 50, 0)], [1], categories=2)
    numbers, by_class = coco_numbers(truth, detections(*false_alarms))
    sizes = {'APs': -1.0, 'APl': -1.0, 'ARs': -1.0, 'ARl': -1.0}
    assert numbers == {**dict.fromkeys(COCO_NUMBERS, 0.0), **sizes}
    assert by_class == {'class 1': 0.0, 'class 2': -1.0}


@pytest.mark.parametrize('false_alarms', [[], [(1, 1, 400, 400, 50, 50, 0.5)]])
def test_nothing_annotated_is_nothing_counted(tmp_path, false_alarms):
    truth = ground_truth(tmp_path, [], [1])
    numbers, by_class = coco_numbers(truth, detections(*false_alarms))
    assert set(numbers.values()) == {-1.0}
    assert by_class == {'class 1': -1.0}


@pytest.mark.parametrize('false_alarms', [[], [(1, 1, 400, 400, 50, 50, 0.5)]])
def test_the_same_through_the_metric(tmp_path, false_alarms):
    truth = ground_truth(tmp_path, [(1, 1, 0, 0, 50, 50, 0)], [1], categories=2)
    metric = CocoAP(ann_file=str(tmp_path / 'ground_truth.json'), classwise=True)
    metric.dataset_meta = {'classes': ('class 1', 'class 2')}
    metric.process({}, [as_sample(truth.loadImgs([1])[0], detections(*false_alarms), [1, 2])])
    metrics = metric.evaluate(size=1)
    assert metrics['coco/bbox_APm'] == 0
    assert metrics['coco/bbox_APl'] == metrics['coco/bbox_AP/class 2'] == -1


# --- a slow second opinion --------------------------------------------------------------------


def slow_numbers(annotations, found, categories):
    """The twelve numbers from COCO's definition, one object at a time (ours, independent)."""

    def average(what, thresholds=THRESHOLDS, area='all', limit=100):
        values = [
            curve(annotations, found, category, threshold, AREAS[area], limit)[what]
            for threshold in thresholds
            for category in range(1, categories + 1)
        ]
        values = [v for v in values if v is not None]
        return sum(values) / len(values) if values else -1.0

    return {
        'AP': average('precision'),
        'AP50': average('precision', [0.5]),
        'AP75': average('precision', [0.75]),
        **{f'AP{a}': average('precision', area=a) for a in 'sml'},
        **{f'AR{n}': average('recall', limit=n) for n in (1, 10, 100)},
        **{f'AR{a}': average('recall', area=a) for a in 'sml'},
    }


def curve(annotations, found, category, threshold, area, limit):
    """Mean precision over 101 recall levels, and the highest recall; None without objects."""
    objects, marks = 0, []
    for image in {a[0] for a in annotations} | {d['image_id'] for d in found}:
        truth = [list(a[2:]) for a in annotations if a[:2] == (image, category)]
        truth = [(box, crowd, crowd or not within(box, area)) for *box, crowd in truth]
        objects += sum(not ignored for _, _, ignored in truth)
        own = [d for d in found if (d['image_id'], d['category_id']) == (image, category)]
        own.sort(key=lambda d: -d['score'])
        marks += match(truth, own[:limit], threshold, area)
    if objects == 0:
        return {'precision': None, 'recall': None}
    points, right, wrong = [], 0, 0
    for _, is_right in sorted(marks, key=lambda m: -m[0]):
        right, wrong = right + is_right, wrong + (not is_right)
        points.append((right / objects, right / (right + wrong)))
    levels = [
        max((precision for recall, precision in points if recall >= level), default=0.0)
        for level in np.linspace(0, 1, 101)
    ]
    return {'precision': sum(levels) / 101, 'recall': points[-1][0] if points else 0.0}


def match(truth, own, threshold, area):
    """(score, right) of each detection that counts: the best free object at or above the IoU."""
    taken, marks = set(), []
    for detection in own:
        candidates = [
            (not ignored, overlap(detection['bbox'], box, crowd), i)
            for i, (box, crowd, ignored) in enumerate(truth)
            if i not in taken or crowd
        ]
        candidates = [c for c in candidates if c[1] >= threshold]
        if candidates:
            counts, _, chosen = max(candidates)
            taken.add(chosen)
            if counts:
                marks.append((detection['score'], True))
        elif within(detection['bbox'], area):
            marks.append((detection['score'], False))
    return marks


def overlap(detection, box, crowd):
    x = min(detection[0] + detection[2], box[0] + box[2]) - max(detection[0], box[0])
    y = min(detection[1] + detection[3], box[1] + box[3]) - max(detection[1], box[1])
    common = max(x, 0) * max(y, 0)
    size = detection[2] * detection[3]
    return common / (size if crowd else size + box[2] * box[3] - common)


def within(box, area):
    return area[0] <= box[2] * box[3] <= area[1]


def random_scene(rng, images=9, categories=3):
    """Objects of all sizes, some crowds, empty images; detections near them and far off."""
    annotations, found = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 8)):
            box = np.concatenate([rng.uniform(0, 400, 2), np.exp(rng.uniform(2.5, 5.5, 2))])
            category = int(rng.integers(1, categories + 1))
            crowd = int(rng.random() < 0.15)
            annotations.append((image, category, *box.tolist(), crowd))
            for _ in range(rng.integers(0, 4)):
                near = (box * rng.uniform(0.9, 1.1, 4)).tolist()
                guess = category if rng.random() < 0.8 else 1
                found.append((image, guess, *near, rng.random()))
        for _ in range(rng.integers(0, 5)):
            box = np.concatenate([rng.uniform(0, 400, 2), rng.uniform(5, 200, 2)])
            found.append((image, int(rng.integers(1, categories + 1)), *box.tolist(), rng.random()))
    return annotations, found


@pytest.mark.parametrize('seed', range(6))
def test_slow_second_opinion(tmp_path, seed):
    rng = np.random.default_rng(seed)
    annotations, found = random_scene(rng)
    # More than COCO counts on one image: the lowest have to be left out.
    annotations.append((1, 2, 300.0, 300.0, 60.0, 60.0, 0))
    found += [(1, 2, 500.0, 500.0, 30.0, 30.0, 1e-3 + 1e-6 * i) for i in range(120)]
    found.append((1, 2, 300.0, 300.0, 60.0, 59.0, 1e-4))
    truth = ground_truth(tmp_path, annotations, range(1, 10), categories=3)
    numbers, by_class = coco_numbers(truth, detections(*found))
    assert numbers == pytest.approx(slow_numbers(annotations, detections(*found), 3), abs=1e-9)
    assert np.mean(list(by_class.values())) == pytest.approx(numbers['AP'])


def test_slow_second_opinion_through_the_metric(tmp_path):
    rng = np.random.default_rng(10)
    annotations, found = random_scene(rng)
    truth = ground_truth(tmp_path, annotations, range(1, 10), categories=3)
    metric = CocoAP(ann_file=str(tmp_path / 'ground_truth.json'))
    metric.dataset_meta = {'classes': ('class 1', 'class 2', 'class 3')}
    for image in truth.loadImgs(truth.getImgIds()):
        metric.process({}, [as_sample(image, detections(*found), [1, 2, 3])])
    metrics = metric.evaluate(size=9)
    expected = slow_numbers(annotations, detections(*found), 3)
    assert metrics == pytest.approx({f'coco/bbox_{k}': v for k, v in expected.items()})
