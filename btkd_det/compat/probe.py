"""Tries the packages that btkd_det stands on, one after the other, in a process of its own.

The doctor starts it, so that whatever an import does (raise, print, end the interpreter) the
doctor can still tell. ``NEEDS`` says what is tried, in which order, and what each needs.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Collection
from typing import Any

from . import torchvision_ops
from .faults import explain

NEEDS = {
    'numpy': (),
    'torch': (),
    'torchvision': ('torch',),
    'cv2': ('numpy',),
    'pycocotools': ('numpy',),
    'mmengine': ('torch',),
    'mmcv': ('mmengine', 'cv2'),
    'ops': ('mmcv', 'torchvision'),
    'mmdet': ('ops', 'pycocotools'),
    'mmpretrain': ('mmcv',),
    'mmrazor': ('mmdet',),
    'btkd_det': ('mmdet',),
}
OPTIONAL = ('mmpretrain', 'mmrazor')
# What is imported where it is not the name itself: a package's top level may import next to
# nothing.
ENTRANCES = {
    'ops': 'mmcv.ops',
    'pycocotools': 'pycocotools.mask',
    'mmdet': 'mmdet.models',
    'mmpretrain': 'mmpretrain.models',
}


def waits_for(name: str, faulty: Collection[str]) -> str | None:
    """What keeps a package from being tried.

    Args:
        name (str): A key of ``NEEDS``.
        faulty (Collection[str]): Those that cannot be imported.

    Returns:
        str or None: The one at fault, not one that itself waits.
    """
    for need in NEEDS[name]:
        cause = need if need in faulty else waits_for(need, faulty)
        if cause is not None:
            return cause
    return None


def main(names: list[str]) -> None:
    """Try packages and write one JSON object per line to standard output.

    A line ``{"name": ..., "state": "tried"}`` comes before each attempt, so that the reader
    knows which one ended the interpreter. One that waits for another has no line. What packages
    print goes to standard error.

    Args:
        names (list[str]): Keys of ``NEEDS``, in its order.
    """
    channel = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    faulty = set()
    for name in names:
        if _is_there(name) and waits_for(name, faulty):
            continue
        print(json.dumps(dict(name=name, state='tried')), file=channel, flush=True)
        result = _try(name)
        if result['state'] != 'works':
            faulty.add(name)
        print(json.dumps(dict(name=name, **result)), file=channel, flush=True)


def _is_there(name: str) -> Any:
    return name in ('ops', 'btkd_det') or importlib.util.find_spec(name) is not None


def _try(name: str) -> dict[str, Any]:
    try:
        if not _is_there(name):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
        return dict(state='works', **CHECKS.get(name, _imports)(name))
    except Exception as error:
        return dict(
            state='broken' if _is_there(name) else 'missing',
            error=f'{type(error).__name__}: {(str(error).strip().splitlines() or [""])[0]}',
            explanation=explain(error),
        )


def _imports(name: str) -> dict[str, Any]:
    importlib.import_module(name)
    importlib.import_module(ENTRANCES.get(name, name))
    return dict(version=getattr(sys.modules[name], '__version__', None))


def _torch(name: str) -> dict[str, Any]:
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return dict(version=torch.__version__, cuda=torch.version.cuda, devices=devices)


def _torchvision(name: str) -> dict[str, Any]:
    import torch
    import torchvision

    # A build for another device imports well and fails on its first call.
    for device in ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']:
        boxes = torch.zeros(1, 4, device=device)
        torchvision.ops.nms(boxes, boxes[:, 0], 0.5)
    return dict(version=torchvision.__version__)


def _ops(name: str) -> dict[str, Any]:
    torchvision_ops.install()
    importlib.import_module(ENTRANCES[name])
    return dict(torchvision=torchvision_ops.installed())


def _btkd_det(name: str) -> Any:
    # Up to here a stub stood in for the package, so that its parts could be had without it.
    for module in [key for key in sys.modules if key.partition('.')[0] == name]:
        del sys.modules[module]
    return _imports(name)


def _mmrazor(name: str) -> dict[str, Any]:
    if importlib.util.find_spec('btkd_det.compat.mmrazor') is None:
        return dict(version=None, unused=True)
    importlib.import_module('btkd_det.compat.mmrazor')
    return dict(version=None)


CHECKS = dict(
    torch=_torch, torchvision=_torchvision, ops=_ops, mmrazor=_mmrazor, btkd_det=_btkd_det
)
