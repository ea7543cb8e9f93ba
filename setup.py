"""Packaging. Dependencies stand in ``requirements/``, one file per extra."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
EXTRAS = ('onedl', 'openmmlab', 'classification', 'mmrazor', 'dev')
# Where MMEngine and MIM look for what a package has beside its code.
MIM = Path('btkd_det/.mim')


# Tools of a checkout: they need ``experiments/``, which is not in the wheel.
OF_CHECKOUT = ('benchmark.py', 'demo.py', 'make_shapes.py')


class BuildWithConfigs(build_py):
    """Puts the top-level ``configs/`` and ``tools/`` into the wheel, under ``btkd_det/.mim/``.

    A checkout and an editable install reach them by links that lie in ``btkd_det/.mim/``.
    """

    def run(self):
        super().run()
        if not self.editable_mode:
            for source, target in self._carried():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode=1):
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(target) for _, target in self._carried()]

    def _carried(self):
        for folder in ('configs', 'tools'):
            for source in sorted((ROOT / folder).rglob('*')):
                if source.suffix in ('.py', '.md', '.yml') and source.name not in OF_CHECKOUT:
                    yield source, Path(self.build_lib) / MIM / source.relative_to(ROOT)


def version():
    source = (ROOT / 'btkd_det/__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", source, re.MULTILINE).group(1)


def requirements(name):
    lines = (ROOT / f'requirements/{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def readme():
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.is_file() else ''


setup(
    name='btkd_det',
    version=version(),
    description='Knowledge distillation for MMDetection and MMEngine that faces a teacher that '
    'is sometimes wrong',
    long_description=readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['btkd_det', 'btkd_det.*']),
    package_data={'btkd_det': ['py.typed', '.mim/model-index.yml']},
    # mmengine, mmcv and mmdet come from either of two distributions: only the extras name them,
    # so that installing btkd_det never replaces what is there.
    install_requires=requirements('core'),
    extras_require={name: requirements(name) for name in EXTRAS},
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
)
