"""Which class a label means: by the file where the host numbers by it, or a refusal."""

import json

import pytest
import torch
from mmengine.config import Config
from PIL import Image

import btkd_det
from btkd_det import preflight
from btkd_det.errors import ConfigError
from btkd_det.preflight.classes import label_classes, stated_classes

from ..conftest import build_detector, tiny_faster_rcnn

KD = dict(roi_logits=dict(type='btkd_det.KDLoss'))


def write_coco(path, names):
    categories = [dict(id=7 - i, name=name) for i, name in enumerate(names)]
    images = [dict(id=1, file_name='1.png', width=40, height=40)]
    common = dict(image_id=1, bbox=[4, 4, 20, 20], area=400, iscrowd=0)
    annotations = [dict(common, id=i, category_id=7 - i) for i in range(len(names))]
    content = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(content))
    Image.new('RGB', (40, 40), 'gray').save(path.parent / '1.png')


def coco(root, ann_file, classes, **keys):
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=ann_file,
        metainfo=dict(classes=classes),
        data_prefix=dict(img=''),
        **keys,
    )


def config(train, val=None, **model):
    loader = dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False))
    loaders = dict(train_dataloader=dict(loader, dataset=train))
    if val is not None:
        loaders['val_dataloader'] = dict(loader, dataset=val)
    return Config(dict(model=dict(type='FasterRCNN', **model), default_scope='mmdet', **loaders))


@pytest.fixture
def files(tmp_path):
    write_coco(tmp_path / 'ab.json', ['a', 'x', 'b'])
    write_coco(tmp_path / 'ba.json', ['b', 'a'])
    return tmp_path


@pytest.mark.parametrize(
    ('file', 'classes'), [('ab.json', ['a', 'b']), ('ba.json', ['b', 'a']), ('no.json', ['b', 'a'])]
)
def test_labels_are_numbered_as_the_host_numbers_them(files, file, classes):
    dataset = coco(files, file, ('b', 'a'))
    assert label_classes(dataset) == classes
    if file == 'no.json':
        return
    from mmdet.registry import DATASETS

    built = DATASETS.build(dict(dataset, lazy_init=True))
    built.load_data_list()
    names = {category['id']: category['name'] for category in _categories(files / file)}
    assert [names[i] for i in built.cat_ids] == classes


def test_the_datas_classes_are_those_of_the_labels(files):
    assert preflight.classes_of_data(config(coco(files, 'ba.json', ('a', 'b')))) == ['b', 'a']


def _categories(path):
    return json.loads(path.read_text())['categories']


def test_a_dataset_of_another_format_is_numbered_by_its_classes(files):
    assert label_classes(dict(coco(files, 'ba.json', ('a', 'b')), type='BaseDetDataset')) == [
        'a',
        'b',
    ]


def test_a_teacher_is_not_compared_where_names_and_labels_disagree(files):
    teacher = dict(config='t.py', checkpoint='t.pth')
    cfg = config(coco(files, 'ba.json', ('a', 'b')), teacher=teacher, distill=KD)
    with pytest.raises(ConfigError) as caught:
        preflight.check_data(cfg)
    for word in ('train_dataloader.dataset.metainfo.classes: a, b', "('b', 'a')", '[0, 1]'):
        assert word in str(caught.value)
    # Every way out that the message names.
    for change in (
        dict(train_dataloader=dict(dataset=dict(metainfo=dict(classes=('b', 'a'))))),
        dict(model=dict(teacher=dict(class_map=[1, 0]))),
    ):
        mended = Config(cfg.to_dict())
        mended.merge_from_dict(change)
        preflight.check_data(mended)


def test_it_is_not_mapped_either_before_training(files):
    teacher_config = tiny_faster_rcnn(num_classes=2)
    checkpoint = files / 'teacher.pth'
    meta = dict(dataset_meta=dict(classes=('a', 'b')))
    torch.save(dict(meta=meta, state_dict=build_detector(teacher_config).state_dict()), checkpoint)
    plain = config(coco(files, 'ba.json', ('a', 'b')))
    plain.model = tiny_faster_rcnn(num_classes=2)
    with pytest.raises(ConfigError, match=r"valid: metainfo.classes=\('b', 'a'\)"):
        btkd_det.distill(plain, dict(config=teacher_config, checkpoint=str(checkpoint)))
    plain.train_dataloader.dataset.metainfo.classes = ('b', 'a')
    teacher = dict(config=teacher_config, checkpoint=str(checkpoint))
    assert btkd_det.distill(plain, teacher).model.teacher.class_map == [1, 0]


def test_a_plain_training_goes_on_as_the_host_does(files):
    preflight.check_data(config(coco(files, 'ba.json', ('a', 'b'))))


def test_files_that_number_differently_are_refused(files):
    train, val = coco(files, 'ab.json', ('a', 'b')), coco(files, 'ba.json', ('a', 'b'))
    match = r'val_dataloader.dataset.ann_file: lists its categories as b, a, but train_dataloader'
    with pytest.raises(ConfigError, match=match):
        preflight.check_data(config(train, val))
    both = dict(type='ConcatDataset', datasets=[train, val])
    with pytest.raises(ConfigError, match=r'train_dataloader.dataset.datasets\[1\].ann_file'):
        preflight.check_data(config(both))
    # A file of other classes says nothing about these.
    write_coco(files / 'c.json', ['c'])
    preflight.check_data(config(train, coco(files, 'c.json', ('c',))))


def test_a_file_of_openmmlabs_format_is_no_coco(tmp_path):
    content = dict(metainfo=dict(classes=['a', 'b']), data_list=[])
    (tmp_path / 'a.json').write_text(json.dumps(content))
    for kind in ('BaseDetDataset', 'mmpretrain.MultiLabelDataset'):
        dataset = dict(type=kind, data_root=str(tmp_path), ann_file='a.json')
        preflight.check_data(config(dataset))
        assert stated_classes(dataset) == ['a', 'b']
    with pytest.raises(ConfigError, match='has no list "categories"'):
        preflight.check_data(config(coco(tmp_path, 'a.json', ('a', 'b'))))


@pytest.mark.parametrize('where', ['classes', 'metainfo'])
def test_text_names_a_file_of_classes_or_one_class(tmp_path, where):
    file = tmp_path / 'classes.txt'
    file.write_text('a\nb b\n')
    wrap = dict if where == 'classes' else lambda classes: dict(metainfo=dict(classes=classes))
    assert stated_classes(dict(type='CustomDataset', **wrap(classes=str(file)))) == ['a', 'b b']
    assert stated_classes(dict(type='CustomDataset', **wrap(classes='person'))) == ['person']


def test_names_that_are_numbers_are_named(tmp_path):
    write_coco(tmp_path / 'n.json', [3, 5])
    with pytest.raises(ConfigError, match='does not list the classes 4 of .* categories: 3, 5'):
        preflight.check_data(config(coco(tmp_path, 'n.json', (3, 4))))
    preflight.check_data(config(coco(tmp_path, 'n.json', (3, 5))))
