"""What stands in for MMCV's compiled extension, and when it stands aside."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest
import torch

import btkd_det
from btkd_det.compat import distributions, torchvision_ops
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn

# A Python of its own with an MMCV of one empty file, because who serves is decided at the first
# import. The package's own __init__ is left out: it would import all of MMDetection.
SESSION = """
import importlib.util, sys, types
package = sys.modules['btkd_det'] = types.ModuleType('btkd_det')
package.__path__ = [sys.argv[1]]
{before}
from btkd_det.compat import torchvision_ops
torchvision_ops.install()
{after}
"""


def session(folder, after, before='', extension=None):
    package = folder / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    if extension is not None:
        (package / '_ext.py').write_text(extension)
    code = SESSION.format(before=before, after=textwrap.dedent(after))
    done = subprocess.run(
        [sys.executable, '-c', code, *btkd_det.__path__],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'PYTHONPATH': str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def own_ops():
    if not torchvision_ops.installed():
        pytest.skip('this MMCV has compiled ops, so torchvision does not serve')


@pytest.mark.parametrize('before', ['', 'import mmcv._ext'])
def test_a_compiled_extension_is_left_alone(tmp_path, before):
    report = session(
        tmp_path,
        """
        import mmcv._ext
        print(torchvision_ops.installed(), mmcv._ext.nms(), 'torch' in sys.modules)
        """,
        before,
        extension='nms = lambda: "compiled"',
    )
    assert report == 'False compiled False'


def test_serves_where_there_is_none(tmp_path):
    report = session(
        tmp_path,
        """
        spec = importlib.util.find_spec('mmcv._ext')
        import mmcv._ext
        print(torchvision_ops.installed(), mmcv._ext.__spec__.name, mmcv._ext.nms.__module__)
        """,
    )
    assert report == 'True mmcv._ext btkd_det.compat.ops.nms'


def test_does_not_serve_before_it_is_asked_to(tmp_path):
    report = session(
        tmp_path, '', before="import mmcv; print(importlib.util.find_spec('mmcv._ext'))"
    )
    assert report == 'None'


def test_a_broken_extension_is_not_covered_up(tmp_path):
    """One that was built for another PyTorch is the user's to mend: it would come back."""
    report = session(
        tmp_path,
        """
        try:
            import mmcv._ext
        except ImportError as error:
            print(error)
        """,
        extension='raise ImportError("undefined symbol: _ZN3c10")',
    )
    assert report == 'undefined symbol: _ZN3c10'


def test_without_mmcv_nothing_serves(tmp_path):
    report = session(
        tmp_path,
        'print(torchvision_ops.installed())',
        before="sys.modules['mmcv'] = None",
    )
    assert report == 'False'


def test_installing_twice_changes_nothing():
    before = list(sys.meta_path)
    torchvision_ops.install()
    assert sys.meta_path == before


def test_mmengine_sees_mmcv_ops(own_ops):
    from mmcv.ops import get_compiler_version, get_compiling_cuda_version
    from mmengine.utils.dl_utils import mmcv_full_available

    assert mmcv_full_available()
    assert importlib.util.find_spec('mmcv._ext').loader is not None
    assert 'torchvision' in get_compiler_version()
    assert isinstance(get_compiling_cuda_version(), str)


def test_what_is_not_provided_says_its_name_and_the_way_to_get_it(own_ops):
    from mmcv.ops import CARAFE

    layer = CARAFE(kernel_size=3, group_size=1, scale_factor=2)
    with pytest.raises(NotImplementedError, match="'carafe_forward'.*pip install.*mmcv"):
        layer(torch.zeros(1, 4, 2, 2), torch.zeros(1, 9, 4, 4))


def test_module_has_no_made_up_dunder_names(own_ops):
    import mmcv._ext

    with pytest.raises(AttributeError, match='__wrapped__'):
        mmcv._ext.__wrapped__  # noqa: B018
    assert 'nms' in torchvision_ops.provided()
    assert all(hasattr(mmcv._ext, name) for name in torchvision_ops.provided())


@pytest.mark.parametrize(
    ('installed', 'command'),
    [
        ({'onedl-mmcv': '2.3.6'}, '--no-binary onedl-mmcv onedl-mmcv==2.3.6'),
        ({'mmcv-lite': '2.1.0'}, 'uninstall -y mmcv-lite'),
        ({}, '--no-binary onedl-mmcv onedl-mmcv '),
    ],
)
def test_the_build_command_fits_the_installed_family(monkeypatch, installed, command):
    monkeypatch.setattr(distributions, 'version_of', installed.get)
    assert command in distributions.build_mmcv()


def test_faster_rcnn_trains_and_detects():
    """Ten steps on one batch: every loss has a gradient, and the sum of them falls."""
    detector = build_detector(tiny_faster_rcnn())
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.02, momentum=0.9)
    batch = detector.data_preprocessor(detection_batch(), training=True)
    totals = []
    for _ in range(10):
        total, parts = detector.parse_losses(detector(**batch, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert all(torch.isfinite(value) for value in parts.values())
    assert detector.backbone.layer1[0].conv1.weight.grad.abs().sum() > 0
    assert totals[-1] < 0.8 * totals[0]
    detector.eval()
    with torch.no_grad():
        results = detector(**batch, mode='predict')
    assert len(results) == 2
    assert all(len(result.pred_instances) <= 100 for result in results)
