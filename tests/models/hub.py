"""Tiny random networks of keras-hub's families, saved as presets."""

from __future__ import annotations

from pathlib import Path

SIZE = 32
SCALE, OFFSET = (1 / 51, 1 / 63.75, 1 / 56.1), (-2.1, -2.0, -1.8)  # as of ImageNet's mean and deviation


def _networks(models, size):
    shape = (size, size, 3)
    wide = {"hidden_dim": 12, "num_layers": 2, "num_heads": 2, "intermediate_dim": 16}
    text = {"vocabulary_size": 20, "embedding_dim": 12, "max_sequence_length": 4}
    return {
        "resnet": lambda: models.ResNetBackbone(
            [64], [3], [64, 16, 16], [1, 1, 1], [1, 2, 2], "basic_block", image_shape=(None, None, 3)
        ),
        "vit": lambda: models.ViTBackbone(shape, 8, 2, 2, 12, 16),
        "dinov2": lambda: models.DINOV2Backbone(
            8, 2, 12, 2, 16, num_register_tokens=2, image_shape=shape, position_embedding_shape=(48, 48, 3)
        ),
        "dinov3": lambda: models.DINOV3Backbone(8, 2, 16, 2, 16, num_register_tokens=4, image_shape=shape),
        "swin": lambda: models.SwinTransformerBackbone(shape, 8, [2, 2], [2, 2], 4),
        "siglip": lambda: models.SigLIPBackbone(
            models.SigLIPVisionEncoder(8, image_shape=shape, **wide), models.SigLIPTextEncoder(**text, **wide)
        ),
        "bert": lambda: models.BertBackbone(20, 1, 2, 12, 16),
    }


CONVERTERS = {
    "resnet": "ResNet", "vit": "ViT", "dinov2": "DINOV2", "dinov3": "DINOV3", "swin": "SwinTransformer",
    "siglip": "SigLIP",
}  # fmt: skip


def save_preset(family: str, folder: Path, size: int = SIZE) -> str:
    """Saves a network and its image converter; returns the backbone's name."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    _networks(keras_hub.models, size)[family]().save_to_preset(str(folder))
    if family in CONVERTERS:
        converter = getattr(keras_hub.layers, f"{CONVERTERS[family]}ImageConverter")
        converter((size, size), scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return f"hub:{folder}"
