_base_ = './faster-rcnn_r18w8_fpn_20e_bccd.py'

custom_imports = dict(imports=['btkd_det'])
model = dict(
    type='btkd_det.DistilledTwoStageDetector',
    teacher=dict(
        config='btkd_det::bccd/faster-rcnn_r34w32_fpn_20e_bccd.py',
        checkpoint='work_dirs/faster-rcnn_r34w32_fpn_20e_bccd/epoch_20.pth',
    ),
    distill=dict(
        roi_logits=dict(
            type='btkd_det.BTKDLoss',
            loss=dict(type='btkd_det.KDLoss', temperature=1.0),
            rectify=dict(type='posterior', label_noise='estimated'),
            judge='object',
            schedule='none',
            trust='relative',
            calibrate=True,
        )
    ),
)
