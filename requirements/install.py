"""Create or refresh a virtual environment that holds btkd_det and its tested requirements.

    python requirements/install.py .venv requirements.txt constraints.txt

Does nothing where the environment is up to date. Packages come by uv where it is there, else by
pip. Standard library only: it runs before anything is installed.
"""

import argparse
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAMP = 'btkd_det.stamp'


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def main(args=None):
    """Bring the environment up to date.

    Args:
        args (list[str], optional): Command line. Defaults to the process's own.

    Returns:
        int: Exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('environment', type=Path)
    parser.add_argument('requirements', type=Path)
    parser.add_argument('constraints', type=Path)
    options = parser.parse_args(args)
    try:
        refresh(options.environment, options.requirements, options.constraints)
    except SetupError as error:
        print(f'\n{options.environment}: {error}', file=sys.stderr)
        return 1
    return 0


def refresh(environment, requirements, constraints):
    """Create ``environment`` where it is missing, refresh it where its requirements changed.

    Args:
        environment (Path): Folder of the virtual environment.
        requirements (Path): What to install.
        constraints (Path): The tested versions of it.

    Raises:
        SetupError: A step failed.
    """
    stamp = environment / STAMP
    expected = fingerprint(constraints)
    if stamp.is_file() and stamp.read_text() == expected and interpreter_works(environment):
        print(f'{environment} is up to date.')
        return
    started = time.monotonic()
    stamp.unlink(missing_ok=True)
    if interpreter_works(environment):
        print(f'{environment}: its requirements changed.')
    else:
        version = '.'.join(map(str, sys.version_info[:3]))
        print(f'[1/4] {environment}: a virtual environment of Python {version}', flush=True)
        create(environment)
    print(
        f'[2/4] packages of {requirements} (about 3 GB to download, 7 GB on disk; minutes, once)',
        flush=True,
    )
    install(environment, '-r', str(requirements), '-c', str(constraints))
    print('[3/4] btkd_det, from this folder', flush=True)
    install(environment, '--no-deps', '--no-build-isolation', '-e', str(ROOT))
    print('[4/4] checking that OpenCV loads', flush=True)
    mend_opencv(environment)
    stamp.write_text(expected)
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    print(f'{environment} is ready ({minutes}:{seconds:02d}).')


def fingerprint(constraints):
    """What an environment was made from.

    Args:
        constraints (Path): The constraints file; all that ``requirements/`` holds and
            ``setup.py`` count too, and so do the Python version and the place of the project,
            which an editable install remembers.

    Returns:
        str: A hash, as hexadecimal digits.
    """
    digest = hashlib.sha256(f'{sys.version_info[:2]} {ROOT}'.encode())
    sources = [*ROOT.glob('requirements*.txt'), *ROOT.glob('requirements/*.txt')]
    for path in [*sorted(sources), ROOT / 'setup.py', ROOT / constraints]:
        digest.update(path.name.encode() + b'\0' + path.read_bytes() + b'\0')
    return digest.hexdigest()


def python_of(environment):
    return environment / 'bin' / 'python'


def interpreter_works(environment):
    """Whether the environment's Python starts, with pip, in the version that runs this file."""
    check = f'import pip, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})'
    try:
        return ask(environment, check).returncode == 0
    except OSError:
        return False


def ask(environment, code):
    """Run a line of Python in the environment.

    Returns:
        subprocess.CompletedProcess: With ``stdout`` and ``stderr`` as text.
    """
    return subprocess.run(
        [str(python_of(environment)), '-c', code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def create(environment):
    """Make an empty virtual environment with pip.

    Some Linux distributions ship Python without ``ensurepip``; there, pip comes from the pip
    that runs outside.

    Raises:
        SetupError: Neither ``ensurepip`` nor pip is there.
    """
    has_ensurepip = importlib.util.find_spec('ensurepip') is not None
    if not has_ensurepip and importlib.util.find_spec('pip') is None:
        raise SetupError(
            f'{sys.executable} has neither ensurepip nor pip. On Debian and Ubuntu: '
            'apt-get install python3-venv'
        )
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=has_ensurepip).create(environment)
    if not has_ensurepip:
        outside = [sys.executable, '-m', 'pip', '--python', str(python_of(environment))]
        if not succeeds([*outside, 'install', 'pip']):
            raise SetupError('pip cannot be installed into it; the lines above say why')


def install(environment, *args):
    """Install into the environment, by uv where it is there, by pip where it is not or fails.

    Raises:
        SetupError: pip failed; what it printed says why.
    """
    python = str(python_of(environment))
    uv = shutil.which('uv')
    if uv is not None:
        if succeeds([uv, 'pip', 'install', '--python', python, *args]):
            return
        # It reads neither pip's configuration nor its variables, such as those of a mirror.
        print('      uv failed; pip tries the same', flush=True)
    # Without --no-compile pip spends half of its time on byte code of modules never imported.
    options = ['--no-input', '--disable-pip-version-check', '--no-compile']
    if not succeeds([python, '-m', 'pip', 'install', *options, *args]):
        raise SetupError('pip failed; the lines above say why')


def succeeds(command):
    """Run a command, its output in the terminal; whether it ended well."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, cwd=ROOT).returncode == 0


def mend_opencv(environment):
    """See that ``import cv2`` works without a display.

    MMCV asks for ``opencv-python``, which needs libGL and other libraries of a desktop. The
    headless build of the same version needs none and has the same module.

    Raises:
        SetupError: OpenCV does not load, for another reason or even so.
    """
    first = ask(environment, 'import cv2')
    if first.returncode == 0:
        return
    if '.so' in first.stderr:
        print(f'      {last_line(first.stderr)}\n      taking the build without a display instead')
        version = ask(
            environment, "from importlib import metadata; print(metadata.version('opencv-python'))"
        ).stdout.strip()
        headless = f'opencv-python-headless=={version}'
        install(environment, '--force-reinstall', '--no-deps', headless)
        first = ask(environment, 'import cv2')
    if first.returncode:
        raise SetupError(f'OpenCV does not load: {last_line(first.stderr)}')


def last_line(text):
    return text.strip().rpartition('\n')[2]


if __name__ == '__main__':
    sys.exit(main())
