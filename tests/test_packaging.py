"""What a user installs: the wheel, the configs in it, and the environment that make sets up."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

import btkd_det
from btkd_det.config import paths

ROOT = Path(__file__).parents[1]
SOURCES = ('btkd_det', 'configs', 'requirements', 'tools', 'MANIFEST.in', 'pyproject.toml')
OF_CHECKOUT = ('benchmark.py', 'demo.py', 'make_shapes.py')
CONFIG = 'bccd/btkd_faster-rcnn_r18w8-r34w32_fpn_20e_bccd.py'


def load_install_script():
    path = ROOT / 'requirements' / 'install.py'
    spec = importlib.util.spec_from_file_location('install', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


install = load_install_script()


def run(*command, **kwargs):
    result = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """A wheel made from a source distribution, which a checkout made: the longest way."""
    folder = tmp_path_factory.mktemp('build')
    checkout = folder / 'checkout'
    checkout.mkdir()
    for name in (*SOURCES, 'setup.py', 'LICENSE'):
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, checkout)
    backend = 'from setuptools import build_meta; build_meta.build_sdist({!r})'
    run(sys.executable, '-c', backend.format(str(folder)), cwd=checkout)
    (sdist,) = folder.glob('*.tar.gz')
    offline = ('--no-deps', '--no-build-isolation', '--no-index')
    run(sys.executable, '-m', 'pip', 'wheel', *offline, '-w', str(folder), str(sdist))
    (path,) = folder.glob('*.whl')
    return path


def test_wheel_carries_configs_and_tools(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())

    for folder in ('configs', 'tools'):
        for path in (ROOT / folder).rglob('*.py'):
            carried = 'experiments' not in top_level_imports(path)
            assert (f'btkd_det/.mim/{path.relative_to(ROOT).as_posix()}' in names) == carried
    assert 'btkd_det/.mim/model-index.yml' in names
    outside = ('tests/', 'requirements/', 'experiments/')
    assert not [name for name in names if name.startswith(outside)]
    laboratory = re.compile(r'/(\w*benchmark\w*|demo|shapes|make_shapes|mmrazor_peer)\.py$')
    assert not [name for name in names if laboratory.search(name)]


def top_level_imports(path):
    """Top-level packages that a file imports, those in its functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition('.')[0])
    return found


def test_the_package_imports_neither_experiments_nor_tools():
    sources = [path for path in (ROOT / 'btkd_det').rglob('*.py') if '.mim' not in path.parts]
    assert len(sources) > 100
    outside = {'experiments', 'tools', 'tests', 'benchmarks'}
    assert not {str(path) for path in sources if top_level_imports(path) & outside}


def test_installed_wheel_resolves_configs(wheel, tmp_path):
    site = tmp_path / 'site'
    options = ('--no-deps', '--no-index', '--target', str(site))
    run(sys.executable, '-m', 'pip', 'install', *options, str(wheel))
    code = f"""
import json, btkd_det
from mmengine.config import Config
from mmengine.hub import get_config
found = [btkd_det.__file__]
for cfg in (get_config('btkd_det::{CONFIG}'), Config.fromfile('mine.py')):
    found.append(cfg.model.distill.roi_logits.type)
json.dump(found, open('found.json', 'w'))
"""
    (tmp_path / 'mine.py').write_text(f"_base_ = 'btkd_det::{CONFIG}'\n")
    run(sys.executable, '-c', code, cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(site)})

    assert_tools_run(site, tmp_path)
    module, *losses = json.loads((tmp_path / 'found.json').read_text())
    assert module == str(site / 'btkd_det' / '__init__.py')
    assert losses == ['btkd_det.BTKDLoss', 'btkd_det.BTKDLoss']


def assert_tools_run(site, folder):
    """By the package, for there is no ``tools/`` beside an installed wheel."""
    module = (sys.executable, '-m', 'btkd_det')
    place = dict(cwd=folder, env={**os.environ, 'PYTHONPATH': str(site)})
    listed = run(*module, **place)
    names = [line.split()[0] for line in listed.splitlines()[2:]]
    assert names == sorted(
        p.stem for p in (ROOT / 'tools').glob('*.py') if p.name not in OF_CHECKOUT
    )
    assert re.search(r'^  train +Train any MMEngine config', listed, re.MULTILINE)
    said = run(*module, 'make_recipe', 'cifar100', '--student', 'resnet20', **place)
    path = 'work_dirs/recipes/resnet20_cifar100.py'
    assert said == f'Written: {path}\nTrain:   python -m btkd_det train {path}\n'
    refused = subprocess.run([*module, 'tain'], capture_output=True, text=True, **place)
    assert refused.returncode == 1
    assert refused.stderr == f'error: no command tain; valid: {", ".join(names)}\n'


def test_no_distribution_of_the_host_packages_is_forced(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith('.dist-info/METADATA')]
        metadata = Parser().parsestr(archive.read(name).decode())

    always = [r for r in metadata.get_all('Requires-Dist') if 'extra ==' not in r]
    names = [
        'jinja2',
        'markupsafe',
        'matplotlib',
        'numpy',
        'pillow',
        'rich',
        'scipy',
        'torch',
        'torchvision',
    ]
    assert sorted(r.partition('>')[0] for r in always) == names
    extras = ['classification', 'dev', 'mmrazor', 'onedl', 'openmmlab']
    assert sorted(metadata.get_all('Provides-Extra')) == extras
    assert metadata['Version'] == btkd_det.__version__
    assert metadata['Requires-Python'] == '>=3.10'


def test_checkout_resolves_configs_with_their_own_scope(tmp_path):
    beside = Config.fromfile(ROOT / 'configs' / CONFIG)
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = 'btkd_det::{CONFIG}'\n")

    named = Config.fromfile(path)

    assert named.pretty_text == beside.pretty_text
    assert get_config(f'btkd_det::{CONFIG}').pretty_text == beside.pretty_text
    assert "'_scope_': 'btkd_det'" not in str(named.to_dict())
    # Configs of other packages keep theirs.
    assert Config._get_cfg_path('mmdet::_base_/default_runtime.py', '')[1] == 'mmdet'


def test_registering_twice_wraps_once():
    before = Config._get_cfg_path
    paths.register()

    assert Config._get_cfg_path is before
    assert not hasattr(before.__wrapped__, '__wrapped__')


@pytest.fixture
def environment(tmp_path):
    """A stand-in for a virtual environment whose ``bin/python`` the test writes."""
    (tmp_path / 'bin').mkdir()

    def write(script):
        python = tmp_path / 'bin' / 'python'
        python.write_text('#!/bin/sh\n' + script)
        python.chmod(0o755)
        return tmp_path

    return write


def test_opencv_without_libgl_is_replaced_by_the_headless_build(environment, capsys, monkeypatch):
    monkeypatch.setattr(install.shutil, 'which', lambda name: None)
    folder = environment("""
cd "$(dirname "$0")"
case "$*" in
*"import cv2"*) [ -f mended ] && exit 0
    echo "ImportError: libGL.so.1: cannot open shared object file" >&2; exit 1 ;;
*"-m pip"*) echo "$@" > mended ;;
*metadata.version*) echo 4.12.0.88 ;;
esac
""")

    install.mend_opencv(folder)

    command = (folder / 'bin' / 'mended').read_text()
    assert '--force-reinstall --no-deps opencv-python-headless==4.12.0.88' in command
    assert 'libGL.so.1' in capsys.readouterr().out


def test_opencv_that_fails_for_another_reason_is_reported(environment):
    folder = environment('echo "ImportError: numpy is too old" >&2; exit 1')

    with pytest.raises(install.SetupError, match='numpy is too old'):
        install.mend_opencv(folder)


def test_failed_pip_shows_what_it_says(environment, capfd, monkeypatch):
    monkeypatch.setattr(install.shutil, 'which', lambda name: None)
    folder = environment('echo ERROR: No matching distribution for x; exit 1')

    with pytest.raises(install.SetupError, match='pip failed; the lines above say why'):
        install.install(folder, 'x')

    assert 'No matching distribution for x' in capfd.readouterr().out


@pytest.mark.parametrize('works', [True, False])
def test_uv_installs_where_it_is_there_and_pip_where_it_fails(
    works, environment, tmp_path, monkeypatch
):
    folder = environment('echo "pip: $@" >> "$(dirname "$0")/calls"')
    uv = tmp_path / 'uv'
    uv.write_text(f'#!/bin/sh\necho "uv: $@" >> {folder}/bin/calls\nexit {0 if works else 1}\n')
    uv.chmod(0o755)
    monkeypatch.setattr(install.shutil, 'which', lambda name: str(uv))

    install.install(folder, '--no-deps', 'x')

    calls = (folder / 'bin' / 'calls').read_text().splitlines()
    assert calls[0] == f'uv: pip install --python {folder}/bin/python --no-deps x'
    assert [call.partition(':')[0] for call in calls] == (['uv'] if works else ['uv', 'pip'])
    assert works or calls[1].endswith(' --no-deps x')


def test_environment_is_left_alone_until_its_requirements_change(tmp_path, monkeypatch, capsys):
    project = tmp_path / 'project'
    (project / 'requirements').mkdir(parents=True)
    for name in ('setup.py', 'requirements.txt', 'constraints.txt', 'requirements/core.txt'):
        (project / name).write_text('first')
    steps = []
    monkeypatch.setattr(install, 'ROOT', project)
    monkeypatch.setattr(install, 'create', lambda env: (env.mkdir(), steps.append('create')))
    monkeypatch.setattr(install, 'interpreter_works', Path.is_dir)
    monkeypatch.setattr(install, 'install', lambda env, *args: steps.append('install'))
    monkeypatch.setattr(install, 'mend_opencv', lambda env: steps.append('opencv'))
    args = ['requirements.txt', 'constraints.txt']

    assert install.main([str(tmp_path / 'env'), *args]) == 0
    assert steps == ['create', 'install', 'install', 'opencv']
    steps.clear()
    assert install.main([str(tmp_path / 'env'), *args]) == 0
    assert steps == []
    assert 'is up to date' in capsys.readouterr().out
    for name in ('setup.py', 'constraints.txt', 'requirements/core.txt'):
        (project / name).write_text('second')
        assert install.main([str(tmp_path / 'env'), *args]) == 0
        assert steps == ['install', 'install', 'opencv']
        steps.clear()


def test_environment_that_failed_is_not_taken_for_ready(tmp_path, monkeypatch, capsys):
    def fail(*args):
        raise install.SetupError('no space left')

    monkeypatch.setattr(install, 'create', lambda env: env.mkdir(exist_ok=True))
    monkeypatch.setattr(install, 'install', fail)
    folder = tmp_path / 'env'

    status = install.main([str(folder), 'requirements.txt', 'constraints.txt'])

    assert status == 1
    assert 'no space left' in capsys.readouterr().err
    assert not (folder / install.STAMP).exists()


@pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')
def test_make_refuses_an_old_python_in_one_line(tmp_path):
    old = tmp_path / 'python3'
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 || exit 1\n')
    old.chmod(0o755)

    # As if not called by the make that runs these tests: a make below one says more.
    outside = {k: v for k, v in os.environ.items() if not k.startswith(('MAKE', 'MFLAGS'))}

    result = subprocess.run(
        ['make', 'test', f'PYTHON={old}'], cwd=ROOT, env=outside, capture_output=True, text=True
    )

    assert result.returncode != 0
    assert 'needs Python >= 3.10' in result.stderr
    assert 'Python 3.8.1' in result.stderr
    assert result.stdout == ''
