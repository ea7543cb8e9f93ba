"""MMRazor's distillation configs and checkpoints as ours.

Reads a ``SingleTeacherDistill`` or ``FpnTeacherDistill`` with a ``ConfigurableDistiller`` or our
own ``BTKDDistiller`` and writes the distilled model that learns the same. Nothing is dropped in
silence: what has no counterpart is named, and so is what reads differently. MMRazor need not be
installed.
"""

import contextlib
import copy
import inspect
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import Runner

from .checkpoint import read_checkpoint
from .config import ANY, CLASSIFIER, TWO_STAGE, distilled_type, make_distilled
from .config_file import read_config
from .errors import ConfigError
from .models.teacher import pretrained_address

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


class _NoCounterpart(Exception):
    """Carries the reason why something cannot be translated."""


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
    with _mmcls_is_mmpretrain():
        cfg = read_config(path, 'config')
        return _Converter(cfg).convert()


def convert_checkpoint(source, out):
    """Take the plain student out of a checkpoint of MMRazor's distillation.

    Args:
        source (str | Path): The checkpoint; read weights only.
        out (str | Path): Where the student's goes.

    Returns:
        dict[str, int]: How many tensors were ``taken``, and how many of the ``teacher`` and the
        ``distiller`` were left behind.

    Raises:
        ConfigError: ``source`` cannot be read, or holds no student.
    """
    state, meta = read_checkpoint(source, 'checkpoint')
    taken = {
        name.removeprefix('architecture.'): value
        for name, value in state.items()
        if name.startswith('architecture.')
    }
    if not taken:
        raise ConfigError(
            f'checkpoint: {source} has no weights below "architecture."; its first is '
            f'{next(iter(state))!r}; valid: a checkpoint that MMRazor saved while distilling'
        )
    kept = {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter') if key in meta}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=kept, state_dict=taken), out)
    count = lambda part: sum(name.startswith(f'{part}.') for name in state)
    return dict(taken=len(taken), teacher=count('teacher'), distiller=count('distiller'))


@contextlib.contextmanager
def _mmcls_is_mmpretrain():
    """MMRazor's configs name MMPretrain's by its former name."""
    before = MODULE2PACKAGE.get('mmcls')
    MODULE2PACKAGE['mmcls'] = 'mmpretrain'
    try:
        yield
    finally:
        MODULE2PACKAGE['mmcls'] = before


class _Converter:
    """One translation: the config on its way, and what is to be said of it."""

    def __init__(self, cfg):
        self.cfg = copy.deepcopy(cfg)
        self.razor = self.cfg.get('model') or ConfigDict()
        self.notes, self.missing = [], []
        if _plain(self.razor.get('type')) not in ALGORITHMS:
            raise ConfigError(
                f'config: its model is {self.razor.get("type")!r}; valid is a distillation of '
                f'MMRazor with one teacher: {", ".join(ALGORITHMS)}'
            )
        self.distiller = self.razor.get('distiller') or ConfigDict()
        if _plain(self.distiller.get('type')) not in DISTILLERS:
            raise ConfigError(
                f'config: model.distiller is {self.distiller.get("type")!r}; valid: '
                f'{", ".join(DISTILLERS)}'
            )

    def convert(self):
        student, scope = self._student()
        self._check_algorithm()
        sites = self._sites(student)
        self.cfg.model = ConfigDict(student)
        self._rest(scope)
        make_distilled(self.cfg, self.distilled, self._teacher(), sites)
        self._stop_hook()
        for key in inspect.signature(Runner).parameters.keys() & self.cfg.keys():
            self._look_for_what_is_left(self.cfg[key], key)
        return Conversion(self.cfg, self.notes, self.missing)

    # -- the models

    def _student(self):
        """The student's config, and the scope in which it is built."""
        architecture = self.razor.get('architecture') or ConfigDict()
        model, scope = _model_of(architecture, 'model.architecture')
        if architecture.get('cfg_path') and architecture.get('pretrained'):
            self.cfg.load_from = pretrained_address(_renamed(architecture.cfg_path))
            self.notes.append("load_from: the model zoo's weights, as architecture.pretrained")
        host = _plain(model.get('type'))
        if host is None:
            raise ConfigError('config: model.architecture names no model; valid: type, cfg_path')
        self.distilled = distilled_type(model, 'model.architecture')
        preprocessor = self.razor.get('data_preprocessor') or self.cfg.get('data_preprocessor')
        if preprocessor:
            model.data_preprocessor = self._preprocessor(_rename_mmcls(preprocessor))
        if not scope:
            scope = 'mmpretrain' if self.distilled == CLASSIFIER else 'mmdet'
        return model, scope

    def _preprocessor(self, preprocessor):
        """As a classifier takes it, where it is MMEngine's general one."""
        general = _plain(preprocessor.get('type')) == 'ImgDataPreprocessor'
        if self.distilled != CLASSIFIER or not general:
            return preprocessor
        if preprocessor.pop('rgb_to_bgr', False):
            self.missing.append('model.data_preprocessor.rgb_to_bgr: classifiers have to_rgb alone')
        preprocessor.type = 'ClsDataPreprocessor'
        preprocessor.to_rgb = preprocessor.pop('bgr_to_rgb', False)
        return preprocessor

    def _teacher(self):
        teacher = self.razor.get('teacher') or ConfigDict()
        if teacher.get('cfg_path'):
            config = _renamed(teacher.cfg_path)
        elif _plain(teacher.get('type')) == 'ModelOfConfig':
            config = teacher.config
        else:
            config = _rename_mmcls(teacher).to_dict()
        checkpoint = self.razor.get('teacher_ckpt')
        if not checkpoint and teacher.get('pretrained') and teacher.get('cfg_path'):
            checkpoint = 'pretrained'
        if not checkpoint:
            self.missing.append(
                'model.teacher_ckpt: missing, so the teacher has random weights; give '
                'model.teacher.checkpoint'
            )
        self.notes.append(
            'the teacher is in eval mode whole; in MMRazor its dropout and drop-path are active'
        )
        return ConfigDict(config=config, checkpoint=checkpoint)

    def _check_algorithm(self):
        for key, value in self.razor.items():
            if key in _ALIKE and value != _ALIKE[key][0]:
                self.missing.append(f'model.{key}: {value!r}; {_ALIKE[key][1]}')
            elif key in _WITHOUT_EFFECT:
                self.notes.append(f'model.{key}: left out; activations may work in place')
        for key in self.distiller.get('distill_deliveries') or {}:
            self.missing.append(
                f'model.distiller.distill_deliveries.{key}: btkd_det hands nothing from one '
                'forward to the other; student and teacher see the same batch already'
            )
        if self.distiller.get('init_cfg'):
            self.missing.append('model.distiller.init_cfg: the distiller has no counterpart')

    # -- the losses

    def _sites(self, student):
        """``distill``: site name to losses, per-level losses of one kind joined."""
        found = {}
        mappings = self.distiller.get('loss_forward_mappings') or {}
        losses = self.distiller.get('distill_losses') or {}
        for name in losses:
            where = f'model.distiller.distill_losses.{name}'
            try:
                if name not in mappings:
                    raise _NoCounterpart('it has no entry in loss_forward_mappings')
                if 'loss' not in name:
                    raise _NoCounterpart("a name without 'loss' is logged and not learned from")
                site, level, loss = self._loss(losses[name], mappings[name], student)
            except _NoCounterpart as reason:
                self.missing.append(f'{where}: {_plain(losses[name].get("type"))}: {reason}')
                continue
            found.setdefault(site, []).append((level, loss))
        sites = {site: _joined(entries) for site, entries in found.items()}
        for site, given in (self.distiller.get('distill') or {}).items():
            if site in sites:
                self.missing.append(
                    f'model.distiller.distill_losses: {site} is in model.distiller.distill, too; '
                    'join both by hand'
                )
            sites[site] = given
        return ConfigDict(sites)

    def _loss(self, razor, mapping, student):
        kind = _plain(razor.get('type'))
        if kind not in _LOSSES:
            raise _NoCounterpart(f'not among {", ".join(_LOSSES)}')
        ours, theirs, translate, features = _LOSSES[kind]
        places = [
            self._place(mapping.get(key), key, student, expected)
            for key, expected in ((ours, True), (theirs, False))
        ]
        if places[0] != places[1]:
            raise _NoCounterpart(
                f'the student is asked at {_said(places[0])} and the teacher at {_said(places[1])}'
            )
        site, level = places[0]
        if features != (site in ('fpn', 'backbone', 'features')):
            raise _NoCounterpart(f'it cannot stand at the site {site}')
        args = {key: value for key, value in razor.items() if key not in ('type', '_scope_')}
        loss = translate(args, self._rows(site, student), self.notes.append)
        if args:
            raise _NoCounterpart(f'the key {next(iter(args))!r} is not known')
        return site, level, loss

    def _rows(self, site, student):
        """Rows and classes of the logits that a loss sees, for its reduction; None if unknown."""
        if site != 'logits':
            return None, None
        batch = self.cfg.get('train_dataloader', {}).get('batch_size')
        return batch, (student.get('head') or {}).get('num_classes')

    def _place(self, record, key, student, from_student):
        """Site and level of one record."""
        if record is None:
            raise _NoCounterpart(f'loss_forward_mappings does not give {key}')
        if bool(record.get('from_student')) != from_student:
            raise _NoCounterpart(f'{key} comes from the wrong model')
        recorders = self.distiller.get('student_recorders' if from_student else 'teacher_recorders')
        recorder = (recorders or {}).get(record.get('recorder'))
        if recorder is None:
            raise _NoCounterpart(f'there is no recorder {record.get("recorder")!r}')
        if _plain(recorder.type) != 'ModuleOutputs':
            raise _NoCounterpart(f'its recorder {recorder.type!r} is not ModuleOutputs')
        if record.get('record_idx'):
            raise _NoCounterpart(f'record_idx={record.record_idx} has no counterpart')
        if 'connector' in record:
            self._connector(record)
        return self._site(recorder.source, record.get('data_idx'), student)

    def _connector(self, record):
        name = record.connector
        connector = (self.distiller.get('connectors') or {}).get(name)
        parts = connector if isinstance(connector, (list, tuple)) else [connector]
        kinds = [_plain((part or {}).get('type')) for part in parts]
        plain = len(parts) == 1 and kinds[0] in ('ConvModuleConncetor', 'ConvModuleConnector')
        if plain:
            part = parts[0]
            plain = part.get('kernel_size', 1) == 1 and not (
                part.get('norm_cfg') or part.get('act_cfg')
            )
        if not plain or not record.from_student:
            raise _NoCounterpart(
                f'the connector {name} ({", ".join(map(str, kinds))}): btkd_det adapts the '
                "student's maps alone, by a 1 x 1 convolution where channels differ"
            )
        self.notes.append(
            f'connectors.{name}: btkd_det makes the 1 x 1 convolution by itself where channels '
            'differ, and none where they agree'
        )

    def _site(self, source, data_idx, student):
        """Where ours takes what a module of the model gives."""
        detector = self.distilled != CLASSIFIER
        if detector and source == 'neck':
            return 'fpn', data_idx
        if detector and source.startswith('neck.fpn_convs.'):
            level = source.split('.')[2]
            if source in (f'neck.fpn_convs.{level}', f'neck.fpn_convs.{level}.conv'):
                return 'fpn', int(level)
        if self.distilled == TWO_STAGE and source == 'roi_head.bbox_head.fc_cls':
            self.notes.append(
                'roi_logits: the teacher is asked about the RoIs that the student samples; in '
                'MMRazor each samples its own'
            )
            return 'roi_logits', None
        if self.distilled == CLASSIFIER and source == 'head.fc':
            return 'logits', None
        if self.distilled == CLASSIFIER and source.startswith('backbone'):
            return 'features', _stage(source, data_idx, student)
        if self.distilled == ANY and source == 'backbone':
            return 'backbone', data_idx
        raise _NoCounterpart(f'{self.distilled.partition(".")[2]} has no site at {source!r}')

    # -- the rest of the config

    def _rest(self, scope):
        cfg = self.cfg
        if cfg.get('default_scope') in (None, 'mmrazor', 'mmcls'):
            cfg.default_scope = scope
        if _plain((cfg.get('val_cfg') or {}).get('type')) == 'SingleTeacherDistillValLoop':
            cfg.val_cfg.type = 'ValLoop'
            self.notes.append(
                'val_cfg: the teacher is not evaluated in every validation; for once before '
                'training set model.teacher.evaluate_teacher=True'
            )
        if cfg.pop('find_unused_parameters', None):
            self.notes.append('find_unused_parameters: left out; the teacher is in no wrapper')
        custom = (cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
        if custom.get('custom_keys'):
            custom.custom_keys = {
                key.removeprefix('architecture.'): value
                for key, value in custom.custom_keys.items()
            }
        imports = [
            name
            for name in (cfg.get('custom_imports') or {}).get('imports', [])
            if not name.startswith('mmrazor') and name != 'btkd_det.compat.mmrazor'
        ]
        cfg.custom_imports = dict(imports=imports, allow_failed_imports=False)

    def _stop_hook(self):
        """MMRazor's hook that ends distillation, as ``stop_at`` of every site."""
        hooks = self.cfg.get('custom_hooks') or []
        stops = [hook for hook in hooks if _plain(hook.get('type')) == 'StopDistillHook']
        if not stops:
            return
        self.cfg.custom_hooks = [hook for hook in hooks if hook not in stops]
        epochs = (self.cfg.get('train_cfg') or {}).get('max_epochs')
        if not epochs:
            self.missing.append('custom_hooks: StopDistillHook: train_cfg.max_epochs is not known')
            return
        share = min(hook.stop_epoch for hook in stops) / epochs
        if share < 1:
            for site, given in self.cfg.model.distill.items():
                options = given if 'losses' in given else dict(losses=given)
                stop_at = min(share, options.get('stop_at', 1.0))
                self.cfg.model.distill[site] = dict(options, stop_at=stop_at)

    def _look_for_what_is_left(self, node, where):
        """Name every type of MMRazor that stands anywhere else."""
        if isinstance(node, dict):
            kind = node.get('type')
            if isinstance(kind, str) and (
                kind.startswith('mmrazor.') or node.get('_scope_') == 'mmrazor'
            ):
                self.missing.append(f'{where}: {kind} is of MMRazor')
            node.pop('_scope_', None)
            for key, value in node.items():
                self._look_for_what_is_left(value, f'{where}.{key}')
        elif isinstance(node, (list, tuple)):
            for i, value in enumerate(node):
                self._look_for_what_is_left(value, f'{where}[{i}]')


def _model_of(architecture, where):
    """A model's config, and the scope it is meant for where its file tells."""
    if architecture.get('cfg_path'):
        cfg = read_config(_renamed(architecture.cfg_path), f'{where}.cfg_path')
    elif _plain(architecture.get('type')) == 'ModelOfConfig':
        cfg = read_config(architecture.config, f'{where}.config')
    else:
        scope = architecture.get('_scope_')
        return _rename_mmcls(architecture), {'mmcls': 'mmpretrain'}.get(scope, scope)
    model = _rename_mmcls(cfg.model)
    if 'data_preprocessor' in cfg:
        model.data_preprocessor = _rename_mmcls(cfg.data_preprocessor)
    return model, cfg.get('default_scope')


def _renamed(path):
    return f'mmpretrain::{path[7:]}' if path.startswith('mmcls::') else path


def _rename_mmcls(node):
    """The same config with ``mmcls.X`` as ``mmpretrain.X``, and without scopes."""
    if isinstance(node, dict):
        node = {key: _rename_mmcls(value) for key, value in node.items() if key != '_scope_'}
        kind = node.get('type')
        if isinstance(kind, str) and kind.startswith('mmcls.'):
            node['type'] = f'mmpretrain.{kind[6:]}'
        return ConfigDict(node)
    if isinstance(node, (list, tuple)):
        return type(node)(_rename_mmcls(value) for value in node)
    return node


def _plain(kind):
    """The name of a type without its scope."""
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind


def _said(place):
    site, level = place
    return site if level is None else f'{site}[{level}]'


def _stage(source, data_idx, student):
    """The level of a backbone's output, by a module of its name or its index."""
    if source == 'backbone':
        return data_idx
    stages = list((student.get('backbone') or {}).get('out_indices', (3,)))
    name = source.removeprefix('backbone.')
    if name.startswith('layer') and name[5:].isdigit() and int(name[5:]) - 1 in stages:
        return stages.index(int(name[5:]) - 1)
    raise _NoCounterpart(f'the backbone gives no maps of {source!r} (out_indices={stages})')


def _joined(entries):
    """One loss for all levels that have equal losses; a list where there are several kinds."""
    joined = []
    for level, loss in entries:
        same = next((e for e in joined if level is not None and e[1] == loss and e[0]), None)
        if same is not None and level not in same[0]:
            same[0].append(level)
        else:
            joined.append(([] if level is None else [level], loss))
    losses = [
        dict(loss, levels=tuple(sorted(levels))) if levels else loss for levels, loss in joined
    ]
    return losses[0] if len(losses) == 1 else losses


# -- one function for each loss: takes its keys out of ``args`` and gives ours


def _l2(args, rows, note):
    normalize, element = args.pop('normalize', True), args.pop('div_element', False)
    dist, _ = args.pop('dist', False), args.pop('mult', 1.0)
    if normalize or dist or not element:
        raise _NoCounterpart(
            'FitNetLoss is the mean squared error: valid for a translation are normalize=False, '
            f'div_element=True and dist=False, got {normalize}, {element} and {dist}'
        )
    return dict(type='btkd_det.FitNetLoss', loss_weight=args.pop('loss_weight', 1.0))


def _kl(args, rows, note):
    weight, reduction = args.pop('loss_weight', 1.0), args.pop('reduction', 'batchmean')
    _frozen_teacher(args)
    batch, classes = rows
    if reduction == 'mean' and classes:
        weight = weight / classes
    elif reduction == 'sum' and batch:
        weight = weight * batch
    elif reduction != 'batchmean':
        raise _NoCounterpart(
            f"reduction={reduction!r} where rows are not known; valid: 'batchmean'"
        )
    return dict(type='btkd_det.KDLoss', temperature=args.pop('tau', 1.0), loss_weight=weight)


def _dkd(args, rows, note):
    weight, reduction = args.pop('loss_weight', 1.0), args.pop('reduction', 'batchmean')
    if reduction in ('mean', 'sum'):
        # Both are the sum over the batch: MMRazor also passes size_average=False, which wins.
        if rows[0] is None:
            raise _NoCounterpart(
                f"reduction={reduction!r} is MMRazor's sum over all rows; valid: 'batchmean'"
            )
        weight = weight * rows[0]
        note(
            f"DKDLoss: reduction={reduction!r} is MMRazor's sum over the batch, so loss_weight is "
            f'{weight:g}: times the {rows[0]} images of a batch'
        )
    elif reduction != 'batchmean':
        raise _NoCounterpart(f"reduction={reduction!r}; valid: 'batchmean'")
    return dict(
        type='btkd_det.DKDLoss',
        alpha=args.pop('alpha', 1.0),
        beta=args.pop('beta', 1.0),
        temperature=args.pop('tau', 1.0),
        loss_weight=weight,
    )


def _pkd(args, rows, note):
    if not args.pop('resize_stu', True):
        raise _NoCounterpart("resize_stu=False: btkd_det resizes the student's maps")
    return dict(type='btkd_det.PKDLoss', loss_weight=args.pop('loss_weight', 1.0))


def _cwd(args, rows, note):
    return dict(
        type='btkd_det.CWDLoss',
        temperature=args.pop('tau', 1.0),
        loss_weight=args.pop('loss_weight', 1.0),
    )


def _dist(args, rows, note):
    _frozen_teacher(args)
    return dict(
        type='btkd_det.DISTLoss',
        inter_weight=args.pop('inter_loss_weight', 1.0),
        intra_weight=args.pop('intra_loss_weight', 1.0),
        temperature=args.pop('tau', 1.0),
        loss_weight=args.pop('loss_weight', 1.0),
    )


def _frozen_teacher(args):
    if not args.pop('teacher_detach', True):
        raise _NoCounterpart('teacher_detach=False: the teacher gets no gradient')


# MMRazor's class: its arguments for student and teacher, the translation, whether it takes maps.
_LOSSES = {
    'L2Loss': ('s_feature', 't_feature', _l2, True),
    'KLDivergence': ('preds_S', 'preds_T', _kl, False),
    'DKDLoss': ('preds_S', 'preds_T', _dkd, False),
    'PKDLoss': ('preds_S', 'preds_T', _pkd, True),
    'ChannelWiseDivergence': ('preds_S', 'preds_T', _cwd, True),
    'DISTLoss': ('logits_S', 'logits_T', _dist, False),
}
