"""A trained model as two Keras models from images to codes: functional, named, and kept whole in a `.keras` file."""

import keras
from keras import layers, ops

from tf_ssgn.models.contours import Contours
from tf_ssgn.models.fusion import unit
from tf_ssgn.models.ssgn import SSGN


def build_encoders(backbone: keras.Model, ssgn: SSGN) -> tuple[keras.Model, keras.Model]:
    """`sketch_encoder` and `photo_encoder`, over the layers of a model whose training is over.

    Both take images float32 `[B, size, size, 3]` in 0..255, sketches padded to a square, photos squashed to one
    (`data.images.views`), and answer for this one view: the first with a dict of `sketch`, `coarse`, `fine`, `code`
    `[B, d]` and `semantics` `[B, s]`, as `SSGN.retrieve`, where a stage that the config lacks gives the code that the
    next one starts from; the second with codes `[B, d]`.
    """
    config = ssgn.config
    # `call` puts the layers of a fusion network into the graph one by one. As models within the model, two that share
    # their projection would come back from a file with one each.
    image = keras.Input(backbone.input_shape[1:], name="image")
    sketch = ssgn.fuse_sketch.call(backbone(image))
    semantics = ssgn.project(sketch)
    draws = Draws(config.samples, config.latent, name="draws")
    noise = draws(sketch)
    draws.noise.assign(ssgn.noise)

    codes = ssgn.synthesise(
        sketch, semantics, lambda draw, stage: noise[2 * draw + stage], lambda codes, stage: UnitSum(name=stage)(codes)
    )
    coarse = codes.get("coarse", sketch)
    fine = codes.get("fine", coarse)
    out = {"sketch": sketch, "coarse": coarse, "fine": fine, "semantics": semantics, "code": fine}
    sketch_encoder = keras.Model(image, out, name="sketch_encoder")

    image = keras.Input(backbone.input_shape[1:], name="image")
    code = ssgn.fuse_photo.call(backbone(image))
    if config.contours:
        drawn = ssgn.fuse_contour.call(backbone(Contours(name="contours")(image)))
        code = UnitSum(config.contours, name="code")([code, drawn])
    return sketch_encoder, keras.Model(image, code, name="photo_encoder")


@keras.saving.register_keras_serializable("tf_ssgn")
class Draws(layers.Layer):
    """The saved draws of both latents, a row for each row of the input: z1, z2 of the first draw, then of the next."""

    def __init__(self, samples: int, latent: int, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})
        self.samples, self.latent = samples, latent

    def build(self, shape):
        self.noise = self.add_weight(name="noise", shape=(self.samples, 2, self.latent), trainable=False)

    def call(self, like):
        rows = ops.reshape(ops.convert_to_tensor(self.noise), (2 * self.samples, 1, self.latent))
        return [ops.broadcast_to(rows[row], (ops.shape(like)[0], self.latent)) for row in range(2 * self.samples)]

    def get_config(self):
        return super().get_config() | {"samples": self.samples, "latent": self.latent}


@keras.saving.register_keras_serializable("tf_ssgn")
class UnitSum(layers.Layer):
    """The sum of codes, all but the first times `weight`, scaled to length 1."""

    def __init__(self, weight: float = 1.0, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})
        self.weight = weight

    def call(self, codes):
        return unit(codes[0] + self.weight * sum(codes[1:])) if len(codes) > 1 else unit(codes[0])

    def get_config(self):
        return super().get_config() | {"weight": self.weight}
