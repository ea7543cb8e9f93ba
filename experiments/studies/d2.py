"""D2: blood cells, a teacher with ImageNet's weights, students without and with their own.

The weights: experiments/efficientnet_lite.py; EFFICIENTNET_ROOT names their folder.
"""

name = 'd2'
kind = 'detection'
title = 'D2: blood cells, Faster R-CNN'
metric = 'AP'

data = dict(root_variable='BCCD_ROOT')
teacher = dict(config='btkd_det::bccd/faster-rcnn_lite2_fpn_12e_bccd.py', seed=0)
student = dict(config='btkd_det::bccd/faster-rcnn_r18w8_fpn_12e_bccd.py')

# A step of EfficientNet costs six of the narrow ResNet's: five epochs, the rate falling with them.
shorter = {'train_cfg.max_epochs': 5, 'param_scheduler.1.end': 5}
cells = dict(scratch=dict(title='ResNet-18, 8 channels, from scratch'))
cells['weights'] = dict(
    title="EfficientNet-Lite0, ImageNet's weights",
    student=dict(config='btkd_det::bccd/faster-rcnn_lite0_fpn_12e_bccd.py', changes=shorter),
)
del shorter

kd = dict(type='btkd_det.KDLoss', temperature=1.0)
pkd = dict(type='btkd_det.PKDLoss', loss_weight=6.0)
review = dict(type='btkd_det.ReviewKDLoss', loss_weight=1.0, mid_channels=64)
btkd = dict(type='btkd_det.BTKDLoss', loss=kd)
arms = dict(
    alone=dict(title='student alone'),
    kd=dict(title='KD', distill=dict(roi_logits=kd)),
)
arms['btkd-paper'] = dict(title='BTKD as published', distill=dict(roi_logits=btkd))
arms['btkd-no-schedule'] = dict(
    title='BTKD, no schedule', distill=dict(roi_logits=dict(btkd, schedule='none'))
)
arms['pkd'] = dict(title='PKD', distill=dict(fpn=pkd))
arms['pkd-kd'] = dict(title='PKD + KD', distill=dict(fpn=pkd, roi_logits=kd))
arms['reviewkd'] = dict(title='ReviewKD', distill=dict(fpn=review))
del kd, pkd, review, btkd

references = dict(alone='alone', kd='kd')
seeds = list(range(5))
