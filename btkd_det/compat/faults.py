"""Import failures of this stack whose cause is known, each with the command that mends it.

Standard library only, so that it works where everything else is broken.
"""

import re
import traceback
from typing import Any

from .distributions import (
    MAINTAINED,
    OPENCV,
    ORIGINAL,
    pip_name,
    providers,
    uses_original,
    version_of,
)

# What pip calls a package that is imported by another name.
PIP_NAMES = {
    'cv2': 'opencv-python-headless',
    'faster_coco_eval': 'faster-coco-eval',
    # Imports two packages that it does not require.
    'mmrazor': 'mmrazor joblib ordered-set',
    'ordered_set': 'ordered-set',
    'PIL': 'pillow',
    'yaml': 'PyYAML',
}
# What this stack imports and pip knows by the same name.
SAME_NAME = ('addict', 'joblib', 'matplotlib', 'numpy', 'packaging', 'pycocotools')
SAME_NAME += ('rich', 'scipy', 'shapely', 'six', 'termcolor', 'terminaltables', 'torch')
SAME_NAME += ('torchvision', 'tqdm', 'yapf')


def explain(error: BaseException) -> str | None:
    """Cause and remedy of an import failure, if it is one of the known ones.

    Args:
        error (BaseException): What the import raised. What it was raised from is looked at too,
            first things first.

    Returns:
        str or None: One line, ``cause: command``; None where the cause is not known.
    """
    for link in _chain(error):
        for known in KNOWN:
            line = known(link, str(link))
            if line is not None:
                return line
    return None


def install(packages: list[str]) -> str:
    """The command that installs packages of this stack that are not there.

    Args:
        packages (list[str]): Names as they are imported.

    Returns:
        str: The command, for the family of distributions that is in use here.
    """
    torch = version_of('torch')
    if packages == ['torchvision'] and torch:
        return _install_torchvision(torch)
    return f'pip install {" ".join(PIP_NAMES.get(name, pip_name(name)) for name in packages)}'


def conflicts() -> dict[str, str]:
    """Packages that two installed distributions write to, so that the last one installed wins.

    Returns:
        dict[str, str]: One line per package, ``cause: command``, by the package's name.
    """
    lines = {}
    for package in MAINTAINED:
        found = providers(package)
        if len(found) < 2:
            continue
        keep, *others = found
        lines[package] = (
            f'{" and ".join(found)} overwrite each other: pip uninstall -y {" ".join(others)} && '
            f'pip install --force-reinstall --no-deps {keep}=={found[keep]}'
        )
    return lines


def _chain(error: Exception) -> Any:
    links = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return reversed(links)


def _refused_version(error: Exception, message: str) -> str | None:
    """The check at the top of mmdet, mmpretrain and mmrazor."""
    found = re.search(
        r'==(\S+) is used but incompatible.*?install (\w+)\s*(>=[^\s,]+),\s*(<=?.+?)\.?\s*$',
        message,
        re.DOTALL,
    )
    if not isinstance(error, AssertionError) or not found:
        return None
    version, package, low, high = found.groups()
    by = _package_of(error)
    cause = f'{by or "the importing package"} takes {package} {low},{high} and found {version}'
    if by == 'mmrazor' and MAINTAINED.get(package) in providers(package):
        # It has no maintained distribution, and the maintained mmcv starts above its range.
        remove, take = (), '-r requirements-openmmlab.txt, in an environment of its own'
    elif MAINTAINED.get(package) in providers(package) and _is_original(by):
        # The maintained mmcv starts above what OpenMMLab's own packages take.
        remove, take = providers(by), MAINTAINED[by]
    else:
        name = MAINTAINED.get(package, package)
        if _is_original(by) or name not in providers(package):
            name = ORIGINAL.get(package, (package,))[0]
        remove = [other for other in providers(package) if other != name]
        take = f"'{name}{low},{high}'"
    remove = f'pip uninstall -y {" ".join(remove)} && ' if remove else ''
    return f'{cause}: {remove}pip install {take}'


def _is_original(package: Any) -> bool:
    """Whether OpenMMLab's own distribution provides a package of the family."""
    return any(name in providers(package) for name in ORIGINAL.get(package, ()))


def _torchvision_of_another_torch(error: Exception, message: str) -> str | None:
    signs = (
        'operator torchvision::',
        "Could not run 'torchvision::",
        "Couldn't load custom C++ ops",
        'PyTorch and torchvision were compiled with different CUDA',
        "module 'torchvision' has no attribute 'extension'",
    )
    if not any(sign in message for sign in signs):
        return None
    torch, vision = version_of('torch'), version_of('torchvision')
    return (
        f'torchvision {vision} does not belong to torch {torch} (both have to be of one release, '
        f'for the same device): {_install_torchvision(torch)}'
    )


def _install_torchvision(torch: Any) -> Any:
    """The command that installs the torchvision of a torch's release and device."""
    reinstall = 'pip install --force-reinstall'
    found = re.match(r'2\.(\d+)\.(\d+)(?:\+(\w+))?$', torch or '')
    if not found:
        return f'{reinstall} torch torchvision'
    minor, patch, device = found.groups()
    # torch 2.0 and torchvision 0.15 came out together, and so did all pairs since.
    vision = f'{reinstall} --no-deps torchvision==0.{int(minor) + 15}.{patch}'
    if device:
        vision += f' --index-url https://download.pytorch.org/whl/{device}'
    return vision


def _display_library(error: Exception, message: str) -> str | None:
    found = re.search(
        r'(lib(?:GL|EGL|gthread-2\.0|glib-2\.0|SM|ICE|X11|Xext|Xrender|xcb)\b\S*\.so[\d.]*): '
        r'cannot open shared object',
        message,
    )
    if not found:
        return None
    desktop = ' '.join(name for name in providers('cv2') if not name.endswith('headless'))
    return (
        f'OpenCV was built for a desktop and this machine has no {found[1]}: pip uninstall -y '
        f'{desktop or OPENCV[0]} && pip install --force-reinstall --no-deps '
        'opencv-python-headless'
    )


def _numpy_of_another_generation(error: Exception, message: str) -> str | None:
    signs = (
        'numpy.core.multiarray failed to import',
        'numpy._core.multiarray failed to import',
        '_ARRAY_API not found',
        'numpy.dtype size changed',
        'compiled using NumPy 1.x cannot be run in',
        'Numpy is not available',
    )
    if not any(sign in message for sign in signs):
        return None
    numpy = version_of('numpy') or ''
    name = _distribution_of(_package_of(error, other_than='numpy'))
    built = name or 'a package'
    if numpy.startswith('1.'):
        return f"{built} was built for another numpy than {numpy}: pip install 'numpy>=2'"
    newer = f'pip install --upgrade {name}, or without a newer build ' if name else ''
    return (
        f'{built} was built for numpy 1 and numpy {numpy} is installed: '
        f"{newer}pip install 'numpy<2'"
    )


def _compiled_ops_of_another_torch(error: Exception, message: str) -> str | None:
    broken = 'undefined symbol' in message or 'cannot open shared object' in message
    ours = getattr(error, 'name', None) == 'mmcv._ext' or re.search(r'mmcv\W_ext', message)
    if not isinstance(error, ImportError) or not (ours and (broken or 'DLL load' in message)):
        return None
    cause = f"MMCV's compiled ops were built for another PyTorch than {version_of('torch')}"
    if uses_original():
        found = providers('mmcv')
        name, version = next(iter(found.items()), ('mmcv', '2.1.0'))
        return f'{cause}: pip uninstall -y {name} && pip install mmcv-lite=={version}'
    version = version_of('onedl-mmcv')
    pinned = f'onedl-mmcv=={version}' if version else 'onedl-mmcv'
    return f'{cause}: pip install --force-reinstall --no-deps --no-cache-dir {pinned}'


def _missing_package(error: Exception, message: str) -> str | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition('.')[0]
    if error.name == 'mmcv._ext':
        return 'MMCV has no compiled ops: import btkd_det before mmdet and mmcv.ops'
    if error.name == 'pkg_resources':
        by = _package_of(error) or 'a package'
        return (
            f'{by} imports pkg_resources, which setuptools {version_of("setuptools") or ""} does '
            "not have: pip install 'setuptools<81'"
        )
    if error.name != package or package not in {*PIP_NAMES, *SAME_NAME, *MAINTAINED}:
        return None
    return f'{package} is not installed: {install([package])}'


def _package_of(error: Exception, other_than: str = '') -> Any:
    """The package whose code raised, as far as Python code goes: top-level name or None."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = frame.f_globals.get('__name__', '').partition('.')[0]
        if name not in ('', 'importlib', '_frozen_importlib', 'btkd_det', other_than):
            return name
    return None


def _distribution_of(package: Any) -> Any:
    return next(iter(providers(package or '')), PIP_NAMES.get(package, package))


def _transformers_too_new(error: Exception, message: str) -> str | None:
    """MMPretrain takes what it does not find in transformers for None, and inherits from it."""
    version = version_of('transformers')
    if not isinstance(error, TypeError) or 'NoneType takes no arguments' not in message:
        return None
    by = _package_of(error)
    if by != 'mmpretrain' or not version or int(version.partition('.')[0]) < 5:
        return None
    return f"{by} does not go with transformers {version}: pip install 'transformers<5'"


KNOWN = (
    _transformers_too_new,
    _refused_version,
    _torchvision_of_another_torch,
    _display_library,
    _numpy_of_another_generation,
    _compiled_ops_of_another_torch,
    _missing_package,
)
