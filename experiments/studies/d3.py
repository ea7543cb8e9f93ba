"""D3: a small ATSS of drawn shapes learns from teachers that are right, or taught wrong.

The data: python tools/make_shapes.py --out FOLDER --train 3000 --val 300 --test 600
They are D1's, and so is the design, at the class logits of a single-stage detector. The teacher has
seen the first 1,500 images, the student sees the first 600. Every student goes on from one and the
same detector, trained on the other 1,500.
"""

name = 'd3'
kind = 'detection'
title = 'D3: shapes, ATSS'
metric = 'AP'

data = dict(root_variable='SHAPES_ROOT')
config = 'btkd_det::shapes/atss_r18w8_fpn_5e_shapes.py'
images, epochs = 'train_dataloader.dataset.indices', 'train_cfg.max_epochs'
end = 'param_scheduler.1.end'
wide = {'model.backbone.base_channels': 32, 'model.neck.in_channels': [32, 64, 128, 256]}
head = 'model.bbox_head.'
wide.update({'model.neck.out_channels': 64, f'{head}in_channels': 64, f'{head}feat_channels': 64})
teacher = dict(config=config, seed=0, changes={images: 1500, epochs: 12, end: 12, **wide})
start = dict(config=config, seed=0, changes={images: list(range(1500, 3000))})
student = dict(config=config, changes={images: 600, epochs: 4, end: 4}, start=start)
del config, images, epochs, end, wide, head, start

cells = dict(good=dict(title='good teacher'))
cells['early'] = dict(title='teacher stopped after 2 of 12 epochs', teacher=dict(stop_after=2))
cells['class-flips-30'] = dict(
    title='teacher trained with 30 % of the classes flipped',
    teacher=dict(annotations=dict(flip=0.3)),
)
cells['boxes-dropped-30'] = dict(
    title='teacher trained with 30 % of the boxes dropped',
    teacher=dict(annotations=dict(drop=0.3)),
)

binary = dict(type='btkd_det.BinaryKDLoss')
focused = dict(binary, focus=1.0)
paper = dict(type='btkd_det.BTKDLoss', loss=binary)
robust = dict(
    type='btkd_det.BTKDLoss',
    loss=focused,
    rectify=dict(type='posterior', label_noise='estimated'),
    judge='object',
    schedule='none',
    trust='relative',
)
arms = dict(
    alone=dict(title='student alone'),
    kd=dict(title='KD', distill=dict(dense_logits=dict(losses=focused, average='foreground'))),
)
arms['btkd-paper'] = dict(title='BTKD as published', distill=dict(dense_logits=dict(losses=paper)))
arms['btkd'] = dict(
    title='BTKD, robust', distill=dict(dense_logits=dict(losses=robust, average='foreground'))
)

# The student alone has nothing to choose.
weights = (1.0, 3.0)
arms['kd']['trials'] = [{'distill.dense_logits.losses.loss_weight': w} for w in weights]
for arm in ('btkd-paper', 'btkd'):
    arms[arm]['trials'] = [{'distill.dense_logits.losses.loss.loss_weight': w} for w in weights]
tuning = dict(trials=len(weights), seeds=[100], cells=['good', 'class-flips-30'])

# What the presets' choices are held against. They have no trials of their own.
arms['kd-plain'] = dict(
    title='KD, the mean over all anchors', distill=dict(dense_logits=binary), part='kd'
)
arms['btkd-class'] = dict(
    title='robust, every doubt of an object rectified',
    distill=dict(dense_logits=dict(losses=dict(robust, judge='class'), average='foreground')),
    part='btkd',
)
del binary, focused, paper, robust, weights, arm

references = dict(alone='alone', kd='kd')
seeds = list(range(10))
