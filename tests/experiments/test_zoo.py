"""The table of the zoos counts what was tried, and a trial shrinks what it builds."""

from experiments.zoo.kinds import model_kind, shrunk
from experiments.zoo.run import counts, page

RESULTS = {
    'mmdet::a/a.py': dict(host='works', off='works', feature='works', kd='works', btkd='works'),
    'mmdet::b/b.py': dict(
        host='works', off='works', feature='works', kd='refused: no | class', btkd='fault: nan'
    ),
    'mmdet::c/c.py': dict(host='fails: needs a GPU'),
}


def test_the_page_counts_what_was_tried():
    text = page(RESULTS)
    assert 'So far 3 configs were tried; the plain model takes a step in 2 of them.' in text
    assert '| distilled, off | 2 | 0 | 0 |' in text
    assert '| `kd` | 1 | 1 | 0 |' in text
    assert '| `btkd` | 1 | 0 | 1 |' in text
    assert '| mmdet::b/b.py | works | works | works | refused [1](#reasons) | fault [2]' in text
    assert '1. no \\| class\n2. nan\n3. needs a GPU\n' in text
    assert counts(RESULTS, 'host') == dict(works=2, fails=1)


def test_what_is_built_downloads_nothing_and_is_no_larger_than_it_has_to_be():
    model = dict(
        type='RetinaNet',
        backbone=dict(type='ResNeXt', depth=101, init_cfg=dict(type='Pretrained')),
        heads=[dict(init_cfg=dict(type='Pretrained'), depth=18)],
    )
    shrunk(model)
    assert model['backbone'] == dict(type='ResNeXt', depth=50, init_cfg=None)
    assert model['heads'] == [dict(init_cfg=None, depth=18)]
    assert model_kind(model) == ('RetinaNet', 'ResNeXt')
    assert model_kind(dict(type='SoftTeacher', detector=model)) == ('SoftTeacher', 'ResNeXt')
    assert model_kind(None) == ('', '')
