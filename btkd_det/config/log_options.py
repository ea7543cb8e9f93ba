"""What MMEngine's log shows of a distilled training."""

import inspect

from mmengine.config import Config

from .named_types import builds

#: MMEngine's own pattern of what is averaged, and what distillation logs beside its losses.
MEAN_PATTERN = r'.*(loss|time|data_time|grad_norm|distill\.).*'


def average_log(cfg: Config) -> None:
    """Let the log average what distillation saw over the window over which it averages losses.

    By itself MMEngine shows the last iteration's value of all that is no loss.

    Args:
        cfg (Config): A whole config; its ``log_processor`` is changed in place, unless it says
            what to average.
    """
    from mmengine.registry import LOG_PROCESSORS
    from mmengine.runner import LogProcessor

    if 'mean_pattern' not in inspect.signature(LogProcessor.__init__).parameters:
        return
    processor = dict(cfg.get('log_processor') or {})
    processor.setdefault('type', 'LogProcessor')
    scope = cfg.get('default_scope')
    if builds(processor, LOG_PROCESSORS, 'mmengine', 'LogProcessor', scope=scope):
        processor.setdefault('mean_pattern', MEAN_PATTERN)
        cfg.log_processor = processor
