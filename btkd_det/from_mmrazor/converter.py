"""A distillation config of MMRazor, translated."""

import copy
import inspect
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmengine.runner import Runner

from ..config import CLASSIFIER, distilled_type, make_distilled
from ..config.named_types import builds, is_type, type_package
from ..config.reading import read_config, type_name
from ..errors import ConfigError
from .conversion import Conversion
from .errors import NoCounterpart
from .learned import without_connectors
from .losses import find_loss, joined
from .places import Places
from .runner_config import RunnerConfig
from .scopes import RAZOR, Settler, by_todays_names, razor_configs_load, renamed
from .sides import (
    Side,
    given_type,
    kind_of,
    normalization,
    read_side,
    type_text,
    zoo_address,
)

ALGORITHMS = ('SingleTeacherDistill', 'FpnTeacherDistill')
DISTILLERS = ('ConfigurableDistiller', 'BTKDDistiller')

# What the algorithm's keys have to say for ours to do the same.
_ALIKE = {
    'teacher_trainable': (False, 'the teacher of btkd_det is frozen'),
    'teacher_norm_eval': (True, 'the teacher of btkd_det is always in eval mode'),
    'student_trainable': (True, 'the student of btkd_det is trained'),
    'calculate_student_loss': (True, "the student's own losses are always part of btkd_det's"),
    'init_cfg': (None, 'give it to the student'),
}
_WITHOUT_EFFECT = ('module_inplace', 'teacher_module_inplace')
_OF_ALGORITHM = (
    *('type', '_scope_', 'architecture', 'teacher', 'teacher_ckpt', 'distiller'),
    *('data_preprocessor', *_ALIKE, *_WITHOUT_EFFECT),
)
_OF_DISTILLER = (
    *('type', '_scope_', 'student_recorders', 'teacher_recorders', 'distill_deliveries'),
    *('connectors', 'distill_losses', 'loss_forward_mappings', 'distill', 'init_cfg'),
)
# What MMEngine's runner reads of a config beside its own arguments.
_OF_RUNNER = {*inspect.signature(Runner).parameters, 'model_wrapper_cfg', 'runner_type'}


def convert_config(path: str) -> Conversion:
    """Translate a distillation config of MMRazor.

    Args:
        path (str): The config file, or a config of an installed package.

    Returns:
        Conversion: The result; whoever calls decides whether something may be missing.

    Raises:
        ConfigError: The file does not load, or its model is no single-teacher distillation with
            a distiller of :data:`DISTILLERS`.
    """
    with razor_configs_load():
        return _Converter(read_config(path, 'config')).convert()


class _Converter:
    """One translation: the config on its way, and what is to be said of it."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = copy.deepcopy(cfg)
        self.notes, self.missing = [], []
        self.settle = Settler(self.missing.append).settle
        self.razor = self.cfg.get('model')
        if kind_of(self.razor) not in ALGORITHMS:
            raise ConfigError(
                f'config: its model is {given_type(self.razor)!r}; valid is a distillation of '
                f'MMRazor with one teacher: {", ".join(ALGORITHMS)}'
            )
        self.distiller = self.razor.get('distiller')
        own = is_type(self.distiller, 'btkd_det', 'BTKDDistiller')
        if not own and kind_of(self.distiller) != 'ConfigurableDistiller':
            raise ConfigError(
                f'config: model.distiller is {given_type(self.distiller)!r}; valid: '
                f'{", ".join(DISTILLERS)}'
            )

    def convert(self) -> Any:
        student = self._side('architecture')
        teacher = self._side('teacher', student.scope)
        self._check_keys()
        self._normalize_student(student)
        self._load_weights(student)
        sites = self._sites(student, teacher)
        rest = RunnerConfig(self.cfg, self.note, self.missing.append)
        rest.leave_razor()
        rest.stop(sites)
        self._settle_rest(student)
        make_distilled(self.cfg, self.distilled, self._teacher(student, teacher), sites)
        return Conversion(self.cfg, self.notes, self.missing)

    def note(self, line: Any) -> None:
        """Say what reads differently, once."""
        if line not in self.notes:
            self.notes.append(line)

    # -- the models

    def _side(self, name: str, scope: str | None = None) -> Side:
        """The student or the teacher, its types settled."""
        where = f'model.{name}'
        side = read_side(self.razor.get(name), where)
        if not side.model.get('type'):
            raise ConfigError(f'{where}: names no model; valid: type, cfg_path')
        if name == 'architecture':
            self.distilled = distilled_type(by_todays_names(side.model), where, side.scope)
            scope = 'mmpretrain' if self.distilled == CLASSIFIER else 'mmdet'
        elif side.model.pop('init_cfg', None):
            self.note(f'{where}.init_cfg: left out; the checkpoint gives all weights')
        side.scope = side.scope or scope
        side.model = self.settle(dict(side.model, _scope_=None), where, side.scope, side.scope)
        return side

    def _normalize_student(self, student: Any) -> None:
        """MMRazor normalizes at the algorithm, with the student's preprocessor or its own."""
        given = self.razor.get('data_preprocessor') or self.cfg.get('data_preprocessor')
        if not given:
            return
        scope = student.scope
        preprocessor = self.settle(given, 'model.data_preprocessor', scope, scope)
        student.model.data_preprocessor = self._preprocessor(preprocessor)
        if self.distilled == CLASSIFIER and (student.model.get('train_cfg') or {}).get('augments'):
            del student.model.train_cfg['augments']
            self.note(
                "model.architecture.train_cfg.augments: left out; the algorithm's "
                'data_preprocessor does not mix images, so MMRazor does not either'
            )

    def _preprocessor(self, preprocessor: Any) -> Any:
        """As a classifier takes it, where it is MMEngine's general one."""
        if self.distilled != CLASSIFIER or not builds(
            preprocessor, MODELS, 'mmengine', 'ImgDataPreprocessor', scope='mmpretrain'
        ):
            return preprocessor
        if preprocessor.pop('rgb_to_bgr', False):
            self.missing.append('model.data_preprocessor.rgb_to_bgr: classifiers have to_rgb alone')
        preprocessor.pop('non_blocking', None)
        preprocessor.type = 'ClsDataPreprocessor'
        preprocessor.to_rgb = preprocessor.pop('bgr_to_rgb', False)
        return preprocessor

    def _load_weights(self, student: Any) -> None:
        """What the student starts from."""
        if self.cfg.get('load_from'):
            self.missing.append(
                f'load_from: {self.cfg.load_from} is a checkpoint of the whole algorithm; take the '
                'student out of it (tools/from_mmrazor.py --checkpoint) and give that'
            )
            self.cfg.load_from = None
        if self.cfg.get('resume'):
            self.missing.append('resume: True; a training of MMRazor cannot go on in btkd_det')
            self.cfg.resume = False
        if student.pretrained:
            self.cfg.load_from = zoo_address(student.path, 'model.architecture.pretrained')
            self.note("load_from: the model zoo's weights, as architecture.pretrained")

    def _teacher(self, student: Any, teacher: Any) -> Any:
        checkpoint = self.razor.get('teacher_ckpt')
        if not checkpoint and teacher.pretrained:
            checkpoint = 'pretrained'
        if not checkpoint:
            self.missing.append(
                'model.teacher_ckpt: missing, so the teacher has random weights; give '
                'model.teacher.checkpoint'
            )
        self._normalize_teacher(student, teacher)
        config = teacher.path
        if not config:
            config = teacher.model.to_dict()
            if teacher.scope != self.cfg.default_scope:
                config = dict(model=config, default_scope=teacher.scope)
            if checkpoint == 'pretrained':
                checkpoint = zoo_address(teacher.source, 'model.teacher.pretrained')
        self.note(
            'the teacher is in eval mode whole; in MMRazor its dropout and drop-path are active'
        )
        return ConfigDict(config=config, checkpoint=checkpoint)

    def _normalize_teacher(self, student: Any, teacher: Any) -> None:
        """The teacher sees in MMRazor what the student sees."""
        its = student.model.get('data_preprocessor')
        own = teacher.model.get('data_preprocessor')
        if not own and its:
            teacher.model.data_preprocessor = copy.deepcopy(its)
            teacher.path = None
        elif normalization(own) != normalization(its):
            self.note(
                'teacher: its images are normalized by its own data_preprocessor, as it was '
                "trained; in MMRazor they are normalized by the student's"
            )

    def _check_keys(self) -> None:
        """Name what the algorithm and the distiller say that ours do not do."""
        for key, value in self.razor.items():
            if key in _ALIKE and value != _ALIKE[key][0]:
                self.missing.append(f'model.{key}: {value!r}; {_ALIKE[key][1]}')
            elif key in _WITHOUT_EFFECT:
                self.note(f'model.{key}: left out; activations may work in place')
            elif key not in _OF_ALGORITHM:
                self.missing.append(f'model.{key}: not known')
        for key in self.distiller:
            if key not in _OF_DISTILLER:
                self.missing.append(f'model.distiller.{key}: not known')
        for key in self.distiller.get('distill_deliveries') or {}:
            self.missing.append(
                f'model.distiller.distill_deliveries.{key}: btkd_det hands nothing from one '
                'forward to the other; student and teacher see the same batch already'
            )
        if self.distiller.get('init_cfg'):
            self.missing.append('model.distiller.init_cfg: the distiller has no counterpart')

    # -- the losses

    def _sites(self, student: Any, teacher: Any) -> Any:
        """``distill``: site name to losses, per-level losses of one kind joined."""
        found = {}
        places = Places(self.distiller, self.distilled, student.model, teacher.model, self.note)
        losses = self.distiller.get('distill_losses') or {}
        for name, razor in losses.items():
            try:
                site, levels, loss = self._loss(name, razor, places, student)
            except NoCounterpart as reason:
                where = f'model.distiller.distill_losses.{name}'
                self.missing.append(f'{where}: {type_text(razor) or razor}: {reason}')
                continue
            found.setdefault(site, []).append((levels, loss))
        sites = {site: joined(entries) for site, entries in found.items()}
        for site, given in (self.distiller.get('distill') or {}).items():
            if site == '_scope_':
                continue
            if site in sites:
                self.missing.append(
                    f'model.distiller.distill_losses: {site} is in model.distiller.distill, too; '
                    'join both by hand'
                )
            sites[site] = given
        return ConfigDict(sites)

    def _loss(self, name: str, razor: Any, places: Any, student: Any) -> tuple:
        """The site of one loss, its levels in student and teacher, and ours of it."""
        mapping = (self.distiller.get('loss_forward_mappings') or {}).get(name)
        if not type_name(razor):
            raise NoCounterpart("no loss; valid: dict(type='PKDLoss', ...)")
        if not isinstance(mapping, dict):
            raise NoCounterpart('it has no entry in loss_forward_mappings')
        if 'loss' not in name:
            raise NoCounterpart("a name without 'loss' is logged and not learned from")
        keys, translate, takes_maps = find_loss(razor, mapping)
        mapping, learned = without_connectors(kind_of(razor), mapping, self.distiller)
        site, levels = places.of_loss(mapping, keys, takes_maps)
        if takes_maps and type_package(razor) == 'btkd_det' and None not in levels:
            raise NoCounterpart('it takes all maps of a model, and is given one')
        args = {key: value for key, value in razor.items() if key not in ('type', '_scope_')}
        args.update(learned)
        loss = translate(args, self._rows(site, student.model), self.note)
        if args:
            raise NoCounterpart(f'the key {next(iter(args))!r} is not known')
        return site, levels, loss

    def _rows(self, site: str, student: Any) -> tuple:
        """Rows and classes of the logits that a loss sees, for its reduction; None if unknown."""
        if site != 'logits':
            return None, None
        batch = self.cfg.get('train_dataloader', {}).get('batch_size')
        return batch, (student.get('head') or {}).get('num_classes')

    def _settle_rest(self, student: Any) -> None:
        """Write every other part so that it means the same in the student's scope."""
        before = renamed(self.cfg.get('default_scope'))
        self.cfg.default_scope = student.scope if before in (None, RAZOR) else before
        # What the runner does not read, such as a pipeline's own name, is of no consequence here.
        settle_quietly = Settler(lambda line: None).settle
        for key in sorted(self.cfg.keys() - {'model'}):
            settle = self.settle if key in _OF_RUNNER else settle_quietly
            self.cfg[key] = settle(self.cfg[key], key, before, self.cfg.default_scope)
        self.cfg.model = student.model
        if student.scope != self.cfg.default_scope:
            self.cfg.model['_scope_'] = student.scope
