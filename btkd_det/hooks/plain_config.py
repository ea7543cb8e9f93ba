"""The student's plain config beside and in the checkpoints of a distilled run."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoint.writing import write_text
from ..config.plain import plain_config
from ..registry import HOOKS


@HOOKS.register_module()
class PlainConfigHook(Hook):
    """Lets a distilled run's checkpoint be used without its teacher's files.

    MMEngine writes the config into each checkpoint, and ``DetInferencer(weights=...)`` builds the
    model from there. With this hook it is the student's plain config, see
    :func:`btkd_det.config.plain_config`; the same text lies in the work dir as
    ``CONFIG_plain.py``, for ``init_detector``. ``tools/train.py`` adds the hook to every distilled
    config.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.PlainConfigHook'))
    """

    # After the hooks that write the config.
    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._text = None

    def before_train(self, runner: Runner) -> None:
        """Write the plain config into the work dir."""
        plain = plain_config(runner.cfg)
        if plain is None:
            return
        self._text = plain.pretty_text
        if is_main_process():
            name = Path(runner.cfg.filename or 'config.py').stem
            write_text(Path(runner.work_dir, f'{name}_plain.py'), self._text)

    def before_save_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Put the plain config in the place of the distilled one."""
        if self._text is None:
            return
        checkpoint['meta']['cfg'] = self._text
        info = checkpoint.get('message_hub', {}).get('runtime_info', {})
        if 'cfg' in info:
            info['cfg'] = self._text
