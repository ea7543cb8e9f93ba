"""Which distributions provide the packages of the OpenMMLab family.

Two of them provide each package: the maintained ``onedl-*`` and OpenMMLab's own, frozen since
2024. Standard library only, so that it works where everything else is broken.
"""

import importlib.metadata

MAINTAINED = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmdet': 'onedl-mmdetection',
    'mmpretrain': 'onedl-mmpretrain',
}
ORIGINAL = {
    'mmengine': ('mmengine', 'mmengine-lite'),
    'mmcv': ('mmcv-lite', 'mmcv', 'mmcv-full'),
    'mmdet': ('mmdet',),
    'mmpretrain': ('mmpretrain',),
}
OPENCV = (
    'opencv-python',
    'opencv-python-headless',
    'opencv-contrib-python',
    'opencv-contrib-python-headless',
)


def version_of(distribution: str) -> str | None:
    """Version of an installed distribution.

    Args:
        distribution (str): Name as pip takes it.

    Returns:
        str or None: None where it is not installed.
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def providers(package: str) -> dict[str, str]:
    """Installed distributions that provide a package.

    Args:
        package (str): Name as it is imported, such as ``'mmcv'`` or ``'cv2'``.

    Returns:
        dict[str, str]: Version by name; more than one entry where they overwrite each other.
    """
    if package == 'cv2':
        names = OPENCV
    elif package in MAINTAINED:
        names = (MAINTAINED[package], *ORIGINAL[package])
    else:
        names = (package,) if package else ()
    found = {name: version_of(name) for name in names}
    return {name: version for name, version in found.items() if version}


def uses_original() -> bool:
    """Whether this environment is built on OpenMMLab's own packages.

    Returns:
        bool: True where one of them is installed and none of the maintained ones.
    """
    found = {name for package in MAINTAINED for name in providers(package)}
    return bool(found) and found.isdisjoint(MAINTAINED.values())


def pip_name(package: str) -> str:
    """What to ask pip for to get a package that fits this environment.

    Args:
        package (str): Name as it is imported.

    Returns:
        str: The distribution's name.
    """
    if package not in MAINTAINED:
        return package
    return ORIGINAL[package][0] if uses_original() else MAINTAINED[package]


def build_mmcv() -> str:
    """The command that gives this environment an MMCV with compiled ops.

    Returns:
        str: The command, and what it takes.
    """
    build = 'pip install --no-build-isolation --no-deps --no-cache-dir --force-reinstall'
    if uses_original():
        version = providers('mmcv').get('mmcv-lite', '2.1.0')
        remove = "pip uninstall -y mmcv-lite && pip install 'setuptools<81' && "
        command = f'{remove}{build} --no-binary mmcv mmcv=={version}'
    else:
        version = version_of('onedl-mmcv')
        pinned = f'onedl-mmcv=={version}' if version else 'onedl-mmcv'
        command = f'{build} --no-binary onedl-mmcv {pinned}'
    return (
        f'{command} (takes a C++ compiler, 20 minutes or so, and a PyTorch that still compiles '
        f'as C++17, which 2.14 does not)'
    )
