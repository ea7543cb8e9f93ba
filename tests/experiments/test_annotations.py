"""Spoiled annotations: the share, what else stays, and the same file from the same seed."""

import copy
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from btkd_det.errors import ConfigError
from experiments.annotations import drop_boxes, flip_classes, read

ROOT = Path(__file__).parents[2]


@pytest.fixture
def content():
    """120 objects of the categories 2, 5 and 9 in 10 images, one crowd region in each."""
    annotations = [
        dict(
            id=7 + number,
            image_id=number % 10,
            category_id=(2, 5, 9)[number % 3],
            bbox=[number, 1, 10, 20],
            iscrowd=int(number < 10),
        )
        for number in range(130)
    ]
    categories = [dict(id=9, name='c'), dict(id=2, name='a'), dict(id=5, name='b')]
    images = [dict(id=number, file_name=f'{number}.jpg') for number in range(10)]
    return dict(info={}, images=images, annotations=annotations, categories=categories)


def differing(content, other):
    pairs = zip(content['annotations'], other['annotations'], strict=True)
    return [(ours, its) for ours, its in pairs if ours != its]


@pytest.mark.parametrize(('share', 'flips'), [(0, 0), (0.3, 36), (1, 120)])
def test_flips_the_share_and_nothing_but_classes(content, share, flips):
    before = copy.deepcopy(content)
    flipped = flip_classes(content, share, seed=3)
    changed = differing(content, flipped)
    assert content == before
    assert len(changed) == flips
    for ours, its in changed:
        assert its['category_id'] in (2, 5, 9)
        assert its['category_id'] != ours['category_id']
        assert {**its, 'category_id': ours['category_id']} == ours
        assert not ours['iscrowd']
    assert {**flipped, 'annotations': 0} == {**content, 'annotations': 0}


def test_flips_uniformly_over_the_other_classes(content):
    content['annotations'] = [
        dict(id=number, image_id=0, category_id=5, bbox=[0, 0, 1, 1]) for number in range(4000)
    ]
    counts = Counter(a['category_id'] for a in flip_classes(content, 1.0)['annotations'])
    assert counts[5] == 0
    assert counts[2] == pytest.approx(2000, abs=150)
    assert counts[2] + counts[9] == 4000


@pytest.mark.parametrize(('share', 'drops'), [(0, 0), (0.3, 36), (1, 120)])
def test_drops_the_share_and_keeps_the_rest_as_it_is(content, share, drops):
    before = copy.deepcopy(content)
    dropped = drop_boxes(content, share, seed=3)
    kept = {a['id'] for a in dropped['annotations']}
    assert content == before
    assert len(kept) == 130 - drops
    assert dropped['annotations'] == [a for a in content['annotations'] if a['id'] in kept]
    assert sum(a['iscrowd'] for a in dropped['annotations']) == 10
    assert {**dropped, 'annotations': 0} == {**content, 'annotations': 0}


@pytest.mark.parametrize('spoil', [flip_classes, drop_boxes])
def test_a_seed_decides_which_and_a_larger_share_spoils_the_same_and_more(content, spoil):
    def spoiled(share, seed):
        entries = {a['id']: a for a in spoil(content, share, seed)['annotations']}
        return {a['id']: entries.get(a['id']) for a in content['annotations']}

    def changed(share, seed):
        after = spoiled(share, seed)
        return {a['id']: after[a['id']] for a in content['annotations'] if after[a['id']] != a}

    assert changed(0.3, 1) == changed(0.3, 1)
    assert changed(0.3, 1) != changed(0.3, 2)
    assert changed(0.3, 1).items() <= changed(0.6, 1).items()


@pytest.mark.parametrize('spoil', [flip_classes, drop_boxes])
@pytest.mark.parametrize('share', [-0.1, 1.1, True, '0.3', float('nan')])
def test_refuses_what_is_no_share(content, spoil, share):
    with pytest.raises(ConfigError, match='from 0 to 1'):
        spoil(content, share)


def test_refuses_to_flip_the_only_class(content):
    content['categories'] = content['categories'][:1]
    with pytest.raises(ConfigError, match='at least 2'):
        flip_classes(content, 0.5)


def run(*args):
    command = [sys.executable, str(ROOT / 'experiments/annotations.py'), *map(str, args)]
    # As a user runs it, from the root of the checkout.
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_writes_the_same_file_again(content, tmp_path):
    source = tmp_path / 'in.json'
    source.write_text(json.dumps(content))
    outs = [tmp_path / 'a' / 'out.json', tmp_path / 'b.json']
    for out in outs:
        done = run(source, '--out', out, '--flip', 0.25, '--drop', 0.5, '--seed', 4)
        assert done.returncode == 0, done.stderr
    assert outs[0].read_bytes() == outs[1].read_bytes()
    expected = flip_classes(drop_boxes(content, 0.5, 4), 0.25, 4)
    assert read(outs[0]) == expected
    assert len(expected['annotations']) == 70


@pytest.mark.parametrize(
    ('text', 'message'), [(None, 'No such file'), ('{', 'COCO json'), ('[]', "'annotations'")]
)
def test_refuses_what_is_no_coco_file(tmp_path, text, message):
    path = tmp_path / 'in.json'
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(path)
