_base_ = './faster-rcnn_mobilenetv2_fpn_1x_coco.py'

custom_imports = dict(imports=['btkd_det'])
model = dict(
    type='btkd_det.DistilledTwoStageDetector',
    teacher=dict(
        config='mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py', checkpoint='pretrained'
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
