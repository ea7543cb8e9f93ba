"""Files that lie about NumPy's arrays end in one error each; true ones are read as they were."""

import os
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from btkd_det.checkpoint import read_checkpoint
from btkd_det.errors import ConfigError

from .pickles import Call, Name, rename, saved, write

CORES = 'numpy.core.multiarray', 'numpy._core.multiarray'
PLAIN = (3, '<', None, None, None, -1, -1, 0)
READ, REFUSED, OTHER = 0, 3, 4


def dtype(code='f8', state=PLAIN, align=False, copy=True):
    return Call('numpy.dtype', (code, align, copy), state)


def array(shape=(2,), data=bytes(16), kind=None, order=False, core=CORES[1], version=1):
    empty = Name('numpy.ndarray'), (0,), b'b'
    state = (version, shape, kind or dtype(), order, data)
    return Call(f'{core}._reconstruct', empty, state)


def scalar(kind, data, core=CORES[1]):
    return Call(f'{core}.scalar', (kind, data))


def with_state(**changes):
    names = ('version', 'order', 'subarray', 'names', 'fields', 'size', 'alignment', 'flags')
    return dtype(
        state=tuple(changes.get(name, old) for name, old in zip(names, PLAIN, strict=False))
    )


SINGLETON = Call('numpy.dtype', ('f8', False, False), (3, '>', None, None, None, -1, -1, 0))
POINTERS = dtype('O8', (3, '|', None, None, None, -1, -1, 63))
LIES = {
    # The state's length.
    'short state': array(kind=dtype(state=(3, '<', None, -1, -1, 0))),
    'five parts': array(kind=dtype(state=(3, '<', None, -1, -1))),
    'no state': array(kind=dtype(state=())),
    'long state': array(kind=dtype(state=(*PLAIN, None))),
    'state that is text': array(kind=dtype(state='<f8')),
    'state that is none': array(kind=dtype(state=None)),
    'short state of an array': Call(
        f'{CORES[1]}._reconstruct', (Name('numpy.ndarray'), (0,), b'b'), (1, (2,), dtype())
    ),
    # What the state says.
    'version 4': array(kind=dtype(state=(4, *PLAIN[1:], {'a': 1}))),
    'version 0': array(kind=with_state(version=0)),
    'byte order': array(kind=with_state(order='!')),
    'byte order of one byte': array(kind=with_state(order='|')),
    'flags': array(kind=with_state(flags=63)),
    'negative flags': array(kind=with_state(flags=-1)),
    'item size 1': array(kind=with_state(size=1)),
    'item size 0': array(kind=with_state(size=0)),
    'item size of a gigabyte': array(kind=with_state(size=2**30)),
    'item size that is no number': array(kind=with_state(size='8')),
    'alignment': array(kind=with_state(alignment=3)),
    'size of text': array((1,), bytes(8), dtype('U2', (3, '<', None, None, None, 4, 4, 8))),
    'names': array(kind=with_state(names=('a', 'b'), fields={'a': (dtype(), 0)})),
    'fields': array(kind=with_state(fields={'a': (dtype(), 2**40)}, names=('a',))),
    'fields that are none': array(kind=with_state(names=(), fields={})),
    'subarray': array(kind=with_state(subarray=(dtype(), (2**31,)))),
    # The type.
    'objects': array((2,), bytes(16), POINTERS),
    'objects in a list': array((2,), [1, 2], POINTERS),
    'scalar object': scalar(POINTERS, bytes(8)),
    'void': array((2,), bytes(16), dtype('V8', (3, '|', None, None, None, 8, 1, 0))),
    'record': array(kind=dtype('f8,f8')),
    'date': array((2,), bytes(16), dtype('M8', (4, *PLAIN[1:], ({}, (b's', 1, 1, 1))))),
    'a type in a type': array(kind=dtype(dtype())),
    'a list of types': array(kind=dtype([('a', 'f8')])),
    'a type without a code': array(kind=Call('numpy.dtype', (), PLAIN, new=True)),
    'a type that is text': array(kind='f8'),
    'a class of types': array(kind=Name('numpy.dtype')),
    'one of numpy.dtypes': array(
        kind=Call('numpy.dtypes.Float64DType', (), (3, '<', None, -1, -1, 0))
    ),
    'text of a gigabyte': array((1,), b'', dtype('U999999999')),
    'text of no length': array((2**40,), b'', dtype('U0', (3, '<', None, None, None, 0, 4, 8))),
    # Shape and data.
    'negative shape': array((-2,)),
    'two negatives': array((-2, -1)),
    'huge shape': array((2**62,)),
    'shape that wraps around': array((2**32, 2**32, 2)),
    'huge and empty': array((0, 2**70), b''),
    'short data': array((2,), bytes(15)),
    'long data': array((2,), bytes(17)),
    'no data': array((2,), b''),
    'data that is text': array((2,), 'x' * 16),
    'data that is none': array((2,), None),
    'shape that is no tuple': array([2]),
    'shape of texts': array(('2',)),
    'shape of half numbers': array((2.0,)),
    'too many dimensions': array((1,) * 65, bytes(8)),
    'array of another version': array(version=9),
    'order that is text': array(order='F'),
    # Values.
    'neither true nor false': array(
        (2,), b'\x01\x07', dtype('b1', (3, '|', None, None, None, -1, -1, 0))
    ),
    'no character': array((1,), b'\xff' * 4, dtype('U1', (3, '<', None, None, None, 4, 4, 8))),
    # Scalars.
    'short scalar': scalar(dtype(), bytes(4)),
    'long scalar': scalar(dtype(), bytes(80)),
    'empty scalar': scalar(dtype(), b''),
    'scalar of text': scalar('f8', bytes(8)),
    'scalar without data': Call(f'{CORES[1]}.scalar', (dtype(),)),
    'scalar of a lying type': scalar(dtype(state=(3, '<', None, -1, -1, 0)), bytes(8)),
    # What NumPy shares, and ways around.
    'lying singleton': Call('numpy.dtype', ('f8', False, False), (3, '<', None, -1, -1, 0)),
    'array by its class': Call('numpy.ndarray', ((2,), dtype(), bytes(16))),
    'new array by its class': Call('numpy.ndarray', ((2,), 'O', bytes(16)), new=True),
    'array without state': Call(f'{CORES[1]}._reconstruct', (Name('numpy.ndarray'), (0,), b'b')),
    'array of another class': Call(
        f'{CORES[1]}._reconstruct',
        (Name('numpy.dtype'), (0,), b'b'),
        (1, (2,), dtype(), False, b''),
    ),
    'record of nothing': Call(
        'mmengine.logging.history_buffer.HistoryBuffer', (), {'max_length': 3}, new=True
    ),
    'record of text': Call(
        'mmengine.logging.history_buffer.HistoryBuffer', (), 'max_length', new=True
    ),
}


def exit_codes(paths):
    """How reading each file ends: READ, REFUSED, OTHER, or the signal that ended the process.

    All are read in one child process, and in a next one from the file on that ended it.
    """
    codes = []
    while len(codes) < len(paths):
        receive, send = os.pipe()
        child = os.fork()
        if not child:
            for path in paths[len(codes) :]:
                os.write(send, bytes([read_in_child(path)]))
            os._exit(0)
        os.close(send)
        with os.fdopen(receive, 'rb') as pipe:
            codes += pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        codes += [code] if code else []
    return codes


def read_in_child(path):
    try:
        read_checkpoint(path, 'field')
        # A type that is not what it says ends the process when it is used.
        np.arange(3.0).sum()
    except ConfigError:
        return REFUSED
    except BaseException:
        return OTHER
    return READ


def hostile(path, content):
    """A checkpoint with weights, and beside them what lies."""
    weights = saved(dict(state_dict={'w': torch.ones(1)}), path.with_suffix('.weights'))
    with zipfile.ZipFile(weights) as archive:
        root = archive.namelist()[0].split('/')[0]
        pickle = archive.read(f'{root}/data.pkl')
        parts = {name: archive.read(name) for name in archive.namelist()}
    written = zipfile.ZipFile(write(path.with_suffix('.lie'), content)).read('archive/data.pkl')
    # One more entry of the outermost dictionary, before the pickle ends.
    parts[f'{root}/data.pkl'] = pickle[:-1] + b'X\x01\x00\x00\x00x' + written[2:-1] + b's.'
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def test_every_lie_ends_in_one_error(tmp_path):
    paths = [hostile(tmp_path / f'{i}.pth', content) for i, content in enumerate(LIES.values())]
    codes = dict(zip(LIES, exit_codes(paths), strict=True))
    assert {name: code for name, code in codes.items() if code != REFUSED} == {}


def test_the_error_says_what_is_refused(tmp_path):
    path = hostile(tmp_path / 'lie.pth', LIES['short state'])
    with pytest.raises(ConfigError, match=r'field: .*lie\.pth is not read.* holds a type'):
        read_checkpoint(path, 'field')


def test_a_file_does_not_change_the_types_that_all_arrays_share(tmp_path):
    path = hostile(tmp_path / 'lie.pth', array(kind=SINGLETON))
    read_checkpoint(path, 'field')
    assert np.dtype('f8').byteorder == '='
    assert np.frombuffer(np.float64(1).tobytes(), 'f8')[0] == 1


@pytest.mark.parametrize('core', CORES)
def test_what_is_true_is_read(tmp_path, core):
    from btkd_det.checkpoint import read_content

    ones = np.array([1.0, 2.0])
    content = dict(
        plain=array(data=ones.tobytes(), core=core),
        big=array((1,), np.array(3, '>i4').tobytes(), dtype('i4', (3, '>', *PLAIN[2:])), core=core),
        columns=array((1, 2), ones.tobytes(), order=True, core=core),
        empty=array((0, 3), b'', core=core),
        point=array((), bytes(8), core=core),
        best=scalar(dtype(), np.float64(0.5).tobytes(), core),
        shared=SINGLETON,
    )
    found = read_content(write(tmp_path / 'c.pth', content), 'field')
    assert found['plain'].tolist() == [1, 2]
    assert type(found['plain']) is np.ndarray
    assert found['plain'].flags.owndata
    assert found['plain'].flags.writeable
    assert found['big'].tolist() == [3]
    assert found['columns'].tolist() == [[1, 2]]
    assert found['empty'].shape == (0, 3)
    assert found['point'].shape == ()
    assert type(found['best']) is np.float64
    assert found['best'] == 0.5
    assert found['shared'] == np.dtype('>f8')


def message_hub():
    """All that NumPy and MMEngine put into a checkpoint, by its place."""
    codes = '?', 'i1', 'u2', 'i8', 'f2', 'f4', 'f8', 'c8', 'c16', '>f4', '>u2', 'U3', 'S2', '>U3'
    values = {code: np.array([[0, 1], [1, 0]]).astype(code) for code in codes}
    scalars = {f'scalar {code}': value[0, 1] for code, value in values.items()}
    loss = HistoryBuffer([1.0, 0.5], [1, 2])
    return dict(
        log_scalars=dict(loss=loss, same=loss, none=HistoryBuffer()),
        runtime_info=dict(
            values, **scalars, none=np.str_(''), text='epoch', pair=(values['f4'], 1)
        ),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        kept=[np.arange(3), {'deep': (np.float32(2), [np.zeros((2, 0))])}],
    )


@pytest.mark.parametrize('core', CORES)
def test_what_mmengine_writes_comes_back_under_both_names(tmp_path, core):
    from btkd_det.checkpoint import read_content

    own = np.ndarray.__reduce__(np.zeros(1))[0].__module__
    path = saved(dict(state_dict={'w': torch.ones(1)}, hub=message_hub()), tmp_path / 'a.pth')
    hub = read_content(rename(path, tmp_path / 'b.pth', own, core), 'field')['hub']
    expected = message_hub()
    loss = hub['log_scalars']['loss']
    assert type(loss) is HistoryBuffer
    assert loss is hub['log_scalars']['same']
    assert loss.mean() == 0.5
    assert loss.statistics('max') == 1
    loss.update(2.0)
    assert loss.current() == 2
    info = hub['runtime_info']
    assert info.keys() == expected['runtime_info'].keys()
    assert info['pair'][0] is info['f4']
    assert info.pop('pair')[1] == 1
    for key, value in info.items():
        old = expected['runtime_info'][key]
        assert type(value) is type(old), key
        assert np.array_equal(value, old), key
        assert getattr(value, 'dtype', None) == getattr(old, 'dtype', None), key
    assert hub['fortran'].flags.f_contiguous
    assert hub['fortran'].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert hub['kept'][0].tolist() == [0, 1, 2]
    assert hub['kept'][1]['deep'][0] == np.float32(2)
    # It can be saved again: nothing of the stand-ins is left.
    again = saved(hub, tmp_path / 'c.pth')
    assert torch.load(again, weights_only=False)['log_scalars']['loss'].current() == 2
