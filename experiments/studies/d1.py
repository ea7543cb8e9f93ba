"""D1: a small detector of drawn shapes, and teachers that are right, half-trained or spoiled."""

name = 'd1'
kind = 'detection'
title = 'D1: shapes'
metric = 'AP'

# The configs find their data by it.
data = dict(root_variable='SHAPES_ROOT')

student = dict(config='btkd_det::shapes/faster-rcnn_r18w8_fpn_5e_shapes.py')
teacher = dict(config='btkd_det::shapes/faster-rcnn_r18w32_fpn_5e_shapes.py', seed=0)

cells = {
    'good': dict(title='good teacher'),
    'early': dict(title='teacher stopped after 1 of 5 epochs', teacher=dict(stop_after=1)),
    'flipped': dict(
        title='teacher trained with 30 % of the classes flipped',
        teacher=dict(annotations=dict(flip=0.3)),
    ),
    'dropped': dict(
        title='teacher trained without 30 % of the boxes',
        teacher=dict(annotations=dict(drop=0.3)),
    ),
    'dropped-both': dict(
        title='both trained without 30 % of the boxes',
        teacher=dict(annotations=dict(drop=0.3)),
        student=dict(annotations=dict(drop=0.3)),
    ),
}

kd = dict(type='btkd_det.KDLoss', temperature=1.0)
arms = {
    'alone': dict(title='student alone'),
    'kd': dict(title='KD', distill=dict(roi_logits=kd)),
    'btkd-paper': dict(
        title='BTKD as published',
        distill=dict(roi_logits=dict(type='btkd_det.BTKDLoss', loss=kd)),
    ),
    'pkd': dict(title='PKD', distill=dict(fpn=dict(type='btkd_det.PKDLoss', loss_weight=6.0))),
}
del kd

references = dict(alone='alone', kd='kd')
seeds = list(range(5))
