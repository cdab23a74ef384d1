"""Views of an image: the square a backbone sees, and fixed variations of it to average over. TensorFlow ops only.

View i is always the same transform, so an embedding over views is as repeatable as one of a single view.
"""

import math

import tensorflow as tf

from tf_ssgn.settings import MOST_VIEWS

MARGIN = 0.05  # white around the ink, on each side, as a share of the ink's longer side
SMALLEST_CROP = 0.25  # of the image's longer side: a dot is not blown up to a disc
INK = 0.25  # of the contrast below the lightest pixel is ink; keeps grey pencil, leaves JPEG noise
PHOTO_CROP = 0.85  # side of a photo's crop as a share of the photo's

# Affine views of a sketch: (of the ink crop?, degrees, scale, shift x and y in sides, strokes). Each is followed by its
# mirror image, which is the same as mirroring first and costs nothing. Bold and shaded strokes excite the backbone in
# other ways than thin ones, so that an average over all of them says more than one over turns alone.
SKETCH_WARPS = (
    (False, 6.0, 1.05, 0.00, 0.00, "shaded"),
    (True, -6.0, 0.95, 0.00, 0.00, "bold"),
    (False, -10.0, 0.90, 0.00, 0.00, "bold"),
    (True, 10.0, 0.90, 0.00, 0.00, "shaded"),
    (False, 3.0, 1.10, 0.05, 0.03, "plain"),
    (True, 3.0, 0.90, -0.05, -0.05, "plain"),
)
THICKER = 1 / 224  # of a side: what a bold stroke gains on either side
SHADE = 5 / 224  # of a side: reach of the shade around a stroke, which is laid twice
SHADED = 0.5  # strength of the stroke, and of its shade

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


@tf.autograph.experimental.do_not_convert
def sketch_views(image: tf.Tensor, size: int, views: int) -> tf.Tensor:
    """The sketch uint8 [H, W, 3], padded with white to a square and resized, then `views` (0 to 15) variations.

    Returns float32 [1 + views, size, size, 3] in 0 to 255. 1 is the ink with a small margin, 2 and 3 are the mirror
    images of 0 and 1; then turns within 10 degrees, scales of 0.9 to 1.1 and shifts within 5 %, some with bold or
    shaded strokes, each and mirrored.
    """
    _check(views)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    longest = tf.reduce_max(sides)
    plain = _square(image, (sides - longest) / 2, longest, size)
    if views == 0:
        return plain[tf.newaxis]
    bases = tf.stack([plain, _square(image, *_ink_box(image), size)])
    variants = [bases, _mirrored(bases)]
    if views > 3:
        table = SKETCH_WARPS[: (views - 2) // 2]
        warped = _warp(tf.gather(bases, [int(row[0]) for row in table]), [_affine(size, *row[1:5]) for row in table])
        drawn = tf.stack(
            [STROKES[row[5]](one[tf.newaxis])[0] for row, one in zip(table, tf.unstack(warped), strict=True)]
        )
        pairs = tf.stack([drawn, _mirrored(drawn)], axis=1)
        variants.append(tf.reshape(pairs, [-1, size, size, 3]))
    return tf.concat(variants, axis=0)[: 1 + views]


@tf.autograph.experimental.do_not_convert
def photo_views(image: tf.Tensor, size: int, views: int) -> tf.Tensor:
    """The photo uint8 [H, W, 3], squashed to a square as published benchmarks do, then `views` (0 to 15) variations.

    Returns float32 [1 + views, size, size, 3] in 0 to 255. 1 is the mirror image, 2 the centre crop of 85 %; then
    the same mirrored and crops of the corners and edges.
    """
    _check(views)
    plain = _squash(image, size)
    variants = [plain, _mirrored(plain[tf.newaxis])[0]][: 1 + views]
    if views > 1:
        # Crops of one larger square need no further resampling.
        room = round(size / PHOTO_CROP) - size
        larger = _squash(image, size + room)
        mirrored = _mirrored(larger[tf.newaxis])[0]
        for is_mirrored, top, left in PHOTO_CROPS[: views - 1]:
            source, y, x = larger, round(top * room), round(left * room)
            if is_mirrored:
                source, x = mirrored, room - x
            variants.append(source[y : y + size, x : x + size])
    return tf.stack(variants)


def _mirrored(images: tf.Tensor) -> tf.Tensor:
    """Each image float32 [n, S, S, 3] left to right. A slice with step -1 takes twenty times as long."""
    return tf.reshape(tf.reverse(tf.reshape(images, [-1, *images.shape[2:]]), [1]), images.shape)


def _check(views: int) -> None:
    if not 0 <= views <= MOST_VIEWS:
        raise ValueError(f"received {views} views, expected 0 to {MOST_VIEWS}")


def _squash(image: tf.Tensor, size: int) -> tf.Tensor:
    resized = tf.image.resize(image, [size, size], method="bilinear", antialias=True)
    return tf.ensure_shape(resized, [size, size, 3])


def _square(image: tf.Tensor, corner: tf.Tensor, side: tf.Tensor, size: int) -> tf.Tensor:
    """The square of the image at `corner` (y, x) with that side, in pixels, resized; white where it leaves the image.
    One op pads, crops and resizes: an 8192 x 976 drawing is never padded to 8192 x 8192."""
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


def _affine(size: int, degrees: float, scale: float, shift_x: float, shift_y: float) -> list[float]:
    """Row of `ImageProjectiveTransformV3`: where in the input an output pixel comes from, about the centre."""
    centre = (size - 1) / 2
    cosine, sine = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    x, y = centre + shift_x * size, centre + shift_y * size
    return [
        *(cosine, sine, centre - cosine * x - sine * y),
        *(-sine, cosine, centre + sine * x - cosine * y),
        *(0.0, 0.0),
    ]


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


def _bold(images: tf.Tensor) -> tf.Tensor:
    """Each stroke of `[n, S, S, 3]` thicker on either side: the darkest of the pixels around."""
    width = 2 * max(1, round(THICKER * images.shape[1])) + 1
    return -tf.nn.max_pool2d(-images, width, 1, "SAME")


def _shaded(images: tf.Tensor) -> tf.Tensor:
    """Each stroke of `[n, S, S, 3]` at part of its strength, with a soft shade around it."""
    width, shade = 2 * max(1, round(SHADE * images.shape[1])) + 1, 255.0 - _bold(images)
    for window in 2 * ([width, 1], [1, width]):
        shade = tf.nn.avg_pool2d(shade, window, 1, "SAME")
    return SHADED * images + (1.0 - SHADED) * tf.minimum(images, 255.0 - shade)


STROKES = {"plain": tf.identity, "bold": _bold, "shaded": _shaded}
