_base_ = './btkd-paper_faster-rcnn_r18w8-r34w32_fpn_20e_bccd.py'

# Cells that nobody annotated are background by their label: what the teacher says of them stays.
model = dict(distill=dict(roi_logits=dict(foreground_only=True)))
