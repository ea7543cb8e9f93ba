"""Looking for class names walks through a file once, whatever stands in it."""

import json

import pytest

from btkd_det.datasets import coco_json
from btkd_det.datasets.coco_json import category_names
from btkd_det.preflight.json_classes import openmmlab_classes

ANNOTATIONS = json.dumps([dict(id=i, categories=[i], metainfo={}) for i in range(500)])


@pytest.fixture
def walked(monkeypatch):
    """How many bytes are looked at for a closing bracket."""
    counts, end_of_value = [], coco_json.end_of_value

    def counting(text, start):
        end = end_of_value(text, start)
        counts.append((len(text) if end is None else end) - start)
        return end

    monkeypatch.setattr(coco_json, 'end_of_value', counting)
    return counts


TEXTS = {
    'a trailing comma within': '{"categories": [{"id": 1, "name": "a",}], "annotations": %s}',
    'a trailing comma behind': '{"categories": [{"id": 1, "name": "a"},], "annotations": %s}',
    'no end': '{"categories": [{"id": 1, "name": "a"}, "annotations": %s}',
    'one within the other': '{"categories": [' * 300 + '%s' + ']}' * 300,
    'metainfo without an end': '{"metainfo": {"classes": ["a"], "annotations": %s',
    'metainfo within metainfo': '{"metainfo": ' * 300 + '{"annotations": %s}' + '}' * 300,
}


@pytest.mark.parametrize('find', [category_names, openmmlab_classes])
@pytest.mark.parametrize('case', TEXTS)
def test_no_byte_is_looked_at_twice(case, find, tmp_path, walked):
    path = tmp_path / 'annotations.json'
    path.write_text(TEXTS[case] % ANNOTATIONS)
    find(path)
    assert sum(walked) <= path.stat().st_size


def test_a_list_behind_a_damaged_one_is_found(tmp_path):
    path = tmp_path / 'annotations.json'
    path.write_text('{"info": {"categories": [1,]}, "categories": [{"id": 1, "name": "a"}]}')
    assert category_names(path) == ['a']
