_base_ = '../shapes/faster-rcnn_r18w8_fpn_5e_shapes.py'

custom_imports = dict(imports=['btkd_det.compat.mmrazor'])
model = dict(
    _delete_=True,
    type='mmrazor.FpnTeacherDistill',
    architecture={{_base_.model}},
    teacher=dict(
        type='btkd_det.ModelOfConfig',
        config='btkd_det::shapes/faster-rcnn_r18w32_fpn_5e_shapes.py',
    ),
    teacher_ckpt='work_dirs/faster-rcnn_r18w32_fpn_5e_shapes/epoch_5.pth',
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
