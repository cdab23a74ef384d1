"""Views of an image: the square a backbone sees, and fixed variations of it to average over. TensorFlow ops only.

View i is always the same transform, so an embedding over views is as repeatable as one of a single view.
"""

from __future__ import annotations

import math

import tensorflow as tf

# Part of every model's fingerprint and of the feature cache's key: raise it with any change that moves a pixel.
PREPROCESSING_VERSION = 1
MOST_VIEWS = 15
MARGIN = 0.05  # white around the ink, on each side, as a share of the ink's longer side
SMALLEST_CROP = 0.25  # of the image's longer side: a dot is not blown up to a disc
INK = 0.25  # of the contrast below the lightest pixel is ink; keeps grey pencil, leaves JPEG noise
PHOTO_CROP = 0.85  # side of a photo's crop as a share of the photo's

# View 0 is the plain one. A sketch's view: (from the ink crop?, mirrored?, degrees, scale, shift x, shift y in sides).
SKETCH_VIEWS = (
    (False, False, 0.0, 1.00, 0.00, 0.00),
    (True, False, 0.0, 1.00, 0.00, 0.00),
    (False, True, 0.0, 1.00, 0.00, 0.00),
    (True, True, 0.0, 1.00, 0.00, 0.00),
    (False, False, 6.0, 1.05, 0.00, 0.00),
    (False, True, -6.0, 1.05, 0.00, 0.00),
    (True, False, -6.0, 0.95, 0.00, 0.00),
    (True, True, 6.0, 0.95, 0.00, 0.00),
    (False, False, -10.0, 0.90, 0.00, 0.00),
    (False, True, 10.0, 0.90, 0.00, 0.00),
    (True, False, 10.0, 0.90, 0.00, 0.00),
    (True, True, -10.0, 0.90, 0.00, 0.00),
    (False, False, 3.0, 1.10, 0.05, 0.03),
    (False, True, -3.0, 1.10, -0.05, 0.03),
    (True, False, 3.0, 0.90, -0.05, -0.05),
    (True, True, -3.0, 0.90, 0.05, 0.05),
)

# A photo's crop: (mirrored?, top, left), the last two as shares of the room that a crop of PHOTO_CROP leaves.
PHOTO_CROPS = (
    (False, 0.5, 0.5),
    (True, 0.5, 0.5),
    (False, 0.0, 0.0),
    (True, 1.0, 1.0),
    (False, 0.0, 1.0),
    (True, 1.0, 0.0),
    (False, 1.0, 0.0),
    (True, 0.0, 1.0),
    (False, 1.0, 1.0),
    (True, 0.0, 0.0),
    (False, 0.0, 0.5),
    (True, 0.0, 0.5),
    (False, 1.0, 0.5),
    (True, 1.0, 0.5),
)


def sketch_views(image: tf.Tensor, size: int, views: int) -> tf.Tensor:
    """The sketch uint8 [H, W, 3], padded with white to a square and resized, then `views` (0 to 15) variations.

    Returns float32 [1 + views, size, size, 3] in 0 to 255. 1 is the ink with a small margin, 2 the mirror image; then
    turns within 10 degrees, scales of 0.9 to 1.1 and shifts within 5 % of plain, cropped and mirrored sketches.
    """
    _check(views)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    longest = tf.reduce_max(sides)
    plain = _square(image, (sides - longest) / 2, longest, size)
    if views == 0:
        return plain[tf.newaxis]
    table = SKETCH_VIEWS[: 1 + views]
    bases = tf.gather(tf.stack([plain, _square(image, *_ink_box(image), size)]), [int(row[0]) for row in table])
    return _warp(bases, [_affine(size, *row[1:]) for row in table])


def photo_views(image: tf.Tensor, size: int, views: int) -> tf.Tensor:
    """The photo uint8 [H, W, 3], squashed to a square as published benchmarks do, then `views` (0 to 15) variations.

    Returns float32 [1 + views, size, size, 3] in 0 to 255. 1 is the mirror image, 2 the centre crop of 85 %; then
    the same mirrored and crops of the corners and edges.
    """
    _check(views)
    plain = _squash(image, size)
    found = [plain, plain[:, ::-1]][: 1 + views]
    if views > 1:
        # Crops of one larger square need no further resampling.
        room = round(size / PHOTO_CROP) - size
        larger = _squash(image, size + room)
        for mirrored, top, left in PHOTO_CROPS[: views - 1]:
            y, x = round(top * room), round(left * room)
            crop = larger[y : y + size, x : x + size]
            found.append(crop[:, ::-1] if mirrored else crop)
    return tf.stack(found)


def _check(views: int) -> None:
    if not 0 <= views <= MOST_VIEWS:
        raise ValueError(f"received {views} views, expected 0 to {MOST_VIEWS}")


def _squash(image: tf.Tensor, size: int) -> tf.Tensor:
    resized = tf.image.resize(image, [size, size], method="bilinear", antialias=True)
    return tf.ensure_shape(resized, [size, size, 3])


def _square(image: tf.Tensor, corner: tf.Tensor, side: tf.Tensor, size: int) -> tf.Tensor:
    """The square of the image at `corner` (y, x) with that side, in pixels, resized; white where it leaves the image.

    One op pads, crops and resizes: a 8192 x 976 drawing is never padded to 8192 x 8192.
    """
    scale = tf.cast(size, tf.float32) / side
    # The op fills with 0 outside the image, so the drawing is handed over as ink, white being 0.
    ink = tf.raw_ops.ScaleAndTranslate(
        images=255 - image[tf.newaxis],
        size=[size, size],
        scale=tf.stack([scale, scale]),
        translation=-corner * scale,
        kernel_type="triangle",
        antialias=True,
    )
    return tf.ensure_shape(255.0 - ink[0], [size, size, 3])


def _ink_box(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Corner (y, x) and side, float32 pixels, of the square around the ink; the whole image where nothing is drawn."""
    darkness = tf.reduce_min(image, axis=2)
    dark, light = tf.cast(tf.reduce_min(darkness), tf.float32), tf.cast(tf.reduce_max(darkness), tf.float32)
    ink = darkness < tf.cast(tf.math.ceil(light - INK * (light - dark)), tf.uint8)

    def extent(axis: int) -> tuple[tf.Tensor, tf.Tensor]:
        inked = tf.reduce_any(ink, axis=1 - axis)
        count = tf.size(inked)
        first = tf.argmax(inked, output_type=tf.int32)
        last = count - tf.argmax(inked[::-1], output_type=tf.int32)
        return tf.cast(first, tf.float32), tf.cast(last, tf.float32)

    (top, bottom), (left, right) = extent(0), extent(1)
    longest = tf.cast(tf.reduce_max(tf.shape(image)[:2]), tf.float32)
    side = tf.maximum(tf.maximum(bottom - top, right - left) * (1 + 2 * MARGIN), SMALLEST_CROP * longest)
    return tf.stack([(top + bottom - side) / 2, (left + right - side) / 2]), side


def _affine(size: int, mirrored: bool, degrees: float, scale: float, shift_x: float, shift_y: float) -> list[float]:
    """Row of `ImageProjectiveTransformV3`: where in the input an output pixel comes from, about the centre."""
    centre = (size - 1) / 2
    cosine, sine = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    flip = -1.0 if mirrored else 1.0
    a, b, c, d = flip * cosine, flip * sine, -sine, cosine
    x, y = centre + shift_x * size, centre + shift_y * size
    return [a, b, centre - a * x - b * y, c, d, centre - c * x - d * y, 0.0, 0.0]


def _warp(images: tf.Tensor, transforms: list[list[float]]) -> tf.Tensor:
    """Each image float32 [n, S, S, 3] through its own transform, bilinear, white outside."""
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.constant(transforms, tf.float32),
        output_shape=tf.constant(images.shape[1:3].as_list(), tf.int32),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=255.0,
    )
    return tf.ensure_shape(warped, images.shape)
