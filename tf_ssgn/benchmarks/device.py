"""Training where there is an accelerator, on the JAX backend: images/s, and the share of the device's own speed.

    KERAS_BACKEND=jax python -m tf_ssgn.bench device --full

Weights are drawn at random, which cost what trained ones do. The device's own speed is that of a large matrix product
in the same precision, measured in the same run.
"""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn import config as configuration
from tf_ssgn.benchmarks import best, noting
from tf_ssgn.benchmarks.train import CLASSES, made_up_trainer
from tf_ssgn.errors import UserError

DINOV2 = "DINOv2 ViT-S"
NETWORKS = {"VGG16": "vgg16", "MobileNetV2": "mobilenet_v2"}
SHAPE = {"patch_size": 14, "num_layers": 12, "hidden_dim": 384, "num_heads": 6, "intermediate_dim": 1536}
SMALL_SHAPE = {"patch_size": 8, "num_layers": 2, "hidden_dim": 12, "num_heads": 2, "intermediate_dim": 16}
PRECISIONS = ("float32", "mixed_bfloat16")
BACKWARD = 3  # times the work of a forward pass, with itself: a gradient for the weights, one for the input


def run(full: bool) -> dict[str, Any]:
    """Measures and prints, for every network trained and frozen in both precisions.

    Returns:
        name -> images/s, TFLOP/s, and their `share` of the device's own.
    """
    import keras

    if keras.backend.backend() != "jax":
        raise UserError(f"received Keras on {keras.backend.backend()}, expected JAX: set KERAS_BACKEND=jax")
    import jax

    size, pairs, side, rounds = (224, 64, 8192, 20) if full else (32, 2, 128, 1)
    figures: dict[str, Any] = {"device": str(jax.devices()[0].device_kind)}
    note = noting(figures, 44)
    with tempfile.TemporaryDirectory() as folder:
        networks = dict(NETWORKS) if full else {}
        networks[DINOV2] = _dinov2(Path(folder), size, SHAPE if full else SMALL_SHAPE)
        for precision in PRECISIONS:
            own = _matrix_product(side, precision, rounds)
            note(f"matrix product, {precision}", {"tflops": own / 1e12})
            for (name, backbone), trained in itertools.product(networks.items(), (True, False)):
                speed, work = _network(backbone, trained, precision, size, pairs, rounds, full)
                rates = {"images_per_s": speed, "tflops": speed * work / 1e12, "share": speed * work / own}
                note(f"{name}, {'fine-tuned' if trained else 'frozen'}, {precision}", rates)
    return figures


def _dinov2(folder: Path, size: int, shape: dict[str, int]) -> str:
    """A random network of that shape as a preset in a folder; returns the backbone's name."""
    import keras_hub

    sides = (size, size, 3)
    keras_hub.models.DINOV2Backbone(**shape, image_shape=sides, position_embedding_shape=sides).save_to_preset(
        str(folder)
    )
    keras_hub.layers.DINOV2ImageConverter((size, size), scale=1 / 127.5, offset=-1.0).save_to_preset(str(folder))
    return f"{configuration.HUB}{folder}"


def _network(
    backbone: str, trained: bool, precision: str, size: int, pairs: int, rounds: int, stages: bool
) -> tuple[float, float]:
    """Images/s of a training step of SSGN, with its `stages` or without, with the whole backbone, or of the frozen
    backbone; FLOPs of an image."""
    import jax
    from keras import ops

    from tf_ssgn.runtime.features import jitted

    fields = {"model.backbone": backbone, "data.image_size": size, "training.precision": precision}
    fields |= {"model.weights": "none", "model.taps": (), "training.finetune_from": "all" if trained else ""}
    fields |= {"model.coarse": stages, "model.fine": stages}
    trainer = made_up_trainer(configuration.override(configuration.preset("sketchy"), fields))
    images = np.random.default_rng(0).uniform(0, 255, (2 * pairs, size, size, 3)).astype(np.float32)
    network = trainer.backbone
    values = [
        [variable.value for variable in side] for side in (network.trainable_variables, network.non_trainable_variables)
    ]
    lowered = jax.jit(lambda values, x: network.stateless_call(*values, x, training=False)[0]).lower(values, images)
    work = lowered.cost_analysis()["flops"] / len(images)
    if not trained:
        forward = jitted(network)
        return len(images) / best(rounds, lambda: forward(images))[0], work
    batch = {"sketch": ops.array(images[:pairs]), "photo": ops.array(images[pairs:])}
    batch["label"] = ops.array(np.arange(pairs, dtype=np.int32) % CLASSES)
    return len(images) / best(rounds, lambda: trainer.train_on_batch(batch))[0], BACKWARD * work


def _matrix_product(side: int, precision: str, rounds: int) -> float:
    """FLOPs a second of a product of two square matrices."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((side, side), jnp.float32 if precision == "float32" else jnp.bfloat16)
    product = jax.jit(lambda x: x @ x)
    return 2 * side**3 / best(rounds, lambda: product(matrix).block_until_ready())[0]
