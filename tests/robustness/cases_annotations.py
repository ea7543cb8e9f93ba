"""Annotation files that are not as COCO's, in training and in validation; VOC folders."""

import json

from PIL import Image

from .cases import add

MISSING = object()


def _set(part, index, key, value):
    def change(content):
        if value is MISSING:
            del content[part][index][key]
        else:
            content[part][index][key] = value

    return change


def _every(part, key, value):
    def change(content):
        for entry in content[part]:
            if value is MISSING:
                entry.pop(key, None)
            else:
                entry[key] = value

    return change


def _top(key, value):
    def change(content):
        if value is MISSING:
            del content[key]
        else:
            content[key] = value

    return change


def _as_text(key):
    def change(content):
        part = 'categories' if key == 'id' else 'annotations'
        for entry in content[part]:
            entry[key] = str(entry[key])

    return change


def _both_as_text(content):
    _as_text('id')(content)
    _as_text('category_id')(content)


def _double(part, **changes):
    def change(content):
        content[part].append({**content[part][-1], **changes})

    return change


def _double_annotation_id(content):
    content['annotations'][1]['id'] = content['annotations'][0]['id']


def _both_images_one_id(content):
    content['images'][1]['id'] = content['images'][0]['id']


# name -> change, expected in the train file, expected in the val file, words
CHANGES = {
    'no images key': (_top('images', MISSING), 'refused', 'refused', 'images'),
    'no image': (_top('images', []), 'refused', 'refused', 'images'),
    'images None': (_top('images', None), 'refused', 'refused', 'images'),
    'images a dict': (_top('images', {'0': {}}), 'refused', 'refused', 'images'),
    'images of text': (_top('images', ['0.png']), 'refused', 'refused', 'images'),
    'no annotations key': (_top('annotations', MISSING), 'refused', 'mended', 'annotations'),
    'no annotation': (_top('annotations', []), 'refused', 'mended', 'annotations'),
    'annotations None': (_top('annotations', None), 'refused', 'refused', 'annotations'),
    'annotations a dict': (_top('annotations', {}), 'refused', 'refused', 'annotations'),
    'annotations of None': (_top('annotations', [None]), 'refused', 'refused', 'annotations'),
    'no categories key': (_top('categories', MISSING), 'refused', 'refused', 'categories'),
    'no category': (_top('categories', []), 'refused', 'refused', 'square'),
    'categories of text': (_top('categories', ['square', 'bar']), 'refused', 'refused', 'categor'),
    'categories a dict': (_top('categories', dict(square=1)), 'refused', 'refused', 'categories'),
    'category without id': (_set('categories', 0, 'id', MISSING), 'refused', 'refused', 'id'),
    'category without name': (
        _set('categories', 0, 'name', MISSING),
        'refused',
        'refused',
        'name',
    ),
    'category ids twice': (_set('categories', 1, 'id', 1), 'refused', 'refused', 'id'),
    'a category name twice': (_set('categories', 1, 'name', 'square'), 'refused', 'refused', 'bar'),
    'box of 3': (_set('annotations', 1, 'bbox', [1, 2, 3]), 'refused', 'refused', 'bbox'),
    'box of 5': (_set('annotations', 1, 'bbox', [1, 2, 3, 4, 5]), 'refused', 'refused', 'bbox'),
    'box of 0': (_set('annotations', 1, 'bbox', []), 'refused', 'refused', 'bbox'),
    'box of text': (_set('annotations', 1, 'bbox', list('1234')), 'refused', 'refused', 'bbox'),
    'box is text': (_set('annotations', 1, 'bbox', '1 2 3 4'), 'refused', 'refused', 'bbox'),
    'box None': (_set('annotations', 1, 'bbox', None), 'refused', 'refused', 'bbox'),
    'box of None': (_set('annotations', 1, 'bbox', [None] * 4), 'refused', 'refused', 'bbox'),
    'box a number': (_set('annotations', 1, 'bbox', 7), 'refused', 'refused', 'bbox'),
    'box of lists': (
        _set('annotations', 1, 'bbox', [[1], [2], [3], [4]]),
        'refused',
        'refused',
        'bbox',
    ),
    'box a dict': (_set('annotations', 1, 'bbox', dict(x=1)), 'refused', 'refused', 'bbox'),
    'box with NaN': (
        _set('annotations', 1, 'bbox', [1, 2, float('nan'), 4]),
        'refused',
        'refused',
        'bbox',
    ),
    'box with infinity': (
        _set('annotations', 1, 'bbox', [1, 2, float('inf'), 4]),
        'refused',
        'refused',
        'bbox',
    ),
    'no bbox': (_set('annotations', 1, 'bbox', MISSING), 'refused', 'refused', 'bbox'),
    'no bbox anywhere': (_every('annotations', 'bbox', MISSING), 'refused', 'refused', 'bbox'),
    'no area': (_every('annotations', 'area', MISSING), 'mended', 'mended', 'area'),
    'one without area': (_set('annotations', 1, 'area', MISSING), 'mended', 'mended', 'area'),
    'area None': (_set('annotations', 1, 'area', None), 'mended', 'mended', 'area'),
    'area text': (_set('annotations', 1, 'area', '12'), 'mended', 'mended', 'area'),
    'area 0 everywhere': (_every('annotations', 'area', 0), 'refused', 'mended', 'area'),
    'no iscrowd': (_every('annotations', 'iscrowd', MISSING), 'mended', 'mended', 'iscrowd'),
    'iscrowd None': (_set('annotations', 1, 'iscrowd', None), 'mended', 'mended', 'iscrowd'),
    'annotation without id': (_set('annotations', 1, 'id', MISSING), 'mended', 'mended', 'id'),
    'annotation ids None': (_every('annotations', 'id', None), 'mended', 'mended', 'id'),
    'annotation ids lists': (_every('annotations', 'id', [1]), 'mended', 'mended', 'id'),
    'annotation ids twice': (_double_annotation_id, 'mended', 'mended', 'id'),
    'annotation ids text': (_set('annotations', 1, 'id', 'a'), 'mended', 'mended', 'id'),
    'annotation twice': (_double('annotations'), 'mended', 'mended', 'id'),
    'image twice': (_double('images'), 'mended', 'mended', 'id'),
    'image ids twice': (_both_images_one_id, 'refused', 'refused', 'id'),
    'image without id': (_set('images', 1, 'id', MISSING), 'refused', 'refused', 'id'),
    'image id a list': (_set('images', 1, 'id', [1]), 'refused', 'refused', 'id'),
    'image without file name': (
        _set('images', 1, 'file_name', MISSING),
        'refused',
        'refused',
        'file_name',
    ),
    'file name None': (_set('images', 1, 'file_name', None), 'refused', 'refused', 'file_name'),
    'file name a number': (_set('images', 1, 'file_name', 7), 'refused', 'refused', 'file_name'),
    'file name empty': (_set('images', 1, 'file_name', ''), 'refused', 'refused', 'file_name'),
    'image without width': (_set('images', 1, 'width', MISSING), 'refused', 'refused', 'width'),
    'image without height': (_set('images', 1, 'height', MISSING), 'refused', 'refused', 'height'),
    'width text': (_set('images', 1, 'width', '80'), 'refused', 'refused', 'width'),
    'width None': (_set('images', 1, 'width', None), 'refused', 'refused', 'width'),
    'width 0': (_every('images', 'width', 0), 'refused', 'mended', 'width'),
    'no image_id': (_set('annotations', 1, 'image_id', MISSING), 'refused', 'refused', 'image_id'),
    'image_id a list': (_set('annotations', 1, 'image_id', [1]), 'refused', 'refused', 'image_id'),
    'image_id unknown': (_set('annotations', 1, 'image_id', 99), 'mended', 'mended', 'image_id'),
    'image_id unknown everywhere': (
        _every('annotations', 'image_id', 99),
        'refused',
        'mended',
        'image_id',
    ),
    'image_id text everywhere': (
        _every('annotations', 'image_id', '1'),
        'refused',
        'mended',
        'image_id',
    ),
    'no category_id': (
        _set('annotations', 1, 'category_id', MISSING),
        'refused',
        'refused',
        'category_id',
    ),
    'category_id a list': (
        _set('annotations', 1, 'category_id', [1]),
        'refused',
        'refused',
        'category_id',
    ),
    'category_id unknown': (
        _set('annotations', 1, 'category_id', 9),
        'mended',
        'mended',
        'category_id',
    ),
    'category_id text': (_as_text('category_id'), 'refused', 'mended', 'category_id'),
    'category ids text': (_as_text('id'), 'refused', 'mended', 'category_id'),
    'boxes outside': (_every('annotations', 'bbox', [900, 2, 3, 4]), 'refused', 'mended', 'bbox'),
    'boxes negative': (_every('annotations', 'bbox', [9, 9, -3, -4]), 'refused', 'mended', 'bbox'),
    'one box outside': (
        _set('annotations', 1, 'bbox', [900, 2, 3, 4]),
        'mended',
        'mended',
        'bbox',
    ),
    'all crowds': (_every('annotations', 'iscrowd', 1), 'trained', 'trained'),
}


def _change(name, change):
    return lambda place: change(getattr(place, name))


def _raw(name, encode):
    def spoil(place):
        place.raw[f'{name}.json'] = encode(getattr(place, name))

    return spoil


# The file as bytes: encode, expected, words.
FILES = {
    'BOM': (lambda c: b'\xef\xbb\xbf' + json.dumps(c).encode(), 'mended', 'BOM'),
    'UTF-16': (lambda c: json.dumps(c).encode('utf-16'), 'mended', 'BOM'),
    'latin-1': (
        lambda c: json.dumps({'info': 'caf\xe9', **c}, ensure_ascii=False).encode('latin-1'),
        'refused',
        'UTF-8',
    ),
    'empty': (lambda c: b'', 'refused', 'empty'),
    'cut off': (lambda c: json.dumps(c).encode()[:-20], 'refused', 'JSON'),
    'trailing comma': (
        lambda c: json.dumps(c).replace('}]', '},]').encode(),
        'refused',
        'JSON',
    ),
    'single quotes': (lambda c: str(c).encode(), 'refused', 'JSON'),
    'a list': (lambda c: json.dumps(c['images']).encode(), 'refused', 'COCO'),
    'None': (lambda c: b'null', 'refused', 'COCO'),
    'text': (lambda c: b'"annotations"', 'refused', 'COCO'),
    'XML': (lambda c: b'<annotation></annotation>', 'refused', 'JSON'),
    'zeros': (lambda c: bytes(400), 'refused', 'JSON'),
    'Git LFS': (
        lambda c: b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
        'refused',
        'Git LFS',
    ),
    'deeply nested': (lambda c: b'[' * 200_000, 'refused', 'JSON'),
    'results': (
        lambda c: json.dumps([dict(image_id=1, bbox=[1, 2, 3, 4], score=1.0)]).encode(),
        'refused',
        'COCO',
    ),
}

for _name, (_apply, _train, _val, *_words) in CHANGES.items():
    add(f'annotations/train: {_name}', _change('train', _apply), *_words, expected=_train)
    add(f'annotations/val: {_name}', _change('val', _apply), *_words, expected=_val)
for _name, (_apply, _expected, *_words) in FILES.items():
    for _part in ('train', 'val'):
        add(
            f'annotations/{_part} file: {_name}',
            _raw(_part, _apply),
            *_words,
            expected=_expected,
        )


def _folder_as_file(place):
    (place.data / 'train.json').mkdir()
    place.raw['train.json'] = False


add('annotations/train file: a folder', _folder_as_file, 'train.json')

VOC = """
for loader in (train_dataloader, val_dataloader):
    loader['dataset'].update(
        type='VOCDataset', ann_file='ids.txt', data_prefix=dict(sub_data_root='voc/'),
        metainfo=dict(classes=('square', 'bar')))
val_dataloader['dataset']['pipeline'].insert(1, dict(type='LoadAnnotations', with_bbox=True))
val_evaluator = dict(type='VOCMetric', metric='mAP', eval_mode='11points')
test_evaluator = val_evaluator
"""
XML = """<annotation><size><width>80</width><height>64</height></size>
<object><name>square</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>30</ymax>
</bndbox></object></annotation>"""


def voc(spoil):
    """The same images as PASCAL VOC's folders, then ``spoil(folder)``."""

    def change(place):
        place.lines.append(VOC)
        folder = place.data / 'voc'
        for name in ('JPEGImages', 'Annotations'):
            (folder / name).mkdir(parents=True)
        for i in range(4):
            Image.open(place.images / f'{i}.png').save(folder / 'JPEGImages' / f'{i}.jpg')
            (folder / 'Annotations' / f'{i}.xml').write_text(XML)
        (place.data / 'ids.txt').write_text('0\n1\n2\n3\n')
        spoil(folder)

    return change


def _xml(text, every=False):
    def spoil(folder):
        for i in range(4) if every else [1]:
            (folder / 'Annotations' / f'{i}.xml').write_text(text)

    return spoil


VOCS = {
    'good': (lambda f: None, 'trained'),
    'no xml': (lambda f: (f / 'Annotations' / '1.xml').unlink(), 'refused', '1.xml'),
    'no image': (lambda f: (f / 'JPEGImages' / '1.jpg').unlink(), 'refused', '1.jpg'),
    'empty list': (lambda f: (f.parent / 'ids.txt').write_text(''), 'refused', 'ids.txt'),
    'list with extensions': (
        lambda f: (f.parent / 'ids.txt').write_text('0.jpg\n1.jpg\n'),
        'refused',
        '0.jpg',
    ),
    'xml empty': (_xml(''), 'refused', '1.xml'),
    'xml is JSON': (_xml('{}'), 'refused', '1.xml'),
    'xml cut off': (_xml(XML[:60]), 'refused', '1.xml'),
    'no name': (_xml(XML.replace('<name>square</name>', '')), 'refused', '1.xml', 'name'),
    'no box': (_xml(XML.replace('bndbox', 'box')), 'refused', '1.xml', 'bndbox'),
    'no xmin': (_xml(XML.replace('xmin', 'x_min')), 'refused', '1.xml', 'xmin'),
    'box of text': (_xml(XML.replace('<xmin>9<', '<xmin>left<')), 'refused', '1.xml', 'xmin'),
    'difficult text': (
        _xml(XML.replace('<bndbox>', '<difficult>no</difficult><bndbox>')),
        'refused',
        '1.xml',
        'difficult',
    ),
    'width of text': (_xml(XML.replace('<width>80<', '<width>wide<')), 'refused', '1.xml', 'width'),
    'no size': (_xml(XML.replace('size>', 'dimensions>')), 'trained'),
    'other names': (_xml(XML.replace('square', 'dog'), True), 'refused', 'dog', 'square'),
    'no object': (_xml('<annotation></annotation>', True), 'refused', 'ids.txt'),
    'no folder of xml': (
        lambda f: (f / 'Annotations').rename(f / 'annotations'),
        'refused',
        'Annotations',
    ),
}
for _name, (_apply, _expected, *_words) in VOCS.items():
    add(f'voc/{_name}', voc(_apply), *_words, expected=_expected)


def _voc_with_coco_evaluator(place):
    voc(lambda folder: None)(place)
    place.lines.append(
        f"test_evaluator = dict(type='CocoMetric', ann_file='{place.data}/no.json')\n"
        f"val_evaluator = dict(type='CocoMetric', ann_file='{place.data}/no.json')"
    )


add('voc/evaluator still of COCO', _voc_with_coco_evaluator, 'val_evaluator', 'no.json')
