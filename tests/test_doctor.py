"""The doctor in a Python that has nothing but stand-ins, with one fault provoked at a time."""

import ast
import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.utils import digit_version

import btkd_det
from btkd_det.doctor import explain

PACKAGE = Path(btkd_det.__file__).parent
# What each stand-in answers; just enough for the doctor to call it well.
MODULES = {
    'numpy/__init__.py': "__version__ = '2.2.6'",
    'torch/__init__.py': """
        from . import cuda, version
        __version__ = '2.14.1'
        class Tensor:
            def __getitem__(self, key):
                return self
        def zeros(*shape, device):
            return Tensor()
        """,
    'torch/version.py': "cuda = '13.0'",
    'torch/cuda.py': """
        is_available = lambda: False
        device_count = lambda: 0
        get_device_name = lambda index: 'Some GPU'
        """,
    'torchvision/__init__.py': "from . import ops\n__version__ = '0.29.1'",
    'torchvision/ops.py': 'nms = lambda boxes, scores, threshold: []',
    'cv2/__init__.py': "__version__ = '4.12.0'",
    'pycocotools/__init__.py': '',
    'pycocotools/mask.py': '',
    'mmengine/__init__.py': "__version__ = '0.10.7'",
    'mmcv/__init__.py': "__version__ = '2.1.0'",
    'mmcv/_ext.py': '',
    'mmcv/ops.py': 'import mmcv._ext',
    'mmdet/__init__.py': "__version__ = '3.3.0'",
    'mmdet/models.py': '',
}
DISTRIBUTIONS = {
    'numpy': '2.2.6',
    'torch': '2.14.1',
    'torchvision': '0.29.1',
    'opencv-python': '4.12.0.88',
    'pycocotools': '2.0.11',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
}
REFUSES = """
    import mmcv
    assert mmcv.__version__ < '2.2', (
        f'MMCV=={mmcv.__version__} is used but incompatible. '
        f'Please install mmcv>=2.0.0rc4, <2.2.0.')
    """
NUMPY_COMMAND = r"pip install --upgrade {}, or without a newer build pip install 'numpy<2'"


@pytest.fixture(scope='module')
def bare_python(tmp_path_factory):
    """An interpreter without any package."""
    folder = tmp_path_factory.mktemp('bare')
    venv.create(folder, symlinks=os.name != 'nt')
    return folder / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')


@pytest.fixture
def stack(tmp_path, bare_python):
    """Write stand-ins, run the doctor on them, return its exit code and output."""

    def run(modules=None, installed=None, absent=()):
        for path, text in {**MODULES, **(modules or {})}.items():
            if path.partition('/')[0] not in absent:
                file = tmp_path / path
                file.parent.mkdir(exist_ok=True)
                file.write_text(re.sub('^        |^    ', '', text, flags=re.MULTILINE).strip())
        for name, version in (installed or DISTRIBUTIONS).items():
            folder = tmp_path / f'{name.replace("-", "_")}-{version}.dist-info'
            folder.mkdir()
            (folder / 'METADATA').write_text(f'Name: {name}\nVersion: {version}\n')
        return doctor(bare_python, tmp_path)

    # The doctor alone: the package's own __init__ needs the real MMDetection.
    package = tmp_path / 'btkd_det'
    package.mkdir()
    (package / '__init__.py').write_text("__version__ = '0.0.1'")
    shutil.copy(PACKAGE / 'doctor.py', package)
    ignore = shutil.ignore_patterns('__pycache__', 'mmrazor.py')
    shutil.copytree(PACKAGE / 'compat', package / 'compat', ignore=ignore)
    return run


def doctor(python, folder):
    done = subprocess.run(
        [python, '-m', 'btkd_det.doctor'],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(folder)},
    )
    assert 'Traceback' not in done.stderr, done.stderr
    return done.returncode, done.stdout


def faults(output):
    """The lines after the headline that counts them."""
    found = re.search(r'(\d+) to mend, from top to bottom:\n(.*)', output, re.DOTALL)
    assert found, output
    lines = [line.strip() for line in found[2].strip().splitlines()]
    assert len(lines) == int(found[1])
    return lines


def test_a_healthy_stack(stack):
    code, output = stack()
    assert code == 0
    assert re.search(r'torch +2\.14\.1\n +GPU +none that torch sees\n', output)
    assert re.search(r'mmcv +2\.1\.0 +mmcv-lite\n', output)
    assert re.search(r'ops +MMCV.s own, compiled\n', output)
    assert re.search(r'detection +on\n', output)
    assert re.search(
        r'classification +off, mmpretrain is not installed: pip install mmpretr', output
    )
    assert output.endswith('All that is installed works.\n')


def test_names_the_gpu(stack):
    gpu = 'is_available = lambda: True\ndevice_count = lambda: 1\nget_device_name = "GPU {}".format'
    assert re.search(r'GPU +GPU 0\n', stack({'torch/cuda.py': gpu})[1])


def test_what_packages_print_does_not_disturb(stack):
    noise = 'import os\nprint("hello")\nos.write(1, b"{}\\n")'
    code, output = stack({'mmdet/models.py': noise})
    assert code == 0
    assert 'hello' not in output


FAULTS = {
    'mmdet refuses mmcv': (
        {'mmcv/__init__.py': "__version__ = '9.9'", 'mmdet/__init__.py': REFUSES},
        {},
        'mmdet: mmdet takes mmcv >=2.0.0rc4,<2.2.0 and found 9.9: '
        "pip install 'mmcv-lite>=2.0.0rc4,<2.2.0'",
    ),
    'mmdet refuses a compiled mmcv': (
        {'mmcv/__init__.py': "__version__ = '2.2.0'", 'mmdet/__init__.py': REFUSES},
        {'mmcv-lite': None, 'mmcv': '2.2.0'},
        'mmdet: mmdet takes mmcv >=2.0.0rc4,<2.2.0 and found 2.2.0: '
        "pip uninstall -y mmcv && pip install 'mmcv-lite>=2.0.0rc4,<2.2.0'",
    ),
    'mmdet refuses the other family': (
        {'mmcv/__init__.py': "__version__ = '2.3.6'", 'mmdet/__init__.py': REFUSES},
        {'mmcv-lite': None, 'onedl-mmcv': '2.3.6'},
        'mmdet: mmdet takes mmcv >=2.0.0rc4,<2.2.0 and found 2.3.6: '
        'pip uninstall -y mmdet && pip install onedl-mmdetection',
    ),
    'a maintained package refuses its own family': (
        {'mmcv/__init__.py': "__version__ = '2.5.0'", 'mmpretrain/__init__.py': REFUSES},
        {'mmcv-lite': None, 'onedl-mmcv': '2.5.0', 'onedl-mmpretrain': '1.3.6'},
        'mmpretrain: mmpretrain takes mmcv >=2.0.0rc4,<2.2.0 and found 2.5.0: '
        "pip install 'onedl-mmcv>=2.0.0rc4,<2.2.0'",
    ),
    'mmrazor refuses the maintained mmcv': (
        {
            'mmcv/__init__.py': "__version__ = '2.3.6'",
            'mmpretrain/__init__.py': 'import mmrazor',
            'mmrazor/__init__.py': REFUSES,
        },
        {'mmcv-lite': None, 'onedl-mmcv': '2.3.6'},
        'mmpretrain: mmrazor takes mmcv >=2.0.0rc4,<2.2.0 and found 2.3.6: '
        'pip install -r requirements-openmmlab.txt, in an environment of its own',
    ),
    'torchvision of another torch': (
        {
            'torchvision/__init__.py': 'raise RuntimeError('
            '"operator torchvision::nms does not exist")'
        },
        {'torchvision': '0.19.0'},
        'torchvision: torchvision 0.19.0 does not belong to torch 2.14.1 (both have to be of one '
        'release, for the same device): '
        'pip install --force-reinstall --no-deps torchvision==0.29.1',
    ),
    'torchvision for CUDA, torch for CPU': (
        {
            'torchvision/__init__.py': 'raise RuntimeError('
            '"operator torchvision::nms does not exist")'
        },
        {'torch': '2.14.1+cpu'},
        'torchvision: torchvision 0.29.1 does not belong to torch 2.14.1+cpu (both have to be of '
        'one release, for the same device): pip install --force-reinstall --no-deps '
        'torchvision==0.29.1 --index-url https://download.pytorch.org/whl/cpu',
    ),
    'torchvision for CPU, torch for CUDA': (
        {
            'torch/cuda.py': 'is_available = lambda: True\ndevice_count = lambda: 0',
            'torch/__init__.py': """
        from . import cuda, version
        __version__ = '2.14.1'
        class Tensor(str):
            __getitem__ = lambda self, key: self
        zeros = lambda *shape, device: Tensor(device)
        """,
            'torchvision/ops.py': """
        def nms(boxes, scores, threshold):
            if boxes == 'cuda':
                raise NotImplementedError("Could not run 'torchvision::nms' with arguments from "
                                          "the 'CUDA' backend.")
        """,
        },
        {'torchvision': '0.29.1+cpu'},
        'torchvision: torchvision 0.29.1+cpu does not belong to torch 2.14.1 (both have to be of '
        'one release, for the same device): '
        'pip install --force-reinstall --no-deps torchvision==0.29.1',
    ),
    'transformers that mmpretrain does not know': (
        {'mmpretrain/__init__.py': 'known = None\nclass Model(known): pass'},
        {'transformers': '5.17.0'},
        "mmpretrain: mmpretrain does not go with transformers 5.17.0: pip install 'transformers<5'",
    ),
    'opencv without libGL': (
        {
            'cv2/__init__.py': 'raise ImportError("libGL.so.1: cannot open shared object file: '
            'No such file or directory")'
        },
        {},
        'cv2: OpenCV was built for a desktop and this machine has no libGL.so.1: pip uninstall -y '
        'opencv-python && pip install --force-reinstall --no-deps opencv-python-headless',
    ),
    'opencv without libgthread': (
        {
            'cv2/__init__.py': 'raise ImportError("libgthread-2.0.so.0: cannot open shared object '
            'file: No such file or directory")'
        },
        {'opencv-python': None, 'opencv-contrib-python': '4.12.0.88'},
        'cv2: OpenCV was built for a desktop and this machine has no libgthread-2.0.so.0: '
        'pip uninstall -y opencv-contrib-python && pip install --force-reinstall --no-deps '
        'opencv-python-headless',
    ),
    'opencv built for numpy 1': (
        {'cv2/__init__.py': 'raise ImportError("numpy.core.multiarray failed to import")'},
        {},
        'cv2: opencv-python was built for numpy 1 and numpy 2.2.6 is installed: '
        + NUMPY_COMMAND.format('opencv-python'),
    ),
    'opencv without the numpy 1 interface': (
        {'cv2/__init__.py': 'raise AttributeError("_ARRAY_API not found")'},
        {},
        'cv2: opencv-python was built for numpy 1 and numpy 2.2.6 is installed: '
        + NUMPY_COMMAND.format('opencv-python'),
    ),
    'pycocotools built for numpy 1': (
        {
            'pycocotools/mask.py': 'raise ValueError("numpy.dtype size changed, may indicate '
            'binary incompatibility. Expected 96 from C header, got 88 from PyObject")'
        },
        {},
        'pycocotools: pycocotools was built for numpy 1 and numpy 2.2.6 is installed: '
        + NUMPY_COMMAND.format('pycocotools'),
    ),
    'pycocotools built for numpy 2': (
        {
            'pycocotools/mask.py': 'raise ValueError("numpy.dtype size changed, may indicate '
            'binary incompatibility. Expected 88 from C header, got 96 from PyObject")'
        },
        {'numpy': '1.26.4'},
        "pycocotools: pycocotools was built for another numpy than 1.26.4: pip install 'numpy>=2'",
    ),
    'no pkg_resources': (
        {'mmengine/__init__.py': 'import pkg_resources'},
        {'setuptools': '84.2.1'},
        'mmengine: mmengine imports pkg_resources, which setuptools 84.2.1 does not have: '
        "pip install 'setuptools<81'",
    ),
    'compiled ops of another torch': (
        {
            'mmcv/_ext.py': 'raise ImportError("/site-packages/mmcv/_ext.cpython-311.so: '
            'undefined symbol: _ZN3c105ErrorC2E", name="mmcv._ext")'
        },
        {'mmcv-lite': None, 'mmcv': '2.1.0'},
        "ops: MMCV's compiled ops were built for another PyTorch than 2.14.1: "
        'pip uninstall -y mmcv && pip install mmcv-lite==2.1.0',
    ),
    'a package within a package': (
        {'mmengine/__init__.py': 'import addict'},
        {},
        'mmengine: addict is not installed: pip install addict',
    ),
    'a package of another name': (
        {'mmengine/__init__.py': 'import yaml'},
        {},
        'mmengine: yaml is not installed: pip install PyYAML',
    ),
    'two families': (
        {},
        {'onedl-mmcv': '2.3.6'},
        'mmcv: onedl-mmcv and mmcv-lite overwrite each other: pip uninstall -y mmcv-lite && '
        'pip install --force-reinstall --no-deps onedl-mmcv==2.3.6',
    ),
    'a broken option': (
        {'mmpretrain/__init__.py': 'import einops_of_old'},
        {'mmpretrain': '1.2.0'},
        "mmpretrain: ModuleNotFoundError: No module named 'einops_of_old' (no known cause, see: "
        'python -c "import mmpretrain.models")',
    ),
    'a cause that nobody knows': (
        {'mmdet/models.py': 'raise OSError("the moon is full\\nand more")'},
        {},
        'mmdet: OSError: the moon is full (no known cause, see: python -c "import mmdet.models")',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_a_fault_has_one_line_with_its_remedy(stack, name):
    modules, installed, line = FAULTS[name]
    installed = {**DISTRIBUTIONS, **installed}
    code, output = stack(modules, {key: value for key, value in installed.items() if value})
    assert faults(output) == [line]
    assert code == 1


@pytest.mark.parametrize(
    ('ending', 'line'),
    [
        ('import os; os._exit(3)', 'mmdet: ends Python with exit code 3: last words'),
        (
            'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)',
            'mmdet: ends Python with SIGSEGV: last words',
        ),
    ],
)
def test_an_import_that_ends_python(stack, ending, line):
    """What comes after it is still tried."""
    words = 'import sys; print("last words", file=sys.stderr, flush=True)\n'
    modules = {'mmdet/models.py': words + ending, 'mmpretrain/__init__.py': "__version__ = '1.2'"}
    modules['mmpretrain/models.py'] = ''
    code, output = stack(modules)
    assert faults(output) == [f'{line} (no known cause, see: python -c "import mmdet.models")']
    assert re.search(r'mmpretrain +1\.2\n', output)
    assert re.search(r'classification +off, waits for mmdet\n', output)
    assert code == 1


def test_what_rests_on_a_fault_waits(stack):
    code, output = stack({'torch/__init__.py': 'raise OSError("no")'})
    assert len(faults(output)) == 1
    assert re.search(r'detection +off, waits for torch\n', output)
    assert 'mmdet  ' not in output
    assert code == 1


def test_all_that_is_missing_comes_in_one_command(stack):
    installed = {'numpy': '2.2.6', 'torch': '2.14.1', 'mmengine': '0.10.7'}
    absent = ('mmcv', 'mmdet', 'torchvision', 'cv2', 'pycocotools')
    code, output = stack(installed=installed, absent=absent)
    assert faults(output) == [
        'torchvision, opencv, pycocotools, mmcv, mmdet: not installed: '
        'pip install torchvision opencv-python-headless pycocotools mmcv-lite mmdet'
    ]
    assert code == 1


def test_a_missing_torchvision_is_asked_for_in_the_release_of_torch(stack):
    code, output = stack(absent=('torchvision',))
    assert faults(output) == [
        'torchvision: not installed: pip install --force-reinstall --no-deps torchvision==0.29.1'
    ]
    assert code == 1


def test_the_package_itself_lets_the_doctor_run_where_nothing_is_installed(bare_python):
    code, output = doctor(bare_python, PACKAGE.parent)
    assert re.search(r'torch +missing\n', output)
    assert 'onedl-mmdetection' in faults(output)[0]
    assert code == 1


def test_here():
    """This very environment: what runs these tests works."""
    code, output = doctor(sys.executable, PACKAGE.parent)
    assert re.search(r'detection +on\n', output), output
    assert re.search(rf'btkd_det +{re.escape(btkd_det.__version__)}\n', output)
    assert re.search(r"ops +(torchvision's|MMCV's own)", output)
    assert code == ('to mend' in output)


@pytest.mark.parametrize('package', ['mmdet', 'mmpretrain', 'mmrazor'])
def test_the_real_refusal_is_known(package):
    """The wording is that of the packages, which may change it: run their checks, and no more."""
    spec = find_spec(package)
    body = ast.parse(Path(spec.origin).read_text()).body if spec else []
    if not any(isinstance(node, ast.Assert) for node in body):
        pytest.skip(f'the installed {package}, if any, takes every version of MMCV')
    checks = [node for node in body if isinstance(node, (ast.Assign, ast.Assert))]
    code = compile(ast.Module(checks, []), spec.origin, 'exec')
    old = SimpleNamespace(__version__='1.7.2')
    names = dict(mmcv=old, mmengine=old, digit_version=digit_version, __name__=package)
    with pytest.raises(AssertionError) as caught:
        exec(code, names)
    assert re.match(
        rf"{package} takes mmcv >=2\S+,<=?2\S+ and found 1\.7\.2: .*pip install '?[a-z-]+",
        explain(caught.value),
    )


class TestExplain:
    def test_looks_at_what_an_error_was_raised_from(self):
        error = RuntimeError('could not import')
        error.__cause__ = ImportError('libGL.so.1: cannot open shared object file')
        assert 'opencv-python-headless' in explain(error)

    def test_looks_at_what_was_being_handled_unless_that_was_left_out(self):
        error = RuntimeError('could not import')
        error.__context__ = ImportError('libGL.so.1: cannot open shared object file')
        assert 'opencv-python-headless' in explain(error)
        error.__suppress_context__ = True
        assert explain(error) is None

    @pytest.mark.parametrize(
        'error',
        [
            ImportError("cannot import name 'x' from 'mmdet'"),
            ModuleNotFoundError("No module named 'torch.nonsense'", name='torch.nonsense'),
            ModuleNotFoundError("No module named 'unheard_of'", name='unheard_of'),
            AssertionError('MMCV is used but incompatible'),
            KeyError('numpy'),
        ],
    )
    def test_says_nothing_of_what_it_does_not_know(self, error):
        assert explain(error) is None

    def test_sends_a_missing_extension_to_the_package(self):
        error = ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext')
        assert 'import btkd_det before mmdet' in explain(error)
