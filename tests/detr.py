"""Small relatives of DETR."""

from btkd_det.config.reading import read_config

CONFIGS = {
    'DETR': 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'ConditionalDETR': 'mmdet::conditional_detr/conditional-detr_r50_8xb2-50e_coco.py',
    'DABDETR': 'mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py',
    'DeformableDETR': (
        'mmdet::deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py'
    ),
    'DINO': 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    'DDQDETR': 'mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py',
}


def tiny(name, layers=2, queries=12, num_classes=3):
    """A small model of a relative, without dropout."""
    # The embedding of coordinates of these has 256 channels whatever the model has; DINO's in
    # MMDetection 3.3.
    width = 256 if name in ('ConditionalDETR', 'DeformableDETR', 'DINO') else 32
    model = read_config(CONFIGS[name], 'test').model
    model.backbone.update(
        depth=18, base_channels=8, stem_channels=8, frozen_stages=-1, init_cfg=None
    )
    several = len(model.neck.in_channels) > 1
    if several:
        model.neck.in_channels = [16, 32, 64]
        model.neck.norm_cfg.num_groups = 8
    else:
        model.neck.in_channels = [64]
    model.neck.out_channels = width
    model.num_queries = queries
    model.positional_encoding.num_feats = width // 2
    for part in ('encoder', 'decoder'):
        model[part].num_layers = layers
        shrink(model[part].layer_cfg, width)
    model.bbox_head.num_classes = num_classes
    model.bbox_head.embed_dims = width
    if 'dn_cfg' in model:
        model.dn_cfg.group_cfg = dict(dynamic=True, num_groups=None, num_dn_queries=6)
    model.test_cfg.max_per_img = queries
    return model


def shrink(layer, width):
    """Set widths and heads of every part of a layer, and turn dropout off."""
    for name, part in layer.items():
        if name.endswith('attn_cfg'):
            part.embed_dims = width
            if 'levels' not in name:
                part.num_heads = 4
        elif name == 'ffn_cfg':
            part.update(embed_dims=width, feedforward_channels=64)
        if isinstance(part, dict):
            for key in [key for key in part if 'drop' in key]:
                part[key] = 0.0
