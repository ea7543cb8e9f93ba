"""What surrounds and drives a training, checked together."""

from typing import Any

from mmengine import registry as root
from mmengine.config import Config

from ..checks import check_file
from ..hints import Model
from .optimization import check_optimization
from .parts import check_evaluators, check_hooks, check_loops, check_phases, check_visualizer
from .registries import find_type
from .rehearsal import check_step
from .settings import check_settings
from .surroundings import check_imports, check_launcher, check_work_dir


def check_surroundings(cfg: Config) -> None:
    """Check the folder, the launcher and the imports of a training.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: The work dir cannot be written, the launcher's environment is not there, a
            module does not import, or the config has no training in it.
    """
    check_imports(cfg)
    check_launcher(cfg.get('launcher') or 'none')
    check_work_dir(cfg.work_dir)
    check_phases(cfg)
    check_settings(cfg)


def check_training(cfg: Config, model: Model, found: dict) -> None:
    """Build optimizer, schedulers, hooks and evaluators once, and try a sample of each loader.

    Args:
        cfg (Config): The whole config, its data checked.
        model (nn.Module): The model that was built of it.
        found (dict[str, Contents]): See :func:`btkd_det.preflight.check_data`.

    Raises:
        ConfigError: One of them does not build, or the model fails at a sample.
    """
    check_loops(cfg)
    train = found.get('train_dataloader')
    check_optimization(cfg, model, train and train.batches)
    check_hooks(cfg, model)
    check_visualizer(cfg)
    check_evaluators(cfg)
    _check_initializers(cfg.model, 'model', cfg.get('default_scope') or 'mmengine')
    check_step(cfg, model, found)


def _check_initializers(node: Any, field: str, scope: str) -> None:
    """MMEngine looks ``init_cfg`` up when the run has begun."""
    if isinstance(node, (list, tuple)):
        for i, part in enumerate(node):
            _check_initializers(part, f'{field}[{i}]', scope)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == 'init_cfg':
            for part in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(part, dict):
                    find_type(part, root.WEIGHT_INITIALIZERS, f'{field}.init_cfg', scope)
                    _check_weights_file(part, f'{field}.init_cfg')
        elif key != 'teacher':
            _check_initializers(value, f'{field}.{key}', scope)


def _check_weights_file(node: Any, field: str) -> None:
    path = node.get('checkpoint')
    if isinstance(path, str) and '://' not in path:
        valid = "a checkpoint, or an address such as 'torchvision://resnet50'"
        check_file(f'{field}.checkpoint', path, valid)
