"""Images that are missing, damaged or none."""

import io
import os

import numpy as np
from PIL import Image

from .cases import add, add_lines


def _replace(index, make):
    def spoil(place):
        path = place.images / f'{index}.png'
        content = path.read_bytes()
        path.unlink()
        make(path, content)

    return spoil


def _write(change):
    return lambda path, content: path.write_bytes(change(content))


def _loop(path, content):
    os.symlink(path.name, path)


def _saved(**options):
    def write(path, content):
        Image.open(io.BytesIO(content)).convert(options.pop('mode', 'RGB')).save(path, **options)

    return write


def _thin(shape):
    def write(path, content):
        Image.fromarray(np.zeros(shape, np.uint8)).save(path)

    return write


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="64"><rect/></svg>'
BAD = {
    'missing': lambda path, content: None,
    'truncated': _write(lambda content: content[: len(content) // 2]),
    'cut in its head': _write(lambda content: content[:20]),
    'zero bytes': _write(lambda content: b''),
    'one byte': _write(lambda content: b'\x89'),
    'a folder': lambda path, content: path.mkdir(),
    'a loop of links': _loop,
    'a dangling link': lambda path, content: os.symlink('nowhere.png', path),
    'text': _write(lambda content: b'not an image\n'),
    'SVG': _write(lambda content: SVG),
    'HTML': _write(lambda content: b'<!DOCTYPE html><html><body>404</body></html>'),
    'zeros': _write(lambda content: bytes(len(content))),
    'a pipe': lambda path, content: os.mkfifo(path),
    'Git LFS': _write(lambda c: b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n'),
}
# What OpenCV reads though its name says something else, or it is of another kind.
GOOD = {
    'JPEG in .png': lambda path, content: _saved(format='JPEG')(path, content),
    'gray': lambda path, content: _saved(mode='L')(path, content),
    'four channels': lambda path, content: _saved(mode='RGBA')(path, content),
    'palette': lambda path, content: _saved(mode='P')(path, content),
    'BMP in .png': lambda path, content: _saved(format='BMP')(path, content),
    'WEBP in .png': lambda path, content: _saved(format='WEBP')(path, content),
    'TIFF in .png': lambda path, content: _saved(format='TIFF')(path, content),
    'a link': lambda path, content: (
        path.with_suffix('.real').write_bytes(content),
        os.symlink(path.with_suffix('.real'), path),
    ),
}
for _name, _make in BAD.items():
    add(f'images/train: {_name}', _replace(1, _make), '1.png')
    add(f'images/val: {_name}', _replace(5, _make), '5.png')
for _name, _make in GOOD.items():
    add(f'images/{_name}', _replace(1, _make), expected='trained')


def _cut_jpeg(share):
    """Put a part of a JPEG in the place of an image."""

    def make(path, content):
        memory = io.BytesIO()
        Image.open(io.BytesIO(content)).save(memory, format='JPEG')
        path.write_bytes(memory.getvalue()[: int(len(memory.getvalue()) * share)])

    return make


add('images/JPEG cut at the end', _replace(1, _cut_jpeg(0.9)), '1.png')
add('images/JPEG cut in its head', _replace(1, _cut_jpeg(0.1)), '1.png')


def _thin_in_both(shape, index, part):
    def spoil(place):
        _replace(index, _thin(shape))(place)
        for image in getattr(place, part)['images']:
            if image['file_name'] == f'{index}.png':
                image.update(height=shape[0], width=shape[1])
        for entry in getattr(place, part)['annotations']:
            if entry['image_id'] == index:
                entry.update(bbox=[0, 0, min(40, shape[1]), min(40, shape[0])], area=80)

    return spoil


for _shape in ((2, 4000, 3), (4000, 2, 3)):
    _size = f'{_shape[1]} x {_shape[0]}'
    add(f'images/train: {_size}', _thin_in_both(_shape, 1, 'train'), '1.png')
    add(f'images/val: {_size}', _thin_in_both(_shape, 5, 'val'), '5.png')


def _skipped(make, index=1):
    def spoil(place):
        _replace(index, make)(place)
        place.lines.append("on_bad_image = 'skip'")

    return spoil


for _name in ('missing', 'truncated', 'zero bytes', 'SVG', 'a folder', 'a loop of links'):
    add(f'images/skip: {_name}', _skipped(BAD[_name]), '1.png', expected='mended')
add('images/skip: 4000 x 2', _skipped(_thin((2, 4000, 3))), '1.png', expected='mended')
add('images/skip in val: missing', _skipped(BAD['missing'], 5), '5.png')


def _all_missing(place):
    for path in place.images.glob('[0-3].png'):
        path.unlink()
    place.lines.append("on_bad_image = 'skip'")


add('images/skip: all missing', _all_missing, 'images')
add_lines('images/on_bad_image unknown', "on_bad_image = 'ignore'", 'on_bad_image', 'skip')


def _in_subfolder(place):
    for image in place.train['images']:
        image['file_name'] = 'sub/' + image['file_name']


def _climbing(place):
    for image in place.train['images']:
        image['file_name'] = '/nowhere/' + image['file_name']


add('images/in another folder', _in_subfolder, 'sub/0.png', '4')
add('images/absolute paths of another machine', _climbing, '/nowhere/0.png')
