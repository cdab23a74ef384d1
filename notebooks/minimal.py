"""SSGN in one file: from images to mAP, with Keras and NumPy alone. Read this first.

    python notebooks/minimal.py        # some minutes on two cores

The drawn dataset has pairs of sketches and photos of 32 kinds of things. The model trains on the seen classes and is
asked for photos of the unseen ones. What each part is for: docs/student.md. The package does the same with real
backbones, validation classes, caches and files; the parts here have the names that they have there.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers, ops

from tf_ssgn.data.drawing.dataset import write_dataset

SIZE = 64  # side of an image in pixels
CODE, HIDDEN, LATENT = 128, 128, 16  # sizes of a code, of the hidden layers, of the noise z
DRAWS = 4  # noise draws averaged into a retrieval code
TEMPERATURE = 0.07  # cosines are divided by it before a softmax
STEP, RIDGE = 0.01, 0.02  # of the decoders' networks, and how strongly the guides are held back
WEIGHTS = {"reconstruction": 1.0, "kl": 0.01, "regression": 1.0, "classification": 1.0, "semantic": 1.0}


def read(data, modality, classes):
    """Images uint8 [N, S, S, 3], their classes [N], and the stems of their file names."""
    files = [(c, file) for c, name in enumerate(classes) for file in sorted((data / modality / name).iterdir())]
    images = [keras.utils.img_to_array(keras.utils.load_img(file, target_size=(SIZE, SIZE))) for _, file in files]
    return np.stack(images).astype("uint8"), np.array([c for c, _ in files], "int32"), [file.stem for _, file in files]


def class_vectors(data, seen):
    """Unit vectors [C, s], made from the names of the classes, about their mean: what all share tells nothing."""
    with np.load(data / "semantics.npz") as stored:
        known = dict(zip(stored["names"].tolist(), stored["vectors"], strict=True))
    rows = np.stack([known[name] / np.linalg.norm(known[name]) for name in seen])
    rows -= rows.mean(axis=0)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("float32")


def unit(x):
    """Every code is a unit vector, so that an inner product is a cosine."""
    return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12))


def build_backbone():
    """Images to taps [B, D]: the averages of its last three feature maps. Small, and trained from scratch."""
    image = keras.Input((SIZE, SIZE, 3))
    x, taps = layers.Rescaling(1 / 127.5, -1.0)(image), []
    for width in (24, 48, 96, 128):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
        taps.append(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Concatenate()(taps[1:]), name="backbone")


def network(inputs, outputs, start="glorot_uniform"):
    """One hidden layer from vectors of some sizes to vectors of others."""
    parts = [keras.Input((size,)) for size in inputs]
    x = layers.Dense(HIDDEN, activation="gelu")(layers.Concatenate()(parts) if len(parts) > 1 else parts[0])
    out = [layers.Dense(size, kernel_initializer=start)(x) for size in outputs]
    return keras.Model(parts, out if len(out) > 1 else out[0])


class SSGN(keras.Model):
    """image -> taps -> h, the sketch's code -> a_hat, its class -> coarse code -> fine code: that of its photo."""

    def __init__(self, vectors):
        super().__init__()
        classes, s = vectors.shape
        self.backbone = build_backbone()
        self.standardise = {side: layers.BatchNormalization(scale=False, center=False) for side in ("sketch", "photo")}
        self.mix = layers.Dense(CODE, use_bias=False)  # one projection for both modalities: one space
        self.project, self.regress = network([CODE], [s]), network([CODE], [s])
        self.coarse_posterior = network([CODE, s], [LATENT, LATENT])
        self.coarse_decoder = network([LATENT, s], [CODE], "zeros")
        self.fine_posterior = network([CODE, CODE, CODE], [LATENT, LATENT])
        self.fine_decoder = network([LATENT, CODE, CODE], [CODE], "zeros")
        self.prototypes = self.add_weight(name="prototypes", shape=(classes, CODE), initializer="glorot_uniform")
        self.vectors, self.seed = ops.convert_to_tensor(vectors), keras.random.SeedGenerator(0)
        self.noise = np.random.default_rng(0).standard_normal((DRAWS, 2, LATENT)).astype("float32")
        self.coarse_guide, self.fine_guide = np.zeros((s, CODE), "float32"), np.zeros((2 * CODE, CODE), "float32")

    def fuse(self, image, side, training=False):
        taps = self.backbone(ops.cast(image, "float32"), training=training)
        return unit(self.mix(self.standardise[side](taps, training=training)))

    # Both decoders say what to add to the sketch's code: a small step of a network, and the guide, a linear map.
    def coarse(self, z, a, h):
        return unit(h + STEP * self.coarse_decoder([z, a]) + ops.matmul(a, self.coarse_guide))

    def fine(self, z, x_c, h):
        given = ops.concatenate([h, x_c], axis=1)
        return unit(h + STEP * self.fine_decoder([z, h, x_c]) + ops.matmul(given, self.fine_guide))

    def draw(self, mean, log_variance):
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seed)

    def call(self, batch, training=False):
        """The loss terms of pairs of seen classes: `sketch` and `photo` [B, S, S, 3], `label` [B]."""
        label, a = batch["label"], ops.take(self.vectors, batch["label"], axis=0)
        sketch, photo = (self.fuse(batch[side], side, training) for side in ("sketch", "photo"))
        h, target = ops.stop_gradient(sketch), ops.stop_gradient(photo)  # the decoders do not shape the codes
        centre = unit(ops.matmul(ops.cast(label[:, None] == label[None], "float32"), target))  # of the class
        a_hat = unit(self.project(h))

        # The path of a conditional VAE: draws of the posterior, the true class vector.
        moments = [self.coarse_posterior([centre, a])]
        x_c = self.coarse(self.draw(*moments[0]), a, h)
        moments.append(self.fine_posterior([target, h, x_c]))
        x_f = self.fine(self.draw(*moments[1]), x_c, h)
        # The path of test time: draws of the prior, the predicted class vector.
        zero = ops.zeros((ops.shape(h)[0], LATENT))
        coarse = self.coarse(self.draw(zero, zero), a_hat, h)
        fine = self.fine(self.draw(zero, zero), coarse, h)

        def classify(code):
            logits = ops.matmul(code, ops.transpose(unit(self.prototypes))) / TEMPERATURE
            return ops.mean(keras.losses.sparse_categorical_crossentropy(label, logits, from_logits=True))

        return {
            "reconstruction": ops.mean(ops.sum((x_c - centre) ** 2 + (x_f - target) ** 2, axis=1)),
            "kl": sum(ops.mean(0.5 * ops.sum(m**2 + ops.exp(v) - 1.0 - v, axis=1)) for m, v in moments),
            "regression": sum(ops.mean(1.0 - ops.sum(unit(self.regress(x)) * a, axis=1)) for x in (coarse, fine)),
            "classification": sum(classify(code) for code in (sketch, photo, coarse, fine)) / 4,
            "semantic": ops.mean(1.0 - ops.sum(a_hat * a, axis=1)),
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return sum(weight * y_pred[name] for name, weight in WEIGHTS.items())

    def retrieve(self, h):
        """Codes of sketches [N, d] to what each stage makes of them: the mean of the codes of all draws."""
        h, coarse, fine = ops.convert_to_tensor(h), [], []
        a_hat = unit(self.project(h))
        for draws in self.noise:
            z1, z2 = (ops.convert_to_tensor(np.tile(z, (len(h), 1))) for z in draws)
            coarse.append(self.coarse(z1, a_hat, h))
            fine.append(self.fine(z2, coarse[-1], h))
        return [ops.convert_to_numpy(code) for code in (a_hat, h, unit(sum(coarse)), unit(sum(fine)))]

    def solve_guides(self, h, coarse_target, fine_target):
        """Ridge regression from what a stage is given to what it lacks: what all seen classes agree on."""

        def ridge(x, lacks):
            gram = x.T @ x / len(x) + RIDGE * np.eye(x.shape[1])
            return np.linalg.solve(gram, x.T @ lacks / len(x)).astype("float32")

        a_hat, _, coarse, _ = self.retrieve(h)
        self.coarse_guide = ridge(a_hat, coarse_target - coarse)
        _, _, coarse, fine = self.retrieve(h)
        self.fine_guide = ridge(np.concatenate([h, coarse], axis=1), fine_target - fine)


def mean_average_precision(queries, query_labels, gallery, gallery_labels):
    """For each sketch the precision at every place where a photo of its class stands, averaged; the mean of that."""
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    right = gallery_labels[order] == query_labels[:, None]
    precision = right.cumsum(axis=1) / np.arange(1, right.shape[1] + 1)
    return float(((precision * right).sum(axis=1) / right.sum(axis=1)).mean())


def main(images=40, epochs=12):
    """Draws the data, trains, and returns mAP@all on unseen classes: of the sketch's own code and of both stages."""
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_dataset(data, photos_per_class=images, sketches_per_class=images, size=SIZE)
        split = json.loads((data / "split.json").read_text())
        vectors = class_vectors(data, split["seen"])
        sketches, labels, names = read(data, "sketch", split["seen"])
        photos, photo_labels, stems = read(data, "photo", split["seen"])
        tests = {side: read(data, side, split["unseen"])[:2] for side in ("sketch", "photo")}
    # A sketch called <photo>-<n> was drawn from that photo: the pair that the fine stage learns from.
    rows = {(label, stem): row for row, (label, stem) in enumerate(zip(photo_labels, stems, strict=True))}
    own = np.array([rows[label, name.rpartition("-")[0]] for label, name in zip(labels, names, strict=True)])

    model = SSGN(vectors)
    model.compile(optimizer=keras.optimizers.AdamW(2e-3, weight_decay=1e-4, global_clipnorm=1.0))
    pairs = {"sketch": sketches, "photo": photos[own], "label": labels}
    for side in ("sketch", "photo"):
        model.fuse(pairs[side][:1], side)  # makes the last variables: else Keras traces a step twice
    model.optimizer.build(model.trainable_variables)
    model.fit(pairs, batch_size=64, epochs=epochs, verbose=2)

    def codes(pictures, side):
        parts = [model.fuse(pictures[i : i + 256], side) for i in range(0, len(pictures), 256)]
        return np.concatenate([ops.convert_to_numpy(part) for part in parts])

    known = codes(photos, "photo")
    centres = np.stack([known[photo_labels == c].mean(axis=0) for c in range(len(vectors))])
    model.solve_guides(codes(sketches, "sketch"), ops.convert_to_numpy(unit(centres))[labels], known[own])

    (queries, query_labels), (pictures, picture_labels) = tests["sketch"], tests["photo"]
    gallery, stages = codes(pictures, "photo"), model.retrieve(codes(queries, "sketch"))[1:]
    names = ("the sketch's own code", "coarse stage", "fine stage")
    return {
        name: mean_average_precision(code, query_labels, gallery, picture_labels)
        for name, code in zip(names, stages, strict=True)
    }


if __name__ == "__main__":
    for stage, value in main(*map(int, sys.argv[1:])).items():
        print(f"mAP@all on unseen classes, {stage}: {value:.3f}")
