"""D2: blood cells, a teacher with ImageNet's weights, students without and with their own.

The weights: experiments/efficientnet_lite.py; EFFICIENTNET_ROOT names their folder.
The student without them goes on from one and the same detector, 12 epochs from nothing; the other
begins at its backbone's weights.
"""

name = 'd2'
kind = 'detection'
title = 'D2: blood cells, Faster R-CNN'
metric = 'AP'

data = dict(root_variable='BCCD_ROOT')
teacher = dict(config='btkd_det::bccd/faster-rcnn_lite2_fpn_12e_bccd.py', seed=0)

narrow = 'btkd_det::bccd/faster-rcnn_r18w8_fpn_12e_bccd.py'
# The rate falls with the epochs; a step of EfficientNet costs six of the narrow ResNet's.
shorter = {'train_cfg.max_epochs': 6, 'param_scheduler.1.end': 6}
student = dict(config=narrow, start=dict(config=narrow, seed=0), changes=shorter)
cells = dict(scratch=dict(title='ResNet-18, 8 channels, no weights of others'))
cells['weights'] = dict(
    title="EfficientNet-Lite0, ImageNet's weights",
    student=dict(config='btkd_det::bccd/faster-rcnn_lite0_fpn_12e_bccd.py', start=None),
)
del narrow, shorter

kd = dict(type='btkd_det.KDLoss', temperature=1.0)
pkd = dict(type='btkd_det.PKDLoss', loss_weight=6.0)
review = dict(type='btkd_det.ReviewKDLoss', loss_weight=1.0, mid_channels=64)
paper = dict(type='btkd_det.BTKDLoss', loss=kd)
robust = dict(
    paper,
    rectify=dict(type='posterior', label_noise='estimated'),
    judge='object',
    schedule='none',
    trust='relative',
    calibrate=True,
)
arms = dict(
    alone=dict(title='student alone'),
    kd=dict(title='KD', distill=dict(roi_logits=kd)),
)
arms['btkd-paper'] = dict(title='BTKD as published', distill=dict(roi_logits=paper))
arms['btkd'] = dict(title='BTKD, robust', distill=dict(roi_logits=robust))

temperatures = (1.0, 2.0)
arms['kd']['trials'] = [{'distill.roi_logits.temperature': t} for t in temperatures]
for arm in ('btkd-paper', 'btkd'):
    arms[arm]['trials'] = [{'distill.roi_logits.loss.temperature': t} for t in temperatures]
tuning = dict(trials=len(temperatures), seeds=[100], cells=['scratch'])

# Features. They have no trials of their own.
arms['pkd'] = dict(title='PKD', distill=dict(fpn=pkd))
arms['pkd-btkd'] = dict(title='PKD + BTKD, robust', distill=dict(fpn=pkd, roi_logits=robust))
arms['reviewkd'] = dict(title='ReviewKD', distill=dict(fpn=review))
for part in list(arms)[4:]:
    arms[part]['part'] = 'btkd' if part == 'pkd-btkd' else True
del kd, pkd, review, paper, robust, temperatures, arm, part

references = dict(alone='alone', kd='kd')
seeds = list(range(5))
