"""EfficientNet-Lite without its classifier: EfficientNet without squeeze-and-excite, ReLU6 for swish (Tan and Le 2019).

Layers are named as the weights that packages bring name them (`models.package_weights`), dots and dashes aside.
"""

import math

import keras
from keras import layers

# Of Lite0: (blocks, kernel, stride of the first block, expansion, channels).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels, at any width
EPSILON = 1e-3  # of batch normalisation


def build_efficientnet_lite(name: str, image_size: int, width: float, depth: float) -> keras.Model:
    """Images float32 `[B, size, size, 3]`, already scaled, to the head's feature map `[B, size/32, size/32, 1280]`.

    The output of stage n is the layer `stage_n`, that of the head `top`. `width` is a factor on all channels, rounded
    to multiples of 8; `depth` on the blocks of every stage but the first and the last, rounded up.
    """
    image = keras.Input((image_size, image_size, 3))
    x = _convolution(image, STEM, 3, 2, "conv_stem", "bn0")
    block = 0
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES, start=1):
        repeats = repeats if stage in (1, len(STAGES)) else math.ceil(depth * repeats)
        for repeat in range(repeats):
            x = _block(x, kernel, 1 if repeat else stride, expansion, _rounded(width * channels), f"blocks_{block}_")
            block += 1
        x = layers.Activation("linear", name=f"stage_{stage}")(x)
    x = _convolution(x, HEAD, 1, 1, "conv_head", "bn1")
    return keras.Model(image, layers.Activation("linear", name="top")(x), name=name)


def _block(x, kernel: int, stride: int, expansion: int, channels: int, name: str):
    """An inverted residual block (Sandler et al. 2018)."""
    before = x
    if expansion > 1:
        x = _convolution(x, expansion * x.shape[-1], 1, 1, f"{name}expand_conv", f"{name}bn0")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}depthwise_conv")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=EPSILON, name=f"{name}bn1")(x))
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}project_conv")(x)
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}bn2")(x)
    return layers.Add()([before, x]) if before.shape == x.shape else x


def _convolution(x, channels: int, kernel: int, stride: int, name: str, norm: str):
    x = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)
    return layers.ReLU(6.0)(layers.BatchNormalization(epsilon=EPSILON, name=norm)(x))


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, but never down by more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
