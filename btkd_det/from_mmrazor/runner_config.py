"""What a distillation of MMRazor needs beside its model, taken out or put into our words."""

from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from ..config.reading import type_name
from .scopes import others
from .sides import given_type, kind_of


class RunnerConfig:
    """The parts of a config that the runner reads, the model apart.

    Args:
        cfg (Config): The whole config; changed in place.
        note (Callable[[str], None]): Takes what reads differently.
        refuse (Callable[[str], None]): Takes what is not translated.
    """

    def __init__(
        self, cfg: Config, note: Callable[[str], None], refuse: Callable[[str], None]
    ) -> None:
        self.cfg = cfg
        self.note = note
        self.refuse = refuse

    def leave_razor(self) -> None:
        """Take out the loop, the parameters' names and the imports that are MMRazor's."""
        self._leave_loop()
        self._leave_optimizers_keys()
        self._leave_imports()

    def stop(self, sites: dict[str, Any]) -> None:
        """Turn MMRazor's hook that ends distillation into ``stop_at`` of every site.

        Args:
            sites (dict): Site name to losses; changed in place.
        """
        hooks = self.cfg.get('custom_hooks') or []
        for hook in hooks:
            self._name_own(hook, 'custom_hooks', 'StopDistillHook')
        stops = [hook for hook in hooks if kind_of(hook) == 'StopDistillHook']
        if not stops:
            return
        self.cfg.custom_hooks = [hook for hook in hooks if hook not in stops]
        epochs = (self.cfg.get('train_cfg') or {}).get('max_epochs')
        if not epochs:
            self.refuse('custom_hooks: StopDistillHook: train_cfg.max_epochs is not known')
            return
        epoch = min(hook.get('stop_epoch', 0) for hook in stops)
        if epoch <= 0:
            self.refuse(f'custom_hooks: StopDistillHook: stop_epoch={epoch} ends all of it')
            return
        for site, given in sites.items() if epoch < epochs else ():
            options = given if 'losses' in given else dict(losses=given)
            stop_at = min(epoch / epochs, options.get('stop_at', 1.0))
            sites[site] = dict(options, stop_at=stop_at)

    def _name_own(self, part: Any, where: str, name: str) -> None:
        """Say what becomes of a class of the user's that has the name of one of MMRazor's."""
        if type_name(part) == name and not kind_of(part):
            self.refuse(f"{where}: {given_type(part)} stays as it is; it is not MMRazor's {name}")

    def _leave_loop(self) -> None:
        cfg = self.cfg
        self._name_own(cfg.get('val_cfg'), 'val_cfg', 'SingleTeacherDistillValLoop')
        if kind_of(cfg.get('val_cfg')) == 'SingleTeacherDistillValLoop':
            cfg.val_cfg = dict(cfg.val_cfg, type='ValLoop', _scope_=None)
            self.note(
                'val_cfg: the teacher is not evaluated in every validation; for once before '
                'training set model.teacher.evaluate_teacher=True'
            )
        if cfg.pop('find_unused_parameters', None):
            self.note('find_unused_parameters: left out; the teacher is in no wrapper')

    def _leave_optimizers_keys(self) -> None:
        """Parameters of the student have shorter names, and the others are not there."""
        custom = (self.cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
        kept = {}
        for key, value in (custom.get('custom_keys') or {}).items():
            where = f'optim_wrapper.paramwise_cfg.custom_keys.{key}'
            part = key.partition('.')[0]
            if key == 'architecture' or part == 'distiller':
                self.refuse(
                    f'{where}: btkd_det has no such parameters; the student has its plain names, '
                    'and what distillation learns lies under distill.'
                )
            elif part == 'teacher':
                self.note(f'{where}: left out; nothing of the teacher is trained')
            else:
                kept[key.removeprefix('architecture.')] = value
        if 'custom_keys' in custom:
            custom.custom_keys = kept

    def _leave_imports(self) -> None:
        given = self.cfg.get('custom_imports') or {}
        failing = given.get('allow_failed_imports', False)
        imports = others(given.get('imports'))
        self.cfg.custom_imports = dict(imports=imports, allow_failed_imports=failing)
