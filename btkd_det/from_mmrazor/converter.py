"""A distillation config of MMRazor, translated."""

import copy
import inspect
from dataclasses import dataclass, field

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from ..config import CLASSIFIER, distilled_type, make_distilled
from ..config_file import read_config, type_name
from ..errors import ConfigError
from ..teacher.zoo import pretrained_address
from .errors import NoCounterpart
from .learned import without_connectors
from .losses import find_loss, joined
from .places import Places
from .scopes import RAZOR, Settler, others, razor_configs_load, renamed

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


@dataclass
class Conversion:
    """A translated config.

    Attributes:
        cfg (Config): It builds and trains with btkd_det alone.
        notes (list[str]): What reads differently and is worth knowing.
        missing (list[str]): What was not translated, each with the reason.
    """

    cfg: Config
    notes: list = field(default_factory=list)
    missing: list = field(default_factory=list)

    def text(self):
        """The config as a file, with the notes and what is missing as comments on top."""
        lines = ['# Translated from MMRazor by btkd_det.']
        lines += [f'# Not translated: {line}' for line in self.missing]
        lines += [f'# {line}' for line in self.notes]
        return '\n'.join(lines) + '\n\n' + self.cfg.pretty_text


def convert_config(path):
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


@dataclass
class _Side:
    """The student or the teacher as MMRazor's config gives it.

    Attributes:
        model (ConfigDict): The model's config, with its own ``data_preprocessor``.
        scope (str | None): Where they are looked up; None where nothing tells.
        path (str | None): The config that says all of the model, if there is one.
        source (str | None): The config that it comes from, if there is one.
        pretrained (bool): Whether the model zoo's weights are asked for.
    """

    model: ConfigDict
    scope: str = None
    path: str = None
    source: str = None
    pretrained: bool = False


class _Converter:
    """One translation: the config on its way, and what is to be said of it."""

    def __init__(self, cfg):
        self.cfg = copy.deepcopy(cfg)
        self.notes, self.missing = [], []
        self.settle = Settler(self.missing.append).settle
        self.razor = self.cfg.get('model')
        if _kind(self.razor) not in ALGORITHMS:
            raise ConfigError(
                f'config: its model is {_given(self.razor)!r}; valid is a distillation of MMRazor '
                f'with one teacher: {", ".join(ALGORITHMS)}'
            )
        self.distiller = self.razor.get('distiller')
        if _kind(self.distiller) not in DISTILLERS:
            raise ConfigError(
                f'config: model.distiller is {_given(self.distiller)!r}; valid: '
                f'{", ".join(DISTILLERS)}'
            )

    def convert(self):
        student = self._side('architecture')
        teacher = self._side('teacher', student.scope)
        self._check_keys()
        self._normalize_student(student)
        self._load_weights(student)
        sites = self._sites(student, teacher)
        self._leave_loop()
        self._leave_optimizers_keys()
        self._leave_imports()
        self._stop(sites)
        self._settle_rest(student)
        make_distilled(self.cfg, self.distilled, self._teacher(student, teacher), sites)
        return Conversion(self.cfg, self.notes, self.missing)

    def note(self, line):
        """Say what reads differently, once."""
        if line not in self.notes:
            self.notes.append(line)

    # -- the models

    def _side(self, name, scope=None):
        """The student or the teacher, its types settled."""
        where = f'model.{name}'
        side = _read_side(self.razor.get(name), where)
        if not side.model.get('type'):
            raise ConfigError(f'{where}: names no model; valid: type, cfg_path')
        if name == 'architecture':
            self.distilled = distilled_type(side.model, where)
            scope = 'mmpretrain' if self.distilled == CLASSIFIER else 'mmdet'
        elif side.model.pop('init_cfg', None):
            self.note(f'{where}.init_cfg: left out; the checkpoint gives all weights')
        side.scope = side.scope or scope
        side.model = self.settle(dict(side.model, _scope_=None), where, side.scope, side.scope)
        return side

    def _normalize_student(self, student):
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

    def _preprocessor(self, preprocessor):
        """As a classifier takes it, where it is MMEngine's general one."""
        general = type_name(preprocessor) == 'ImgDataPreprocessor'
        if self.distilled != CLASSIFIER or not general:
            return preprocessor
        if preprocessor.pop('rgb_to_bgr', False):
            self.missing.append('model.data_preprocessor.rgb_to_bgr: classifiers have to_rgb alone')
        preprocessor.pop('non_blocking', None)
        preprocessor.type = 'ClsDataPreprocessor'
        preprocessor.to_rgb = preprocessor.pop('bgr_to_rgb', False)
        return preprocessor

    def _load_weights(self, student):
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
            self.cfg.load_from = _zoo(student.path, 'model.architecture.pretrained')
            self.note("load_from: the model zoo's weights, as architecture.pretrained")

    def _teacher(self, student, teacher):
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
                checkpoint = _zoo(teacher.source, 'model.teacher.pretrained')
        self.note(
            'the teacher is in eval mode whole; in MMRazor its dropout and drop-path are active'
        )
        return ConfigDict(config=config, checkpoint=checkpoint)

    def _normalize_teacher(self, student, teacher):
        """The teacher sees in MMRazor what the student sees."""
        its = student.model.get('data_preprocessor')
        own = teacher.model.get('data_preprocessor')
        if not own and its:
            teacher.model.data_preprocessor = copy.deepcopy(its)
            teacher.path = None
        elif _normalization(own) != _normalization(its):
            self.note(
                'teacher: its images are normalized by its own data_preprocessor, as it was '
                "trained; in MMRazor they are normalized by the student's"
            )

    def _check_keys(self):
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

    def _sites(self, student, teacher):
        """``distill``: site name to losses, per-level losses of one kind joined."""
        found = {}
        places = Places(self.distiller, self.distilled, student.model, teacher.model, self.note)
        losses = self.distiller.get('distill_losses') or {}
        for name, razor in losses.items():
            try:
                site, levels, loss = self._loss(name, razor, places, student)
            except NoCounterpart as reason:
                where = f'model.distiller.distill_losses.{name}'
                self.missing.append(f'{where}: {_kind(razor) or razor}: {reason}')
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

    def _loss(self, name, razor, places, student):
        """The site of one loss, its levels in student and teacher, and ours of it."""
        mapping = (self.distiller.get('loss_forward_mappings') or {}).get(name)
        if not _kind(razor):
            raise NoCounterpart("no loss; valid: dict(type='PKDLoss', ...)")
        if not isinstance(mapping, dict):
            raise NoCounterpart('it has no entry in loss_forward_mappings')
        if 'loss' not in name:
            raise NoCounterpart("a name without 'loss' is logged and not learned from")
        keys, translate, takes_maps = find_loss(razor.type, mapping)
        mapping, learned = without_connectors(type_name(razor), mapping, self.distiller)
        site, levels = places.of_loss(mapping, keys, takes_maps)
        if takes_maps and str(razor.type).startswith('btkd_det.') and None not in levels:
            raise NoCounterpart('it takes all maps of a model, and is given one')
        args = {key: value for key, value in razor.items() if key not in ('type', '_scope_')}
        args.update(learned)
        loss = translate(args, self._rows(site, student.model), self.note)
        if args:
            raise NoCounterpart(f'the key {next(iter(args))!r} is not known')
        return site, levels, loss

    def _rows(self, site, student):
        """Rows and classes of the logits that a loss sees, for its reduction; None if unknown."""
        if site != 'logits':
            return None, None
        batch = self.cfg.get('train_dataloader', {}).get('batch_size')
        return batch, (student.get('head') or {}).get('num_classes')

    # -- the rest of the config

    def _leave_loop(self):
        cfg = self.cfg
        if _kind(cfg.get('val_cfg')) == 'SingleTeacherDistillValLoop':
            cfg.val_cfg = dict(cfg.val_cfg, type='ValLoop', _scope_=None)
            self.note(
                'val_cfg: the teacher is not evaluated in every validation; for once before '
                'training set model.teacher.evaluate_teacher=True'
            )
        if cfg.pop('find_unused_parameters', None):
            self.note('find_unused_parameters: left out; the teacher is in no wrapper')

    def _leave_optimizers_keys(self):
        """Parameters of the student have shorter names, and the others are not there."""
        custom = (self.cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
        kept = {}
        for key, value in (custom.get('custom_keys') or {}).items():
            where = f'optim_wrapper.paramwise_cfg.custom_keys.{key}'
            part = key.partition('.')[0]
            if key == 'architecture' or part == 'distiller':
                self.missing.append(
                    f'{where}: btkd_det has no such parameters; the student has its plain names, '
                    'and what distillation learns lies under distill.'
                )
            elif part == 'teacher':
                self.note(f'{where}: left out; nothing of the teacher is trained')
            else:
                kept[key.removeprefix('architecture.')] = value
        if 'custom_keys' in custom:
            custom.custom_keys = kept

    def _leave_imports(self):
        given = self.cfg.get('custom_imports') or {}
        failing = given.get('allow_failed_imports', False)
        imports = others(given.get('imports'))
        self.cfg.custom_imports = dict(imports=imports, allow_failed_imports=failing)

    def _stop(self, sites):
        """MMRazor's hook that ends distillation, as ``stop_at`` of every site."""
        hooks = self.cfg.get('custom_hooks') or []
        stops = [hook for hook in hooks if _kind(hook) == 'StopDistillHook']
        if not stops:
            return
        self.cfg.custom_hooks = [hook for hook in hooks if hook not in stops]
        epochs = (self.cfg.get('train_cfg') or {}).get('max_epochs')
        if not epochs:
            self.missing.append('custom_hooks: StopDistillHook: train_cfg.max_epochs is not known')
            return
        epoch = min(hook.get('stop_epoch', 0) for hook in stops)
        if epoch <= 0:
            self.missing.append(f'custom_hooks: StopDistillHook: stop_epoch={epoch} ends all of it')
            return
        for site, given in sites.items() if epoch < epochs else ():
            options = given if 'losses' in given else dict(losses=given)
            stop_at = min(epoch / epochs, options.get('stop_at', 1.0))
            sites[site] = dict(options, stop_at=stop_at)

    def _settle_rest(self, student):
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


def _read_side(node, where):
    """What MMRazor's ``architecture`` or ``teacher`` says; ConfigError."""
    if not isinstance(node, dict) or not node:
        raise ConfigError(
            f"{where}: got {node!r}; valid: dict(cfg_path='mmdet::...'), or a model's own dict"
        )
    if node.get('cfg_path') and not node.get('type'):
        field, said = 'cfg_path', ('cfg_path', 'pretrained', '_scope_')
    elif type_name(node) == 'ModelOfConfig':
        field, said = 'config', ('type', 'config', '_scope_')
    else:
        scope = renamed(node.get('_scope_'))
        return _Side(copy.deepcopy(node), None if scope == RAZOR else scope)
    path = renamed(node.get(field))
    cfg = read_config(path, f'{where}.{field}')
    if not isinstance(cfg.get('model'), dict):
        raise ConfigError(f'{where}.{field}: {path} has no model; valid: the config of a model')
    model = cfg.model
    if 'data_preprocessor' in cfg and (field == 'cfg_path' or 'data_preprocessor' not in model):
        model.data_preprocessor = cfg.data_preprocessor
    # MMEngine's hub takes what stands beside the path where the model's config says nothing.
    beside = {key: node[key] for key in node if key not in said and key not in model}
    model.update(copy.deepcopy(beside))
    # Of no effect in a teacher, whose checkpoint gives all weights.
    whole = not beside.keys() - ({'init_cfg'} if where == 'model.teacher' else set())
    return _Side(
        model,
        cfg.get('default_scope') or path.partition('::')[0],
        path if whole else None,
        path,
        bool(field == 'cfg_path' and node.get('pretrained')),
    )


def _zoo(path, field):
    """The address of the model zoo's weights; ConfigError."""
    try:
        return pretrained_address(path)
    except ConfigError as error:
        raise ConfigError(f'{field}: {str(error).partition(": ")[2]}') from error


def _normalization(preprocessor):
    """Mean, deviation and whether channels are swapped before, as a config says."""
    said = preprocessor or {}
    values = [said.get(key) and [float(v) for v in said[key]] for key in ('mean', 'std')]
    return (*values, any(said.get(key) for key in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')))


def _kind(node):
    """The type's name where a part of a config is a dict that has one, else the empty text."""
    return type_name(node) if isinstance(node, dict) else ''


def _given(node):
    return node.get('type') if isinstance(node, dict) else node
