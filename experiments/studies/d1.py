"""D1: a small detector of drawn shapes learns from teachers that are right, or taught wrong.

The data: python tools/make_shapes.py --out FOLDER --train 3000 --val 300 --test 600
The teacher has seen the first 1,500 images, the student sees the first 600. Every student goes on
from one and the same detector, trained on the other 1,500: from nothing, the AP of so short a
training depends on its seed by more than on what it learns from.
"""

name = 'd1'
kind = 'detection'
title = 'D1: shapes, Faster R-CNN'
metric = 'AP'

data = dict(root_variable='SHAPES_ROOT')
images = 'train_dataloader.dataset.indices'
teacher = dict(
    config='btkd_det::shapes/faster-rcnn_r18w32_fpn_12e_shapes.py', seed=0, changes={images: 1500}
)
start = dict(
    config='btkd_det::shapes/faster-rcnn_r18w8_fpn_5e_shapes.py',
    seed=0,
    changes={images: list(range(1500, 3000))},
)
student = dict(config='btkd_det::shapes/faster-rcnn_r18w8_fpn_4e_shapes600.py', start=start)
del images, start

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
cells['both-dropped-30'] = dict(
    title='30 % of the boxes dropped for both',
    teacher=dict(annotations=dict(drop=0.3)),
    student=dict(annotations=dict(drop=0.3)),
)

kd = dict(type='btkd_det.KDLoss', temperature=1.0)
pkd = dict(type='btkd_det.PKDLoss', loss_weight=6.0)
review = dict(type='btkd_det.ReviewKDLoss', loss_weight=1.0, mid_channels=64)
# The weights published for Faster R-CNN; the sides of FBKD's squares are an eighth, as the maps'.
fgd = dict(
    type='btkd_det.FGDLoss', temperature=0.5, alpha=5e-5, beta=2.5e-5, gamma=5e-5, lambda_=5e-7
)
mgd = dict(type='btkd_det.MGDLoss', mask_ratio=0.45, loss_weight=5e-7)
fbkd = dict(type='btkd_det.FBKDLoss')
fbkd = [
    dict(fbkd, levels=(0, 1), reduction=4, pool=2),
    dict(fbkd, levels=(2, 3), reduction=2, pool=1),
]
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

# The student alone has nothing to choose.
temperatures = (1.0, 2.0)
arms['kd']['trials'] = [{'distill.roi_logits.temperature': t} for t in temperatures]
for arm in ('btkd-paper', 'btkd'):
    arms[arm]['trials'] = [{'distill.roi_logits.loss.temperature': t} for t in temperatures]
tuning = dict(trials=len(temperatures), seeds=[100], cells=['good', 'class-flips-30'])

# Parts, and features. They have no trials of their own.
arms['btkd-not-rectified'] = dict(
    title='robust, not rectified', distill=dict(roi_logits=dict(robust, rectify='none'))
)
arms['btkd-all-rectified'] = dict(
    title='robust, background rectified too',
    distill=dict(
        roi_logits=dict(
            robust,
            judge='class',
            rectify=dict(type='posterior', label_noise='estimated', missed='estimated'),
        )
    ),
)
arms['pkd'] = dict(title='PKD', distill=dict(fpn=pkd))
arms['pkd-kd'] = dict(title='PKD + KD', distill=dict(fpn=pkd, roi_logits=kd))
arms['pkd-btkd'] = dict(title='PKD + BTKD, robust', distill=dict(fpn=pkd, roi_logits=robust))
arms['reviewkd'] = dict(title='ReviewKD', distill=dict(fpn=review))
arms['fgd'] = dict(title='FGD', distill=dict(fpn=fgd))
arms['mgd'] = dict(title='MGD', distill=dict(fpn=mgd))
arms['fbkd'] = dict(title='FBKD', distill=dict(fpn=fbkd))
for k in (2, 4):
    arms[f'btkd-every-{k}'] = dict(
        title=f'robust, one step in {k}', distill=dict(roi_logits=dict(losses=robust, every=k))
    )
    arms[f'btkd-every-{k}-light'] = dict(
        title=f'robust, one step in {k}, with its own weight',
        distill=dict(roi_logits=dict(losses=dict(robust, loss_weight=1 / k), every=k)),
    )
arms['kd-every-4'] = dict(
    title='KD, one step in 4', distill=dict(roi_logits=dict(losses=kd, every=4))
)
for part in list(arms)[4:]:
    arms[part]['part'] = 'btkd' if 'btkd' in part else 'kd' if part == 'pkd-kd' else True
arms['kd-every-4']['part'] = 'kd'
del k, kd, pkd, review, fgd, mgd, fbkd, paper, robust, temperatures, arm, part

references = dict(alone='alone', kd='kd')
seeds = list(range(10))
