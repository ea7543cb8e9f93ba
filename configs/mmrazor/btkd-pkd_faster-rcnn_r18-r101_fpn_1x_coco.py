_base_ = '../coco/faster-rcnn_r18_fpn_1x_coco.py'

custom_imports = dict(imports=['btkd_det.compat.mmrazor'])
model = dict(
    _delete_=True,
    type='mmrazor.FpnTeacherDistill',
    architecture={{_base_.model}},
    teacher=dict(cfg_path='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py', pretrained=True),
    distiller=dict(
        type='btkd_det.BTKDDistiller',
        distill=dict(
            roi_logits=dict(
                type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss', temperature=1.0)
            ),
            fpn=dict(type='btkd_det.PKDLoss', levels=(0, 1, 2, 3), loss_weight=6.0),
        ),
    ),
)
val_cfg = dict(_delete_=True, type='mmrazor.SingleTeacherDistillValLoop')
