"""The generated set: what is in it, and that a set is all there or not there."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from btkd_det.errors import ConfigError
from experiments.demo import shapes
from experiments.demo.shapes import CLASSES, SPLITS, ShapesSpec, draw_image, make_shapes, outline

ROOT = Path(__file__).parents[2]
SMALL = ShapesSpec(
    train=30, val=6, test=6, image_size=96, max_objects=6, empty_share=0.2, crowd_share=0.4
)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'shapes'
    assert make_shapes(out, SMALL) is True
    return out


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_same_spec_same_bytes(drawn, tmp_path):
    make_shapes(tmp_path / 'again', SMALL)
    assert contents(tmp_path / 'again') == contents(drawn)


def test_another_seed_and_another_split_give_other_images():
    image = np.asarray(draw_image(SMALL, 'train', 1)[0])
    other_seed = np.asarray(draw_image(ShapesSpec(seed=1, image_size=96), 'train', 1)[0])
    assert (image != other_seed).any()
    assert (image != np.asarray(draw_image(SMALL, 'test', 1)[0])).any()


def test_larger_split_begins_with_the_smaller_one(drawn, tmp_path):
    larger = ShapesSpec(**{**vars(SMALL), 'train': 40})
    make_shapes(tmp_path / 'larger', larger)
    for name in ('train/000001.jpg', 'train/000030.jpg', 'test/000006.jpg'):
        assert (tmp_path / 'larger' / name).read_bytes() == (drawn / name).read_bytes()


@pytest.mark.parametrize('split', SPLITS)
def test_coco_reads_every_split(drawn, split):
    coco = COCO(drawn / 'annotations' / f'instances_{split}.json')
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.imgs) == getattr(SMALL, split)
    for image in coco.imgs.values():
        assert (drawn / split / image['file_name']).is_file()
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        ys, xs = mask.nonzero()
        x, y, w, h = annotation['bbox']
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x, y, x + w, y + h)
        assert mask.sum() == annotation['area'] > 0


def test_the_hard_cases_are_there(drawn):
    coco = COCO(drawn / 'annotations' / 'instances_train.json')
    annotations = list(coco.anns.values())
    with_objects = {a['image_id'] for a in annotations}
    assert 0 < len(coco.imgs) - len(with_objects) < 15
    crowds = [a for a in annotations if a['iscrowd']]
    assert 5 < len(crowds) < 20
    assert all(isinstance(a['segmentation']['counts'], list) for a in crowds)
    singles = [a for a in annotations if not a['iscrowd']]
    assert sum(a['area'] < 0.02 * 96**2 for a in singles) > 0.1 * len(singles)
    assert occluded(coco, singles) > 0.1 * len(singles)
    assert {a['category_id'] for a in singles} == set(range(1, len(CLASSES) + 1))


def occluded(coco, annotations):
    """How many objects have another one within their box, and nothing is in two masks."""
    count = 0
    for annotation in annotations:
        x, y, w, h = (int(v) for v in annotation['bbox'])
        others = [
            coco.annToMask(a)
            for a in coco.imgToAnns[annotation['image_id']]
            if a['id'] != annotation['id']
        ]
        covered = np.sum(others, axis=0) if others else np.zeros((96, 96))
        assert not (coco.annToMask(annotation) * covered).any()
        count += covered[y : y + h, x : x + w].any()
    return count


def test_colors_tell_nothing_about_the_class():
    """The mean color inside the masks differs less between classes than within one."""
    by_class = {}
    for number in range(1, 120):
        image, annotations = draw_image(ShapesSpec(image_size=64), 'train', number)
        pixels = np.asarray(image, float)
        for a in annotations:
            x, y, w, h = (int(v) for v in a['bbox'])
            middle = pixels[y + h // 2, x + w // 2]
            by_class.setdefault(a['category_id'], []).append(middle)
    means = np.array([np.mean(v, axis=0) for v in by_class.values()])
    within = np.mean([np.std(v, axis=0) for v in by_class.values()])
    assert means.std(0).mean() < 0.4 * within


@pytest.mark.parametrize(
    ('name', 'corners'),
    [('hexagon', 6), ('pentagon', 5), ('triangle', 3), ('star', 10), ('hexagram', 12)],
)
def test_outline_has_the_corners_of_its_name(name, corners):
    points = outline(name, np.random.default_rng(0))
    assert points.shape == (corners, 2)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1)


def test_a_rectangle_is_longer_than_any_square():
    def aspect(name, seed):
        a, b, c, _ = outline(name, np.random.default_rng(seed))
        return np.linalg.norm(a - b) / np.linalg.norm(b - c)

    squares = [aspect('square', seed) for seed in range(50)]
    rectangles = [aspect('rectangle', seed) for seed in range(50)]
    assert max(squares) < 1.1 < min(rectangles) < 1.4


def test_same_parameters_again_draw_nothing(drawn):
    before = contents(drawn)
    assert make_shapes(drawn, SMALL) is False
    assert contents(drawn) == before


def test_other_parameters_are_refused(drawn):
    with pytest.raises(ConfigError, match=r'out: .*train=30.* asked for\s+31'):
        make_shapes(drawn, ShapesSpec(**{**vars(SMALL), 'train': 31}))


def test_a_folder_with_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / 'thesis.tex').write_text('mine')
    with pytest.raises(ConfigError, match=r'holds no shapes\.json'):
        make_shapes(tmp_path, SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


def test_a_stopped_run_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path / 'shapes', SMALL, on_image=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'shapes').mkdir()
    tiny = ShapesSpec(train=1, val=1, test=1, image_size=64)
    assert make_shapes(tmp_path / 'shapes', tiny) is True
    assert json.loads((tmp_path / 'shapes' / 'shapes.json').read_text())['train'] == 1


@pytest.mark.parametrize(
    ('field', 'value'),
    [('seed', -1), ('train', 0), ('image_size', 10), ('crowd_share', 1.5), ('val', 2.5)],
)
def test_wrong_parameters_name_the_field(field, value):
    with pytest.raises(ConfigError, match=rf'^{field}: {value}; valid: '):
        ShapesSpec(**{field: value})


def test_contact_sheet_shows_the_annotated_images(drawn):
    sheet = shapes.contact_sheet(SMALL, columns=2, rows=1)
    scale, gap = 2, 8
    assert sheet.size == (2 * 96 * scale + 3 * gap, 96 * scale + 2 * gap)


def test_command_line(tmp_path, monkeypatch, capsys):
    def call(*arguments):
        out = str(tmp_path / 'set')
        monkeypatch.setattr(sys, 'argv', ['make_shapes.py', '--out', out, *arguments])
        runpy.run_path(str(ROOT / 'tools' / 'make_shapes.py'), run_name='__main__')
        return capsys.readouterr().out

    sizes = ['--train', '2', '--val', '1', '--test', '1', '--image-size', '64']
    assert 'Drawn' in call(*sizes)
    assert 'There already' in call(*sizes)
    with pytest.raises(SystemExit, match='error: out: .* seed=0, asked for 5'):
        call(*sizes, '--seed', '5')
