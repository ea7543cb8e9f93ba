"""The pass over an annotation file: what it refuses, mends and counts, and how fast it is."""

import json
import subprocess
import sys
import time

import pytest
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric

from btkd_det.datasets.coco_json import category_names, mend
from btkd_det.errors import ConfigError
from btkd_det.preflight.annotations import check_coco_file

PREFIX = dict(img='')


def coco(images=2, boxes=2, **changes):
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=80, height=60) for i in range(images)],
        annotations=[
            dict(
                id=k + 1,
                image_id=k % images,
                category_id=k % 2 + 1,
                bbox=[k % 40, 2.5, 8, 9],
                area=72,
                iscrowd=0,
            )
            for k in range(boxes)
        ],
        categories=[dict(id=1, name='square'), dict(id=2, name='bar')],
    )
    return {**content, **changes}


def write(path, content, encoding='utf-8'):
    path.write_text(json.dumps(content), encoding=encoding)
    return path


def test_what_a_data_set_would_use_is_counted(tmp_path):
    content = coco(3, 4)
    content['annotations'][3]['bbox'] = [200, 2, 8, 9]
    content['images'].append(dict(id='x', file_name='x.jpg', width=80, height=6))
    path = write(tmp_path / 'a.json', content)
    found = check_coco_file(path, 'F', ('bar', 'square'))
    assert found.boxes == {0: 1, 1: 1, 2: 1}
    reasons = {reason: entry[:2] for reason, entry in found.ignored.items()}
    assert reasons == {
        "bbox outside of the image, by the file's width and height": [1, 'annotation 4']
    }
    assert found.used_images({}) == [0, 1, 2, 'x']
    filters = dict(filter_empty_gt=True, min_size=7)
    assert found.used_images(dict(filter_cfg=filters, indices=2)) == [0, 1]
    assert found.used_images(dict(filter_cfg=filters, test_mode=True)) == [0, 1, 2, 'x']


@pytest.mark.parametrize('filters', [None, dict(filter_empty_gt=True), dict(min_size=30)])
@pytest.mark.parametrize('indices', [None, 2, -2, [0]])
def test_the_images_counted_are_those_of_the_data_set(tmp_path, filters, indices):
    content = coco(5, 3)
    content['images'][1]['height'] = 20
    content['annotations'][2]['category_id'] = 2
    path = write(tmp_path / 'a.json', content)
    config = dict(filter_cfg=filters, indices=indices)
    built = CocoDataset(str(path), dict(classes=('square',)), '', PREFIX, **config)
    found = check_coco_file(path, 'F', ('square',))
    ids = [built.get_data_info(i)['img_id'] for i in range(len(built))]
    assert found.used_images(config) == ids
    instances = [len(built.get_data_info(i)['instances']) for i in range(len(built))]
    used = found.used_images(config)
    assert [found.boxes.get(i, 0) for i in used] == instances


def test_the_error_names_the_file_the_id_and_the_count(tmp_path):
    content = coco(2, 5)
    content['annotations'][2]['bbox'] = [1, 2, 3]
    content['annotations'][4]['bbox'] = None
    path = write(tmp_path / 'a.json', content)
    with pytest.raises(ConfigError) as caught:
        check_coco_file(path, 'train_dataloader.dataset.ann_file')
    assert str(caught.value) == (
        f'train_dataloader.dataset.ann_file: {path}: annotation 3, bbox: [1, 2, 3]; valid: '
        '[x, y, width, height], four finite numbers (2 of 5 annotations)'
    )


def test_masks_are_needed_where_they_are_loaded(tmp_path):
    path = write(tmp_path / 'a.json', coco())
    check_coco_file(path, 'F')
    with pytest.raises(ConfigError, match='annotation 1, segmentation: missing'):
        check_coco_file(path, 'F', masks=True)


def test_mending_adds_what_follows_from_the_rest():
    content = coco(1, 4)
    first, second, third, fourth = content['annotations']
    del first['area'], second['iscrowd'], third['id']
    fourth['id'] = 1
    assert mend(content) == dict(area=(1, 1), iscrowd=(1, 2), id=(2, None))
    assert first['area'] == 72
    assert second['iscrowd'] == 0
    assert [a['id'] for a in content['annotations']] == [1, 2, 3, 4]
    assert mend(content) == {}


@pytest.mark.parametrize(
    ('given', 'ids', 'mended'),
    [
        ([0, 1, 2], [3, 1, 2], (1, 0)),
        ([-1, -2, 0], [1, 2, 3], (3, -1)),
        ([7.0, 3, 0.5], [7, 3, 8], (1, 0.5)),
        ([None, 2, True], [3, 2, 4], (2, None)),
    ],
)
def test_ids_that_coco_takes_for_no_match_are_numbered_anew(given, ids, mended):
    content = coco(1, 3)
    for annotation, identity in zip(content['annotations'], given, strict=True):
        annotation['id'] = identity
    assert mend(content) == dict(id=mended)
    assert [a['id'] for a in content['annotations']] == ids


def test_an_evaluator_reads_a_mended_file_by_a_link_too(tmp_path):
    content = coco()
    content['annotations'][0]['id'] = 0
    path = write(tmp_path / 'a.json', content)
    (tmp_path / 'link.json').symlink_to(path)
    check_coco_file(path, 'F')
    metric = CocoMetric(str(tmp_path / 'link.json'))
    assert [a['id'] for a in metric._coco_api.dataset['annotations']] == [3, 2]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_mmdetection_reads_a_mended_file(tmp_path, encoding):
    content = coco()
    for annotation in content['annotations']:
        del annotation['area'], annotation['iscrowd'], annotation['id']
    path = write(tmp_path / 'a.json', content, encoding)
    before = path.read_bytes()
    with pytest.raises(ValueError, match='BOM|codec'):
        CocoDataset(str(path), None, '', PREFIX)
    check_coco_file(path, 'F')
    built = CocoDataset(str(path), dict(classes=('square', 'bar')), '', PREFIX)
    boxes = [built.get_data_info(i)['instances'][0]['bbox'] for i in range(2)]
    assert boxes == [[0, 2.5, 8, 11.5], [1, 2.5, 9, 11.5]]
    metric = CocoMetric(str(path))
    assert [a['id'] for a in metric._coco_api.dataset['annotations']] == [1, 2]
    assert path.read_bytes() == before


def test_a_file_that_changes_is_read_again(tmp_path):
    path = write(tmp_path / 'a.json', coco())
    check_coco_file(path, 'F')
    write(path, {**coco(), 'images': []})
    with pytest.raises(ConfigError, match='images: an empty list'):
        check_coco_file(path, 'F')


def test_the_pass_takes_a_second_for_100_000_boxes(tmp_path):
    path = write(tmp_path / 'a.json', coco(10_000, 100_000))
    start = time.process_time()
    found = check_coco_file(path, 'F', ('square', 'bar'))
    assert sum(found.boxes.values()) == 100_000
    # Twice what it has to be, for slow machines.
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    'categories',
    [
        '[{"id": 1, "name": "square"},]',
        '[{"id": 1, "name": "square", "a": [1]}, {]',
        '[{"id": 1, "name": "open ]',
        '[' * 3000,
    ],
)
def test_damaged_categories_at_the_start_take_no_longer_than_the_rest(tmp_path, categories):
    boxes = ', '.join('{"bbox": [1, 2, 3, 4]}' for _ in range(100_000))
    path = tmp_path / 'a.json'
    path.write_text(f'{{"categories": {categories}, "annotations": [{boxes}]}}')
    start = time.process_time()
    assert category_names(path) is None
    assert time.process_time() - start < 1


def test_category_names_stand_before_or_behind_all_else(tmp_path):
    content = coco()
    path = write(tmp_path / 'a.json', content)
    assert category_names(path) == ['square', 'bar']
    path = write(tmp_path / 'b.json', dict(reversed(content.items())), 'utf-16')
    assert category_names(path) == ['square', 'bar']


def test_deep_nesting_is_refused_where_a_package_raised_the_recursion_limit(tmp_path):
    path = tmp_path / 'deep.json'
    path.write_text('[' * 200_000)
    script = (
        'import sys; sys.setrecursionlimit(10**6)\n'
        'from btkd_det.datasets.coco_json import UnreadableError, read_json\n'
        f'try: read_json({str(path)!r})\n'
        'except UnreadableError as error: print(error)\n'
        'assert sys.getrecursionlimit() == 10**6'
    )
    found = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert (found.returncode, found.stdout.splitlines()[-1:]) == (
        0,
        ['not valid JSON: nested too deeply'],
    )
