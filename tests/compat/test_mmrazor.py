"""MMRazor's distillation beside this PyTorch and MMCV, and what is left as it was."""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from mmengine.registry import LOOPS, MODELS, DefaultScope

import btkd_det
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn

ROOT = Path(btkd_det.__file__).parents[1]

real = pytest.mark.skipif(importlib.util.find_spec('mmrazor') is None, reason='needs mmrazor')

# The quantization of MMRazor in miniature, with the same places that import it.
MINIATURE = {
    'version.py': "__version__ = '1.0.0'",
    '__init__.py': 'from .version import __version__',
    'structures/__init__.py': 'from .quantization import *',
    'structures/quantization/__init__.py': 'from .qconfig import *',
    'structures/quantization/qconfig.py': 'QConfigHandler = object',
    'models/__init__.py': 'from .quantizers import BaseQuantizer',
    'models/quantizers/__init__.py': 'class BaseQuantizer: pass',
    'engine/__init__.py': '',
    'registry.py': """
class Registry:
    def register_module(self, **item):
        pass

MODELS = MODEL_WRAPPERS = LOOPS = Registry()
""",
}
REFUSES = """
import mmcv
from mmengine.utils import digit_version
assert digit_version(mmcv.__version__) <= digit_version('2.1.0'), (
    f'MMCV=={mmcv.__version__} is used but incompatible. Please install mmcv>=2.0.0rc1, <=2.1.0.'
)
seen = mmcv.__version__
"""
# A Python without btkd_det's __init__, which would import all of MMDetection.
BARE = """
import sys, types
package = sys.modules['btkd_det'] = types.ModuleType('btkd_det')
package.__path__ = [sys.argv[1]]
"""


def session(code, *paths):
    """What a Python of its own prints, and its last line of error."""
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code), *btkd_det.__path__],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join(map(str, [*paths, ROOT])),
            'OMP_NUM_THREADS': '1',
        },
    )
    return done.stdout.strip(), (done.stderr.strip().splitlines() or [''])[-1]


def lines_of(code, *paths):
    found, error = session(code, *paths)
    assert found.endswith('\ndone'), error
    return found.splitlines()[:-1]


def write(folder, files):
    for name, text in files.items():
        path = folder / 'mmrazor' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / 'mmcv.py').write_text("__version__ = '2.3.6'")
    return folder


REPORT = """
import mmcv, mmrazor
from btkd_det.compat import mmrazor as compat
print(mmcv.__version__, compat.quantization_replaced())
print(mmrazor.models.BaseQuantizer)
print('done')
"""


def test_one_that_imports_by_itself_is_left_alone(tmp_path):
    lines = lines_of(BARE + REPORT, write(tmp_path, MINIATURE))
    assert lines == ['2.3.6 False', "<class 'mmrazor.models.quantizers.BaseQuantizer'>"]


def test_one_that_is_imported_is_left_alone(tmp_path):
    broken = dict(MINIATURE, **{'structures/quantization/qconfig.py': '1 / 0'})
    before = 'import mmrazor.models, mmrazor.engine\n'
    lines = lines_of(BARE + before + REPORT, write(tmp_path, broken))
    assert lines == ['2.3.6 False', "<class 'mmrazor.models.quantizers.BaseQuantizer'>"]


def test_broken_quantization_is_left_out_and_named_on_use(tmp_path):
    broken = dict(MINIATURE, **{'structures/quantization/qconfig.py': 'raise ImportError'})
    code = """
    import mmrazor.structures.quantization.qconfig as deeper
    from mmrazor.models.quantizers import BaseQuantizer
    assert not hasattr(deeper, '__wrapped__')
    for use in (
        BaseQuantizer,
        lambda: BaseQuantizer.build,
        lambda: type('Mine', (object,), {}) and types.new_class('Mine', (BaseQuantizer,)),
        deeper.QConfigHandler,
    ):
        try:
            use()
        except NotImplementedError as error:
            print(error)
    print('done')
    """
    report = REPORT.replace("print('done')", '')
    lines = lines_of(BARE + report + textwrap.dedent(code), write(tmp_path, broken))
    name = 'mmrazor.models.quantizers.BaseQuantizer'
    assert lines[:2] == ['2.3.6 True', f'<{name}, not available>']
    assert [line.partition(' needs')[0] for line in lines[2:]] == [
        *3 * [f'quantization is not available: {name}'],
        'quantization is not available: mmrazor.structures.quantization.qconfig.QConfigHandler',
    ]


def test_the_version_of_mmcv_is_eased_for_the_top_level_alone(tmp_path):
    files = dict(
        MINIATURE,
        **{
            '__init__.py': REFUSES,
            'models/__init__.py': MINIATURE['models/__init__.py']
            + '\nimport mmcv\nseen = mmcv.__version__',
        },
    )
    report = REPORT.replace('import mmcv, mmrazor\n', '')
    report = report.replace('print(mmcv', 'import mmcv, mmrazor\nprint(mmcv')
    report = report.replace('mmrazor.models.BaseQuantizer', 'mmrazor.seen, mmrazor.models.seen')
    assert lines_of(BARE + report, write(tmp_path, files)) == ['2.3.6 False', '2.1.0 2.3.6']


def test_the_version_of_mmcv_comes_back_after_a_failure(tmp_path):
    files = dict(MINIATURE, **{'__init__.py': REFUSES + '\nraise RuntimeError'})
    code = """
    import mmcv
    try:
        import btkd_det.compat.mmrazor
    except RuntimeError:
        print(mmcv.__version__)
    print('done')
    """
    assert lines_of(BARE + textwrap.dedent(code), write(tmp_path, files)) == ['2.3.6']


def test_an_mmcv_below_its_range_is_refused(tmp_path):
    at_least = REFUSES.replace("<= digit_version('2.1.0')", ">= digit_version('2.0.0rc1')")
    write(tmp_path, dict(MINIATURE, **{'__init__.py': at_least}))
    (tmp_path / 'mmcv.py').write_text("__version__ = '1.7.2'")
    _, error = session(BARE + 'import btkd_det.compat.mmrazor', tmp_path)
    assert error.startswith('ImportError: btkd_det.compat.mmrazor: mmrazor takes mmcv >=2.0.0rc1')


def test_a_failure_takes_the_finder_away_and_names_what_to_install(tmp_path):
    files = dict(
        MINIATURE,
        **{
            'structures/quantization/qconfig.py': 'raise ImportError',
            'engine/__init__.py': "raise ModuleNotFoundError(name='ordered_set')",
        },
    )
    code = """
    try:
        import btkd_det.compat.mmrazor
    except ImportError as error:
        print(error)
    print([type(finder).__name__ for finder in sys.meta_path if 'Quant' in repr(finder)])
    print('done')
    """
    assert lines_of(BARE + textwrap.dedent(code), write(tmp_path, files)) == [
        'btkd_det.compat.mmrazor: ordered_set is not installed: pip install ordered-set',
        '[]',
    ]


def test_without_mmrazor_it_says_how_to_get_it():
    code = "sys.modules['mmrazor'] = None\nimport btkd_det.compat.mmrazor"
    _, error = session(BARE + code)
    assert error == (
        'ModuleNotFoundError: mmrazor is not installed: pip install mmrazor joblib ordered-set'
    )


@real
def test_the_real_one_imports_beside_the_installed_mmcv():
    code = """
    import btkd_det, mmcv
    version = mmcv.__version__
    import btkd_det.compat.mmrazor
    from mmrazor.engine import PTQLoop, StopDistillHook
    from mmrazor.models import ConfigurableDistiller, SingleTeacherDistill
    from mmrazor.models.quantizers import TensorRTQuantizer
    import mmrazor.structures
    print(mmcv.__version__ == version)
    for unavailable in (PTQLoop, TensorRTQuantizer):
        try:
            unavailable(runner=None)
        except NotImplementedError as error:
            print(error)
    print('done')
    """
    # Other packages print as well, before.
    same, *refusals = lines_of(code)[-3:]
    assert same == 'True'
    names = 'engine.runner.quantization_loops.PTQLoop', 'models.quantizers.TensorRTQuantizer'
    for line, name in zip(refusals, names, strict=True):
        assert line.startswith(f'quantization is not available: mmrazor.{name} needs')


@real
def test_a_config_that_asks_for_quantization_hears_why_there_is_none():
    importlib.import_module('btkd_det.compat.mmrazor')
    with pytest.raises(NotImplementedError, match=r'quantization is not available: .*Quant needs'):
        MODELS.build(dict(type='mmrazor.MMArchitectureQuant', architecture=dict(type='X')))
    with pytest.raises(NotImplementedError, match=r'quantization is not available: .*PTQLoop'):
        LOOPS.build(dict(type='mmrazor.PTQLoop', runner=None))


@pytest.fixture
def distill():
    """Builds MMRazor's distillation of a tiny Faster R-CNN by a deeper one."""
    importlib.import_module('btkd_det.compat.mmrazor')

    def build(recorders, loss, mapping):
        student = build_detector(tiny_faster_rcnn(), seed=0)
        teacher = build_detector(tiny_faster_rcnn(width=12), seed=7)
        distiller = dict(
            type='ConfigurableDistiller',
            student_recorders=recorders,
            teacher_recorders=recorders,
            distill_losses=dict(loss_kd=loss),
            loss_forward_mappings=dict(loss_kd=mapping),
        )
        with DefaultScope.overwrite_default_scope('mmrazor'):
            return MODELS.build(
                dict(
                    type='SingleTeacherDistill',
                    architecture=student,
                    teacher=teacher,
                    distiller=distiller,
                )
            )

    return build


def said(recorder, **options):
    return dict(
        preds_S=dict(from_student=True, recorder=recorder, **options),
        preds_T=dict(from_student=False, recorder=recorder, **options),
    )


NECK = dict(maps=dict(type='ModuleOutputs', source='neck'))
LABELS = 'mmdet.models.roi_heads.bbox_heads.bbox_head.BBoxHead.get_targets'
HEAD = dict(
    logits=dict(type='ModuleOutputs', source='roi_head.bbox_head.fc_cls'),
    targets=dict(type='MethodOutputs', source=LABELS),
)
DISTILLATIONS = {
    'CWD': (NECK, dict(type='ChannelWiseDivergence'), said('maps', data_idx=0)),
    'PKD': (NECK, dict(type='PKDLoss'), said('maps')),
    'DKD': (
        HEAD,
        dict(type='DKDLoss', beta=2.0),
        dict(
            **said('logits'),
            gt_labels=dict(from_student=True, recorder='targets', data_idx=0),
        ),
    ),
}


def gradients_of(loss, model):
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    return {name for (name, _), part in zip(named, found, strict=True) if part is not None}


@real
@pytest.mark.parametrize('name', DISTILLATIONS)
def test_a_step_of_the_real_one_trains_the_student_alone(distill, name):
    model = distill(*DISTILLATIONS[name])
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = model.data_preprocessor(detection_batch(), training=True)
    losses = model(**data, mode='loss')
    assert losses['distill.loss_kd'] > 0
    reached = gradients_of(losses['distill.loss_kd'], model)
    part = 'roi_head.bbox_head.fc_cls' if name == 'DKD' else 'neck.fpn_convs.0.conv'
    assert f'architecture.{part}.weight' in reached
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    assert f'architecture.{part}.weight' in changed
    assert not [key for key in changed if key.startswith('teacher.')]
