"""A training by MMEngine's own runner, without what a run of half a minute does not need."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from btkd_det.checkpoint.writing import atomic_path
from btkd_det.errors import ConfigError
from btkd_det.registry import HOOKS

# What a runner takes from a config.
TAKEN = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'optim_wrapper',
    'param_scheduler',
    'val_evaluator',
    'test_evaluator',
    'default_hooks',
    'custom_hooks',
    'data_preprocessor',
    'load_from',
    'log_processor',
    'default_scope',
    'randomness',
    'env_cfg',
)


# Arguments of `train` for a run whose test images must not be read.
NO_TEST = dict(test_dataloader=None, test_cfg=None, test_evaluator=None)


class ShortRunner(Runner):
    """A runner that does not ask compilers for their versions, which takes seconds."""

    def _log_env(self, env_cfg):
        self.logger.info(f'Config:\n{self.cfg.pretty_text}')


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the weights out as the CPU's convolutions want them; the values stay."""

    def before_train(self, runner):
        """Convert the model once."""
        runner.model.to(memory_format=torch.channels_last)


def train(cfg, work_dir, **objects):
    """Train as a config says.

    Args:
        cfg (Config): The whole config.
        work_dir (str | Path): For MMEngine's log and the config.
        **objects: Data loaders in the place of the config's, or None for what is left out.

    Returns:
        Runner: After the training, the validation of its last epoch done.
    """
    values = {key: objects[key] if key in objects else cfg.get(key) for key in TAKEN}
    given = {key: value for key, value in values.items() if value is not None}
    runner = ShortRunner(cfg=cfg, work_dir=str(work_dir), **given)
    runner.train()
    return runner


def save_weights(model, path, meta=None):
    """Write a checkpoint; whoever finds it finds it complete.

    Args:
        model (nn.Module): Its weights go into it.
        path (Path): The file; its folder is made.
        meta (dict, optional): As MMEngine's checkpoints have it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        torch.save(dict(meta=meta or {}, state_dict=model.state_dict()), part)


def last_metrics(runner, stage='val'):
    """What the last validation gave.

    Args:
        runner (Runner): After it.
        stage (str): The prefix that MMEngine gives to what it logs then.

    Returns:
        dict[str, float]: By the names of the metric; times are left out.
    """
    found = runner.message_hub.log_scalars
    return without_times(
        {
            key.partition('/')[2]: value.current()
            for key, value in found.items()
            if key.startswith(f'{stage}/')
        }
    )


def without_times(metrics):
    """dict: Metrics as numbers, without the durations that MMEngine logs beside them."""
    return {k: float(v) for k, v in metrics.items() if k not in ('time', 'data_time')}


def one_cycle(epochs, steps, warmup=0, milestones=None):
    """The schedule of the learning rate: a linear start, then a cosine to 0 or steps.

    Args:
        epochs (int): That the schedule is made for; a training may stop before.
        steps (int): Iterations of an epoch.
        warmup (int): Iterations of the start. Defaults to 0.
        milestones (Sequence[int], optional): Epochs after which the rate becomes a tenth,
            instead of the cosine.

    Returns:
        list[dict]: Configs of MMEngine's schedulers.

    Raises:
        ConfigError: The start is longer than the training.
    """
    if warmup >= epochs * steps:
        raise ConfigError(
            f'schedule.warmup: {warmup} iterations, but the training has {epochs * steps}; valid: '
            'fewer'
        )
    start = dict(
        type='LinearLR', start_factor=1 / max(warmup, 1), by_epoch=False, begin=0, end=warmup
    )
    schedulers = [start] if warmup else []
    if milestones is not None:
        step = dict(type='MultiStepLR', by_epoch=True, milestones=list(milestones), gamma=0.1)
        return [*schedulers, step] if milestones else schedulers
    cosine = dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, eta_min=0.0)
    return [*schedulers, {**cosine, 'end': epochs * steps, 'T_max': epochs * steps - warmup}]
