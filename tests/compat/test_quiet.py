"""What the host packages say of what nobody asked for, and nothing else, is kept back."""

import warnings

from btkd_det.compat import quiet


def test_the_warning_of_setuptools_alone_is_hidden():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        quiet.install()
        warnings.warn(f'{quiet.DEPRECATED}. See https://setuptools', UserWarning, stacklevel=1)
        warnings.warn('pkg_resources is something else', UserWarning, stacklevel=1)
    assert [str(found.message) for found in seen] == ['pkg_resources is something else']
