"""Annotations from outside may not lead to files outside, where the config says so."""

import shutil

import pytest

from btkd_det import preflight
from btkd_det.errors import ConfigError
from btkd_det.preflight.confined import check_confined, confined
from tests.robustness.place import Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def check(place, *lines):
    place.lines = list(lines)
    path = str(place.write()[0])
    preflight.check_data(preflight.load_config(path, None), ('train_dataloader',))


@pytest.mark.parametrize('absolute', [False, True])
def test_a_path_that_leads_out_is_refused_where_asked(place, absolute):
    outside = place.folder / 'outside.png'
    shutil.copy(place.images / '1.png', outside)
    name = str(outside) if absolute else '../../outside.png'
    place.train['images'][1]['file_name'] = name
    check(place)
    with pytest.raises(ConfigError, match=r'outside\.png lies outside of data_root .*\(1 of 4'):
        check(place, "images_outside = 'refuse'")


def test_what_lies_within_is_not(place):
    place.train['images'][1]['file_name'] = '../images/./1.png'
    check(place, "images_outside = 'refuse'")


@pytest.mark.parametrize('root', ['', '.', './', None])
def test_without_a_root_it_is_the_working_directory(root):
    with confined(dict(images_outside='refuse')):
        check_confined(['images/a.png', './b.png'], dict(data_root=root), 'field')
        for path in ('../a.png', '/a.png', 'images/../../a.png'):
            with pytest.raises(ConfigError, match='outside'):
                check_confined([path], dict(data_root=root), 'field')


def test_a_sibling_with_a_longer_name_is_outside():
    with confined(dict(images_outside='refuse')), pytest.raises(ConfigError, match='outside'):
        check_confined(['data2/a.png'], dict(data_root='data/'), 'field')


def test_another_word_is_an_error():
    with (
        pytest.raises(ConfigError, match="images_outside: 'yes'; valid: 'allow'"),
        confined(dict(images_outside='yes')),
    ):
        pass
