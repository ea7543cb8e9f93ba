"""What the study's students go on from: 5 epochs of the images that its teacher has not seen."""

_base_ = './faster-rcnn_r18w8_fpn_5e_shapes.py'

train_dataloader = dict(dataset=dict(indices=list(range(1500, 3000))))
train_cfg = dict(val_interval=5)
