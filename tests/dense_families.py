"""Small detectors whose dense heads assign classes in calls of their own."""

from btkd_det.config.reading import read_config

CONFIGS = {
    'YOLOX': 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    'SSD': 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    'TOOD': 'mmdet::tood/tood_r50_fpn_1x_coco.py',
    'VFNet': 'mmdet::vfnet/vfnet_r50_fpn_1x_coco.py',
    'PAA': 'mmdet::paa/paa_r50_fpn_1x_coco.py',
    'FSAF': 'mmdet::fsaf/fsaf_r50_fpn_1x_coco.py',
    'CenterNet': 'mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py',
    'PISA RetinaNet': 'mmdet::pisa/retinanet-r50_fpn_pisa_1x_coco.py',
    'PISA SSD': 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    'YOLACT': 'mmdet::yolact/yolact_r50_1xb8-55e_coco.py',
    'CondInst': 'mmdet::condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'RTMDet-Ins': 'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
}
#: Their logits have a column for background.
SOFTMAX = ('SSD', 'PISA SSD', 'YOLACT')


def tiny(name):
    """A small model of a family, 3 classes."""
    model = read_config(CONFIGS[name], 'test').model
    model.backbone.init_cfg = None
    model.bbox_head.num_classes = 3
    if name == 'YOLOX':
        model.backbone.update(deepen_factor=0.167, widen_factor=0.125)
        model.neck.update(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
        model.bbox_head.update(in_channels=16, feat_channels=16)
        model.data_preprocessor.pop('batch_augments', None)
    elif name in ('SSD', 'PISA SSD'):
        model.neck.update(out_channels=(96, 1280, 32, 16, 16, 16))
        model.bbox_head.update(in_channels=(96, 1280, 32, 16, 16, 16))
        if name == 'PISA SSD':
            model.bbox_head.type = 'PISASSDHead'
            model.train_cfg.update(isr=dict(k=2.0, bias=0.0), carl=dict(k=1.0, bias=0.2))
    elif name == 'RTMDet-Ins':
        model.backbone.update(deepen_factor=0.167, widen_factor=0.125)
        model.neck.update(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
        model.bbox_head.update(in_channels=16, feat_channels=16)
        for part in (model.backbone, model.neck, model.bbox_head):
            part.norm_cfg = dict(type='BN')
        model.data_preprocessor.pop('batch_augments', None)
    elif name == 'CenterNet':
        model.neck.update(
            in_channels=512, num_deconv_filters=(32, 16, 16), num_deconv_kernels=(4, 4, 4)
        )
        model.neck.use_dcn = False
        model.bbox_head.update(in_channels=16, feat_channels=16)
    else:
        model.backbone.update(depth=18, base_channels=8, stem_channels=8, frozen_stages=-1)
        model.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
        model.bbox_head.update(in_channels=32, feat_channels=32)
        if name == 'TOOD':
            model.bbox_head.update(stacked_convs=2)
        elif name not in ('FSAF', 'YOLACT'):
            model.bbox_head.update(stacked_convs=1)
        if name == 'YOLACT':
            model.mask_head.update(in_channels=32, num_classes=3)
        elif name == 'CondInst':
            model.mask_head.mask_feature_head.update(
                in_channels=32, feat_channels=16, num_stacked_convs=1
            )
    return model
