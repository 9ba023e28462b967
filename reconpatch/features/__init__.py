"""Pretrained backbones, and the patch features that are computed from their feature maps (section 3.1)."""
