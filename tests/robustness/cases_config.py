"""Misspelled types, options that a class refuses, and what surrounds a training."""

from .cases import add, add_lines

TRAIN, VAL = "train_dataloader['dataset']", "val_dataloader['dataset']"


def _type(target, wrong, right):
    return f"{target}['type'] = {wrong!r}", right


# Config line, the name that has to be proposed.
MISSPELLED = {
    'data set': _type(TRAIN, 'CocoDatset', 'CocoDataset'),
    'data set of val': _type(VAL, 'CocoDatasett', 'CocoDataset'),
    'data set in capitals': _type(TRAIN, 'COCODataset', 'CocoDataset'),
    'data set with scope': _type(TRAIN, 'mmdet.CocoDatset', 'CocoDataset'),
    'data set of no scope': _type(TRAIN, 'mmdett.CocoDataset', 'mmdet'),
    'wrapped data set': (
        "train_dataloader['dataset'] = dict(type='RepeatDatset', times=2, dataset="
        "train_dataloader['dataset'])",
        'RepeatDataset',
    ),
    'inner data set': (
        "train_dataloader['dataset']['type'] = 'CocoDatset'\n"
        "train_dataloader['dataset'] = dict(type='RepeatDataset', times=2, dataset="
        "train_dataloader['dataset'])",
        'CocoDataset',
    ),
    'transform': _type(f"{TRAIN}['pipeline'][3]", 'RandomFlipp', 'RandomFlip'),
    'transform in capitals': _type(f"{TRAIN}['pipeline'][2]", 'RESIZE', 'Resize'),
    'loading': _type(f"{TRAIN}['pipeline'][0]", 'LoadImageFromFiles', 'LoadImageFromFile'),
    'packing': _type(f"{TRAIN}['pipeline'][-1]", 'PackDetInput', 'PackDetInputs'),
    'transform of val': _type(f"{VAL}['pipeline'][1]", 'Resizes', 'Resize'),
    'nested transform': (
        f"{TRAIN}['pipeline'].insert(3, dict(type='RandomChoice', transforms=[["
        "dict(type='Resizee', scale=(64, 64))]]))",
        'Resize',
    ),
    'sampler': _type("train_dataloader['sampler']", 'DefaultSamplr', 'DefaultSampler'),
    'sampler of val': _type("val_dataloader['sampler']", 'InfinitSampler', 'InfiniteSampler'),
    'batch sampler': _type(
        "train_dataloader['batch_sampler']", 'AspectRatioBatchSamplr', 'AspectRatioBatchSampler'
    ),
    'collate function': (
        "train_dataloader['collate_fn'] = dict(type='pseudo_colate')",
        'pseudo_collate',
    ),
    'optimizer': _type("optim_wrapper['optimizer']", 'SDG', 'SGD'),
    'optimizer in lower case': _type("optim_wrapper['optimizer']", 'adamw', 'AdamW'),
    'optimizer wrapper': _type('optim_wrapper', 'OptimWraper', 'OptimWrapper'),
    'optimizer constructor': (
        "optim_wrapper['constructor'] = 'DefaultOptimWrapperConstructr'",
        'DefaultOptimWrapperConstructor',
    ),
    'scheduler': _type('param_scheduler[0]', 'LinearRL', 'LinearLR'),
    'second scheduler': _type('param_scheduler[1]', 'MultiStepsLR', 'MultiStepLR'),
    'default hook': _type("default_hooks['checkpoint']", 'CheckpointHok', 'CheckpointHook'),
    'custom hook': ("custom_hooks = [dict(type='EMAHok')]", 'EMAHook'),
    'hook with our scope': (
        "custom_hooks = [dict(type='btkd_det.ExactResume')]",
        'ExactResumeHook',
    ),
    'val evaluator': _type('val_evaluator', 'CocoMetrik', 'CocoMetric'),
    'evaluator in a list': ("val_evaluator = [dict(type='CocoMetrc', ann_file='x')]", 'CocoMetric'),
    'test evaluator': _type('test_evaluator', 'CocoMetrik', 'CocoMetric'),
    'visualizer': _type('visualizer', 'DetLocalVisualizr', 'DetLocalVisualizer'),
    'visualizer backend': (
        "visualizer['vis_backends'] = [dict(type='TensorbordVisBackend')]",
        'TensorboardVisBackend',
    ),
    'train loop': _type('train_cfg', 'EpochBasedTrainLop', 'EpochBasedTrainLoop'),
    'val loop': _type('val_cfg', 'ValLop', 'ValLoop'),
    'log processor': ("log_processor = dict(type='LogProcesor')", 'LogProcessor'),
    'runner': ("runner_type = 'Runer'", 'Runner'),
    'model': _type('model', 'FasterRCN', 'FasterRCNN'),
    'backbone': _type("model['backbone']", 'ResNett', 'ResNet'),
    'neck': _type("model['neck']", 'FPNN', 'FPN'),
    'loss': _type("model['rpn_head']['loss_cls']", 'CrossEntropyLos', 'CrossEntropyLoss'),
    'assigner': _type("model['train_cfg']['rcnn']['assigner']", 'MaxIoUAssigne', 'MaxIoUAssigner'),
    'box sampler': _type("model['train_cfg']['rcnn']['sampler']", 'RandmSampler', 'RandomSampler'),
    'preprocessor': _type(
        "model['data_preprocessor']", 'DetDataPreprocesor', 'DetDataPreprocessor'
    ),
}
for _name, (_lines, _right) in MISSPELLED.items():
    add_lines(f'types/{_name}', _lines, _right)

# Config lines, words of the error.
OPTIONS = {
    'loader: unknown': ("train_dataloader['batchsize'] = 2", 'train_dataloader', 'batch_size'),
    'loader: no batch_size': ("del train_dataloader['batch_size']", 'train_dataloader'),
    'loader: no sampler': ("del train_dataloader['sampler']", 'train_dataloader', 'sampler'),
    'loader: no dataset': ("del train_dataloader['dataset']", 'train_dataloader', 'dataset'),
    'loader: batch_size 0': ("train_dataloader['batch_size'] = 0", 'train_dataloader.batch_size'),
    'loader: batch_size -1': ("train_dataloader['batch_size'] = -1", 'train_dataloader.batch_size'),
    'loader: batch_size text': (
        "train_dataloader['batch_size'] = '2'",
        'train_dataloader.batch_size',
    ),
    'loader: batch_size 2.5': ("train_dataloader['batch_size'] = 2.5", 'batch_size'),
    'loader: batch_size None': ("train_dataloader['batch_size'] = None", 'batch_size'),
    'loader: num_workers -1': ("train_dataloader['num_workers'] = -1", 'num_workers'),
    'loader: num_workers text': ("train_dataloader['num_workers'] = 'two'", 'num_workers'),
    'loader: persistent without workers': (
        "train_dataloader['persistent_workers'] = True",
        'train_dataloader',
        'persistent_workers',
    ),
    'loader: prefetch without workers': (
        "train_dataloader['prefetch_factor'] = 2",
        'train_dataloader',
        'prefetch_factor',
    ),
    'loader: timeout -1': ("train_dataloader['timeout'] = -1", 'timeout'),
    'loader: shuffle': ("train_dataloader['shuffle'] = True", 'shuffle'),
    'loader: start method': (
        "train_dataloader.update(num_workers=1, multiprocessing_context='spwan')",
        'multiprocessing_context',
    ),
    'loader: sampler option': ("train_dataloader['sampler']['shufle'] = True", 'shufle', 'shuffle'),
    'loader: val batch_size 0': ("val_dataloader['batch_size'] = 0", 'val_dataloader.batch_size'),
    'loader: drop_last leaves nothing': (
        'train_dataloader.update(batch_size=16, drop_last=True, batch_sampler=None)',
        'drop_last',
        '4',
    ),
    'loader: drop_last of the batch sampler': (
        "train_dataloader['batch_size'] = 16\ntrain_dataloader['batch_sampler'] = dict("
        "type='AspectRatioBatchSampler', drop_last=True)",
        'drop_last',
    ),
    'data set: unknown key': (f"{TRAIN}['ann_fil'] = 'x'", 'ann_fil', 'ann_file'),
    'data set: no ann_file': (f"del {TRAIN}['ann_file']", 'train_dataloader.dataset.ann_file'),
    'data set: no ann_file in val': (f"del {VAL}['ann_file']", 'val_dataloader.dataset.ann_file'),
    'loader: sampler a list of lists': ("train_dataloader['sampler'] = [[]]", 'sampler'),
    'loader: sampler text': ("val_dataloader['sampler'] = 'DefaultSampler'", 'sampler'),
    'hook: a number': ("default_hooks['logger'] = 1", 'default_hooks.logger'),
    'hook: text': ("custom_hooks = ['EMAHook']", 'custom_hooks[0]'),
    'hook: no list': ("custom_hooks = dict(type='EMAHook')", 'custom_hooks'),
    'train_cfg: no type': ("del train_cfg['type']", 'train_cfg', 'max_iters'),
    'data set: no data_prefix': (f"del {TRAIN}['data_prefix']", 'data_prefix', 'img'),
    'data set: data_prefix text': (f"{TRAIN}['data_prefix'] = 'images/'", 'data_prefix', 'img'),
    'data set: pipeline None': (f"{TRAIN}['pipeline'] = None", 'train_dataloader.dataset'),
    'data set: pipeline of text': (f"{TRAIN}['pipeline'] = ['Resize']", 'train_dataloader.dataset'),
    'data set: no type': (f"del {TRAIN}['type']", 'train_dataloader.dataset', 'type'),
    'data set: filter_cfg': (
        f"{TRAIN}['filter_cfg'] = dict(filter_empty_gt=True, min_size='big')",
        'train_dataloader.dataset',
    ),
    'data set: min_size leaves nothing': (
        f"{TRAIN}['filter_cfg'] = dict(filter_empty_gt=True, min_size=900)",
        'min_size',
    ),
    'data set: indices': (f"{TRAIN}['indices'] = [900]", 'train_dataloader.dataset'),
    'data set: indices 0': (f"{TRAIN}['indices'] = 0", 'train_dataloader'),
    'transform: unknown key': (f"{TRAIN}['pipeline'][2]['scal'] = 1", 'scal', 'scale'),
    'transform: missing key': (f"del {TRAIN}['pipeline'][2]['scale']", 'train_dataloader.dataset'),
    'transform: value': (f"{TRAIN}['pipeline'][3]['prob'] = 2.0", 'train_dataloader.dataset'),
    'transform: scale of text': (f"{TRAIN}['pipeline'][2]['scale'] = 'big'", 'train_dataloader'),
    'transform: scale 0': (f"{TRAIN}['pipeline'][2]['scale'] = (0, 0)", 'train_dataloader'),
    'transform: no loading': (f"del {TRAIN}['pipeline'][0]", 'train_dataloader'),
    'transform: no annotations': (f"del {TRAIN}['pipeline'][1]", 'train_dataloader'),
    'transform: no packing': (f"del {TRAIN}['pipeline'][-1]", 'train_dataloader'),
    'transform: empty pipeline': (f"{TRAIN}['pipeline'] = []", 'train_dataloader'),
    'transform: val without loading': (f"del {VAL}['pipeline'][0]", 'val_dataloader'),
    'transform: val without packing': (f"del {VAL}['pipeline'][-1]", 'val_dataloader'),
    'transform: val without scale_factor': (
        f"{VAL}['pipeline'][-1]['meta_keys'] = ('img_id', 'img_shape', 'ori_shape')",
        'val_dataloader',
        'scale_factor',
    ),
    'transform: masks without segmentation': (
        f"{TRAIN}['pipeline'][1]['with_mask'] = True",
        'train_dataloader',
        'segmentation',
    ),
    'optimizer: unknown key': (
        "optim_wrapper['optimizer']['momentm'] = 0.9",
        'optim_wrapper.optimizer',
        'momentum',
    ),
    'optimizer: lr negative': ("optim_wrapper['optimizer']['lr'] = -1", 'optim_wrapper'),
    'optimizer: lr text': ("optim_wrapper['optimizer']['lr'] = 'fast'", 'optim_wrapper'),
    'optimizer: lr None': ("optim_wrapper['optimizer']['lr'] = None", 'optim_wrapper'),
    'optimizer: nesterov': (
        "optim_wrapper['optimizer'].update(nesterov=True, momentum=0)",
        'optim_wrapper',
    ),
    'optimizer: no type': ("del optim_wrapper['optimizer']['type']", 'optim_wrapper', 'type'),
    'optimizer: missing': ("del optim_wrapper['optimizer']", 'optim_wrapper', 'optimizer'),
    'optimizer: paramwise': (
        "optim_wrapper['paramwise_cfg'] = dict(custom_keys='backbone')",
        'optim_wrapper',
    ),
    'optimizer: paramwise text': (
        "optim_wrapper['paramwise_cfg'] = dict(norm_decay_mult='x')",
        'optim_wrapper',
    ),
    'optimizer: accumulative_counts 0': (
        "optim_wrapper['accumulative_counts'] = 0",
        'optim_wrapper',
    ),
    'optimizer: clip_grad': (
        "optim_wrapper['clip_grad'] = dict(max_nrm=1)",
        'optim_wrapper',
        'max_norm',
    ),
    'optimizer: clip_grad norm text': (
        "optim_wrapper['clip_grad'] = dict(max_norm='None')",
        'optim_wrapper.clip_grad',
    ),
    'optimizer: clip_grad value list': (
        "optim_wrapper['clip_grad'] = dict(type='value', clip_value=[1])",
        'optim_wrapper.clip_grad',
    ),
    'loss: box coder divides by 0': (
        "model['roi_head']['bbox_head']['bbox_coder']['target_stds'] = [0.0, 0.1, 0.2, 0.2]",
        'loss_bbox',
        'target_stds',
    ),
    'loss: box coder of nan': (
        "model['rpn_head']['bbox_coder']['target_means'] = [0, 0, 0, float('nan')]",
        'loss_rpn_bbox',
    ),
    'loss: weight of nan': (
        "model['rpn_head']['loss_cls']['loss_weight'] = float('nan')",
        'loss_rpn_cls',
    ),
    'optimizer: clip_grad text': ("optim_wrapper['clip_grad'] = 'norm'", 'optim_wrapper'),
    'optimizer: wrapper key': ("optim_wrapper['clip_gradd'] = None", 'optim_wrapper', 'clip_grad'),
    'scheduler: unknown key': ("param_scheduler[0]['bgin'] = 0", 'param_scheduler[0]', 'begin'),
    'scheduler: missing key': ("del param_scheduler[1]['milestones']", 'param_scheduler[1]'),
    'scheduler: begin after end': (
        'param_scheduler[0].update(begin=10, end=5)',
        'param_scheduler[0]',
    ),
    'scheduler: factor': ("param_scheduler[0]['start_factor'] = 7", 'param_scheduler[0]'),
    'scheduler: milestones a number': (
        "param_scheduler[1]['milestones'] = 7",
        'param_scheduler[1]',
    ),
    'scheduler: text': ("param_scheduler = 'MultiStepLR'", 'param_scheduler'),
    'hook: unknown key': (
        "default_hooks['checkpoint']['intervall'] = 1",
        'default_hooks.checkpoint',
        'interval',
    ),
    'hook: EMA value': (
        "custom_hooks = [dict(type='EMAHook', momentum=3)]",
        'custom_hooks[0]',
    ),
    'hook: save_best without val': (
        "default_hooks['checkpoint']['save_best'] = 'coco/bbox_mAPP'",
        'default_hooks.checkpoint.save_best',
        'coco/bbox_mAP',
    ),
    'hook: interval 0': (
        "default_hooks['logger']['interval'] = 0",
        'default_hooks.logger',
        'interval',
    ),
    'hook: no type': ('custom_hooks = [dict(momentum=1)]', 'custom_hooks[0]', 'type'),
    'hook: priority': (
        "custom_hooks = [dict(type='EMAHook', priority='VERY_VERY_LOW')]",
        'custom_hooks[0]',
        'VERY_LOW',
    ),
    'evaluator: unknown key': ("val_evaluator['clswise'] = True", 'val_evaluator', 'classwise'),
    'evaluator: metric': ("val_evaluator['metric'] = 'boxes'", 'val_evaluator', 'bbox'),
    'evaluator: segm without masks': ("val_evaluator['metric'] = 'segm'", 'val_evaluator', 'segm'),
    'evaluator: file': (
        "val_evaluator['ann_file'] = 'no.json'",
        'val_evaluator.ann_file',
        'no.json',
    ),
    'evaluator: file of others': (
        "val_evaluator['ann_file'] = 'DATA/train.json'",
        'val_evaluator.ann_file',
        'train.json',
        'val.json',
    ),
    'evaluator: neither file nor annotations': (
        "val_evaluator['ann_file'] = None",
        'ann_file',
    ),
    'evaluator: another evaluator': (
        "val_evaluator = dict(type='VOCMetric', metric='mAp')",
        'val_evaluator',
    ),
    'evaluator: missing': ('val_evaluator = None', 'val_evaluator'),
    'val_cfg: missing': ('val_cfg = None', 'val_cfg'),
    'train_cfg: missing': ('train_cfg = None', 'train_cfg'),
    'val_cfg: a number': ('val_cfg = 10**9', 'val_cfg', 'a dict'),
    'val_cfg: a list': ("val_cfg = [dict(type='ValLoop')]", 'val_cfg', 'a dict'),
    'train_cfg: epochs text': ("train_cfg['max_epochs'] = 'many'", 'train_cfg'),
    'train_cfg: epochs 0': ("train_cfg['max_epochs'] = 0", 'train_cfg'),
    'train_cfg: epochs and iterations': (
        'train_cfg = dict(by_epoch=True, max_epochs=1, max_iters=2)',
        'train_cfg',
    ),
    'train_cfg: unknown key': ("train_cfg['max_epoch'] = 2", 'train_cfg', 'max_epochs'),
    'train_cfg: val_interval 0': ("train_cfg['val_interval'] = 0", 'train_cfg'),
    'val_cfg: unknown key': ("val_cfg['fp_16'] = True", 'val_cfg', 'fp16'),
    'seed text': ("randomness = dict(seed='x')", 'randomness'),
    'randomness: unknown key': ('randomness = dict(sed=0)', 'randomness', 'seed'),
    'log level': ("log_level = 'LOUD'", 'log_level'),
    'log processor: key': ("log_processor = dict(type='LogProcessor', window=2)", 'log_processor'),
    'env_cfg: start method': ("env_cfg['mp_cfg']['mp_start_method'] = 'frok'", 'env_cfg'),
    'default scope': ("default_scope = 'mmdett'", 'default_scope', 'mmdet'),
    'custom_imports': ("custom_imports = dict(imports=['no_such_module'])", 'no_such_module'),
    'custom_imports of an option': (
        '',
        'no_such_module',
    ),
    'custom_imports: text': ("custom_imports = 'no_such_module'", 'config.py', 'mapping'),
    'auto_scale_lr': ('auto_scale_lr = dict(enable=True)', 'auto_scale_lr', 'base_batch_size'),
    'auto_scale_lr 0': ('auto_scale_lr = dict(enable=True, base_batch_size=0)', 'auto_scale_lr'),
    'init_cfg': (
        "model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='no.pth')",
        'no.pth',
    ),
    'init_cfg type': (
        "model['backbone']['init_cfg'] = dict(type='Pretraind', checkpoint='no.pth')",
        'Pretrained',
    ),
    'config exits': ('import sys; sys.exit(3)', 'config.py', 'exit'),
    'config raises exit': ("raise SystemExit('bye')", 'config.py', 'bye'),
    'config raises': ("raise RuntimeError('no')", 'config.py', 'no'),
    'config divides by zero': ('1 / 0', 'config.py', 'ZeroDivisionError'),
    'config: syntax': ('model = dict(', 'config.py', 'SyntaxError'),
    'config: undefined name': ('x = undefined_name', 'config.py', 'undefined_name'),
    'config: no model': ('del model', 'model'),
    'config: no data': ('del train_dataloader', 'train_dataloader'),
    'config: no train_cfg': ('del train_cfg', 'train_cfg'),
    'config: no optim_wrapper': ('del optim_wrapper', 'optim_wrapper'),
}
ARGS = {
    'custom_imports of an option': ['--cfg-options', 'custom_imports.imports=[no_such_module]'],
}
for _name, (_lines, *_words) in OPTIONS.items():
    add_lines(f'options/{_name}', _lines, *_words, args=ARGS.get(_name, ()))

# What it trains with a warning of ours.
add_lines(
    'taken/custom_imports allowed to fail',
    "custom_imports = dict(imports=['no_such_module'], allow_failed_imports=True)",
    'no_such_module',
    expected='mended',
)
TAKEN = {
    'no batch sampler': "train_dataloader['batch_sampler'] = None",
    'drop_last': 'train_dataloader.update(batch_size=3, drop_last=True, batch_sampler=None)',
    'batch larger than the set': 'train_dataloader.update(batch_size=16, batch_sampler=None)',
    'no scheduler': 'param_scheduler = None',
    'one scheduler': "param_scheduler = dict(type='ConstantLR', factor=0.5)",
    'cosine': "param_scheduler = [dict(type='CosineAnnealingLR', T_max=1, "
    'convert_to_iter_based=True)]',
    'AdamW': "optim_wrapper['optimizer'] = dict(type='AdamW', lr=1e-4)",
    'types as scoped names': f"{TRAIN}['type'] = 'mmdet.CocoDataset'",
    'types as classes': f"from mmdet.datasets import CocoDataset\n{TRAIN}['type'] = CocoDataset\n"
    'del CocoDataset',
    'repeated set': "train_dataloader['dataset'] = dict(type='RepeatDataset', times=2, dataset="
    "train_dataloader['dataset'])",
    'joined sets': "train_dataloader['dataset'] = dict(type='ConcatDataset', datasets=["
    "train_dataloader['dataset'], train_dataloader['dataset']])",
    'no val': 'val_dataloader = val_cfg = val_evaluator = None',
    'EMA': "custom_hooks = [dict(type='EMAHook')]",
    'iterations': "train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)\n"
    "train_dataloader['sampler'] = dict(type='InfiniteSampler')\n"
    "log_processor = dict(by_epoch=False)\ndefault_hooks['checkpoint'] = dict("
    "type='CheckpointHook', by_epoch=False)\nparam_scheduler = None",
    'one worker': 'train_dataloader.update(num_workers=1, persistent_workers=True)',
    'save_best': "default_hooks['checkpoint']['save_best'] = 'coco/bbox_mAP'",
    'save_best auto': "default_hooks['checkpoint']['save_best'] = 'auto'",
    'two evaluators': "val_evaluator = [val_evaluator, dict(type='CocoMetric', prefix='b', "
    "ann_file='DATA/val.json')]",
    'early stopping': "custom_hooks = [dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP')]",
    'early stopping by what is not there': "custom_hooks = [dict(type='EarlyStoppingHook', "
    "monitor='coco/bbox_mAPP')]",
}
for _name, _lines in TAKEN.items():
    add_lines(f'taken/{_name}', _lines, expected='trained')


def _work_dir(make):
    def spoil(place):
        path = make(place.folder)
        place.args += ['--work-dir', str(path)]

    return spoil


def _file(folder):
    (folder / 'file').write_text('x')
    return folder / 'file'


def _loop(folder):
    (folder / 'loop').symlink_to('loop')
    return folder / 'loop'


add('place/work_dir is a file', _work_dir(_file), 'work_dir')
add('place/work_dir below a file', _work_dir(lambda f: _file(f) / 'run'), 'work_dir')
add('place/work_dir is a loop of links', _work_dir(_loop), 'work_dir')
add('place/work_dir cannot be written', _work_dir(lambda f: '/proc/run'), 'work_dir')
add('place/work_dir of a long name', _work_dir(lambda f: f / ('x' * 300)), 'work_dir')


def _environment(*args, **env):
    def spoil(place):
        place.args += args
        place.env.update(env)

    return spoil


add('place/pytorch without its environment', _environment('--launcher', 'pytorch'), 'launcher')
add('place/slurm without its environment', _environment('--launcher', 'slurm'), 'launcher')
add('place/mpi without its environment', _environment('--launcher', 'mpi'), 'launcher')
add(
    'place/pytorch with half of it',
    _environment('--launcher', 'pytorch', RANK='0', WORLD_SIZE='1'),
    'launcher',
    'MASTER_ADDR',
)
add(
    'place/pytorch with a rank of text',
    _environment(
        '--launcher', 'pytorch', RANK='zero', WORLD_SIZE='1', MASTER_ADDR='x', MASTER_PORT='1'
    ),
    'launcher',
    'RANK',
)
