_base_ = './faster-rcnn_r18w8_fpn_4e_shapes600.py'

custom_imports = dict(imports=['btkd_det'])
model = dict(
    type='btkd_det.DistilledTwoStageDetector',
    teacher=dict(
        config='btkd_det::shapes/faster-rcnn_r18w32_fpn_12e_shapes.py',
        checkpoint='work_dirs/faster-rcnn_r18w32_fpn_12e_shapes/epoch_12.pth',
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
