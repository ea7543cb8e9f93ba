"""Checkpoints written operation by operation, so that they say what no Python would write."""

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Call:
    """What a name gives when it is called, and then the state that is set on it.

    Attributes:
        name (str): With its module.
        args (tuple): Of the call.
        state (Any): No state where it is ``Ellipsis``.
        new (bool): Whether the class is called without its ``__init__``.
    """

    name: str
    args: tuple = ()
    state: Any = ...
    new: bool = False


class Name(str):
    """A name by itself."""


def write(path, content):
    """Write a checkpoint of PyTorch's format whose pickle has this content; gives the path."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02' + _dump(content) + b'.')
        archive.writestr('archive/byteorder', 'little')
        archive.writestr('archive/version', '3\n')
    return path


def rename(path, out, old, new):
    """Copy a checkpoint, in its pickle one module's name in the place of another's."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, 'w') as copy:
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith('/data.pkl'):
                # Before the end of the line are modules; texts elsewhere have their length before.
                assert b'c' + old.encode() + b'\n' in data
                data = data.replace(b'c' + old.encode() + b'\n', b'c' + new.encode() + b'\n')
            copy.writestr(name, data)
    return out


def saved(content, path):
    """Save as ``torch.save`` does; gives the path."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())
    return path


def _dump(value):
    if value is None:
        return b'N'
    if isinstance(value, bool):
        return b'\x88' if value else b'\x89'
    if isinstance(value, int):
        data = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
        return b'\x8a' + bytes([len(data)]) + data
    if isinstance(value, float):
        return b'G' + struct.pack('>d', value)
    if isinstance(value, Name):
        return _global(value)
    if isinstance(value, str):
        data = value.encode()
        return b'X' + struct.pack('<I', len(data)) + data
    if isinstance(value, bytes):
        return _dump(Call('_codecs.encode', (value.decode('latin1'), 'latin1')))
    if isinstance(value, tuple):
        return b'(' + b''.join(map(_dump, value)) + b't'
    if isinstance(value, list):
        return b'](' + b''.join(map(_dump, value)) + b'e'
    if isinstance(value, dict):
        return b'}(' + b''.join(_dump(k) + _dump(v) for k, v in value.items()) + b'u'
    result = _global(value.name) + _dump(value.args) + (b'\x81' if value.new else b'R')
    return result if value.state is ... else result + _dump(value.state) + b'b'


def _global(name):
    module, _, name = name.rpartition('.')
    return f'c{module}\n{name}\n'.encode()
