_base_ = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'

custom_imports = dict(imports=['btkd_det.compat.mmrazor'])
# MMPretrain's own classes fill in this type; MMRazor's do not.
data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor')
logits = dict(type='mmrazor.ModuleOutputs', source='head.fc')
model = dict(
    _delete_=True,
    type='mmrazor.SingleTeacherDistill',
    architecture={{_base_.model}},
    teacher=dict(cfg_path='mmpretrain::resnet/resnet34_8xb16_cifar10.py', pretrained=True),
    distiller=dict(
        type='mmrazor.ConfigurableDistiller',
        student_recorders=dict(
            logits=logits,
            labels=dict(type='mmrazor.ModuleInputs', source='head.loss_module'),
        ),
        teacher_recorders=dict(logits=logits),
        distill_losses=dict(
            loss_btkd=dict(
                type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss', temperature=4.0)
            ),
        ),
        loss_forward_mappings=dict(
            loss_btkd=dict(
                student_logits=dict(recorder='logits', from_student=True),
                teacher_logits=dict(recorder='logits', from_student=False),
                labels=dict(recorder='labels', from_student=True, data_idx=1),
            ),
        ),
    ),
)
val_cfg = dict(_delete_=True, type='mmrazor.SingleTeacherDistillValLoop')
