"""Distillation for MMDetection and MMEngine that faces a teacher that is sometimes wrong.

Importing the package registers its losses, models, hooks and metrics in MMEngine's registries
under the scope ``btkd_det``, and lets torchvision's compiled operators serve an MMCV that was
installed without its own.
"""

import sys

__version__ = '0.1.0'


def distill(cfg, teacher, preset='btkd'):
    """Add a teacher and distillation losses to a plain config.

    Args:
        cfg (Config | str): A config without distillation, or where to read one.
        teacher (dict): ``dict(config=..., checkpoint=...)``.
        preset (str): ``'kd'``, ``'btkd'``, ``'btkd-dkd'``, ``'btkd-pkd'``, ``'ikd'`` or
            ``'feature'``.

    Returns:
        Config: See :func:`btkd_det.config.distill`.
    """
    from . import config

    return config.distill(cfg, teacher, preset)


def _register():
    from .compat import torchvision_ops

    torchvision_ops.install()
    from . import config_paths, evaluation, hooks, losses, models  # noqa: F401

    config_paths.register()


# The doctor has to run where these imports fail: it explains why.
if 'btkd_det.doctor' not in sys.orig_argv:
    try:
        _register()
    except Exception as error:
        from . import doctor

        explanation = doctor.explain(error)
        if explanation is None:
            raise
        raise ImportError(f'btkd_det: {explanation}') from error
