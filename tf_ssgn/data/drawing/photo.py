"""A photo-like picture of a drawn object: light, shade, texture, colour, a background and a camera."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tf_ssgn.data.drawing.figure import PAINTS, Part
from tf_ssgn.data.drawing.instance import Instance, new_instance, placed, surfaces
from tf_ssgn.data.drawing.noise import FLOAT, noise_field


def draw_photo(label: str, rng: np.random.Generator, size: int, instance: Instance | None = None) -> Image.Image:
    """An RGB picture [size, size] of a class, or of one `instance` of it: shaded, textured, on a background."""
    instance = instance or new_instance(label, rng)
    side = 2 * size
    shift = (rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7))
    parts, scale = placed(instance.parts, side, instance.tilt, rng.uniform(0.64, 0.9), shift)
    noise = noise_field(rng, side, (4, 12, 40, side // 2), (0.5, 0.3, 0.25, 0.2))
    canvas = _background(rng, side, np.mean([part.paint for part in _largest(parts)], axis=0), noise)
    _shadow(canvas, parts, rng, scale)
    angle = rng.uniform(np.radians(200), np.radians(340))
    light = np.array([np.cos(angle), np.sin(angle)], FLOAT)
    relief, grain = rng.uniform(0.5, 1.0), rng.uniform(0.08, 0.22)
    for surface in surfaces(parts):
        _paint(canvas, surface, light, relief, grain, noise, scale)
    rows = canvas[::2] + canvas[1::2]
    halves = (rows[:, ::2] + rows[:, 1::2]) * FLOAT(0.25)
    exposure = (rng.uniform(0.88, 1.1) * (1 + rng.uniform(-0.05, 0.05, 3))).astype(FLOAT)
    ramp = np.linspace(-1, 1, size, dtype=FLOAT)
    down, across = FLOAT(rng.uniform(-0.12, 0.12)), FLOAT(rng.uniform(-0.12, 0.12))
    halves *= exposure * (1 + down * ramp[:, None] + across * ramp)[..., None]
    halves += rng.standard_normal((size, size, 1), dtype=FLOAT) * FLOAT(rng.uniform(0.005, 0.03))
    picture = Image.fromarray((np.clip(halves, 0, 1) * 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 0.6) * size / 96))


def _largest(parts: list[Part]) -> list[Part]:
    """The two largest filled parts: what a background has to differ from."""
    return sorted((p for p in parts if p.closed), key=lambda p: -float(np.ptp(p.outline, axis=0).prod()))[:2]


def _background(rng: np.random.Generator, side: int, subject: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Sky over ground, a wall, a textured or a cluttered scene, float32 [side, side, 3]; not the subject's colour."""
    names = list(PAINTS)

    def colour() -> np.ndarray:
        for _ in range(12):
            soft = 0.45 * np.array(PAINTS[names[rng.integers(len(names))]]) + 0.55 * rng.uniform(0.25, 0.9)
            if np.abs(soft - subject).sum() > 0.55:
                break
        return soft.astype(FLOAT)

    first, second = colour(), colour()
    ramp = np.linspace(0, 1, side, dtype=FLOAT)
    kind = rng.integers(4)
    if kind == 0:
        share = 0.5 + 0.5 * np.tanh((ramp - rng.uniform(0.5, 0.8)) * rng.uniform(5, 60))
        canvas = first + (second - first) * share[:, None, None].astype(FLOAT)
        canvas = np.repeat(canvas, side, axis=1)
    elif kind == 1:
        slope = rng.uniform(-1, 1, 2)
        share = np.clip(0.5 + slope[0] * (ramp[:, None] - 0.5) + slope[1] * (ramp[None, :] - 0.5), 0, 1).astype(FLOAT)
        canvas = first + (second - first) * share[..., None]
    elif kind == 2:
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.06, 0.25)
        wave = np.sin(
            (ramp[:, None] * np.sin(angle) + ramp[None, :] * np.cos(angle) + 0.05 * noise) * 2 * np.pi / period
        )
        canvas = first * (1 + FLOAT(rng.uniform(0.03, 0.1)) * wave[..., None].astype(FLOAT))
    else:
        canvas = _clutter(rng, side, [first, second, colour(), colour()])
    return canvas * (1 + FLOAT(rng.uniform(0.06, 0.25)) * noise[..., None])


def _clutter(rng: np.random.Generator, side: int, colours: list[np.ndarray]) -> np.ndarray:
    """Things out of focus; coarse, since they are blurred anyway."""
    coarse = side // 4
    scene = Image.new("RGB", (coarse, coarse), _rgb(colours[0]))
    draw = ImageDraw.Draw(scene)
    for _ in range(rng.integers(5, 14)):
        x, y, w, h = (rng.uniform((-0.2, -0.2, 0.1, 0.1), (0.9, 0.9, 0.5, 0.5)) * coarse).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + w, y + h), fill=_rgb(colours[rng.integers(1, len(colours))] * rng.uniform(0.8, 1.15)))
    blurred = scene.filter(ImageFilter.GaussianBlur(coarse * rng.uniform(0.012, 0.04)))
    return np.asarray(blurred.resize((side, side), Image.Resampling.BICUBIC), FLOAT) / FLOAT(255)


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.clip(colour, 0, 1) * 255)
    return red, green, blue


def _mask(surface: list[Part], side: tuple[int, int], offset: np.ndarray) -> Image.Image:
    mask = Image.new("L", side)
    draw = ImageDraw.Draw(mask)
    for part in surface:
        points = [tuple(point) for point in (part.outline - offset).tolist()]
        if part.closed:
            draw.polygon(points, fill=255)
        else:
            draw.line(points, fill=255, width=max(2, round(part.width)), joint="curve")
    return mask


def _shadow(canvas: np.ndarray, parts: list[Part], rng: np.random.Generator, scale: float) -> None:
    """Darkens the background beside the object, softly."""
    side = canvas.shape[0] // 4
    small = [replace(part, outline=part.outline / 4, width=part.width / 4) for part in parts]
    drop = -rng.uniform((-0.08, 0.02), (0.08, 0.1)) * scale / 4
    mask = _mask(small, (side, side), drop).filter(ImageFilter.GaussianBlur(0.03 * scale / 4))
    soft = np.asarray(mask.resize((canvas.shape[1], canvas.shape[0]), Image.Resampling.BILINEAR), FLOAT)
    canvas *= 1 - FLOAT(rng.uniform(0.15, 0.55) / 255) * soft[..., None]


def _paint(
    canvas: np.ndarray,
    surface: list[Part],
    light: np.ndarray,
    relief: float,
    grain: float,
    noise: np.ndarray,
    scale: float,
) -> None:
    """Lays one surface on the canvas, rounded at its edges as if lit from `light`."""
    points = np.concatenate([part.outline for part in surface])
    pad = 2 + max((part.width for part in surface if not part.closed), default=0)
    low = np.maximum(np.floor(points.min(axis=0) - pad), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + pad), canvas.shape[0]).astype(int)
    width, height = (high - low).tolist()
    if width < 1 or height < 1:
        return
    mask = _mask(surface, (width, height), low.astype(float))
    alpha = np.asarray(mask, FLOAT) / FLOAT(255)
    view = (slice(low[1], high[1]), slice(low[0], high[0]))
    shade: np.ndarray = 1 + FLOAT(grain) * noise[view]
    if surface[0].closed and min(width, height) > 8:
        radius = float(np.clip(0.16 * min(width, height), 2, 0.16 * scale))
        padded = Image.new("L", (width + 8, height + 8))
        padded.paste(mask, (4, 4))
        bulge = (
            np.asarray(padded.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius / 2)), FLOAT)[
                3:-3, 3:-3
            ]
            / 255
        )
        slope_x, slope_y = bulge[1:-1, 2:] - bulge[1:-1, :-2], bulge[2:, 1:-1] - bulge[:-2, 1:-1]
        facing = -(light[0] * slope_x + light[1] * slope_y) * FLOAT(radius)
        shade += FLOAT(relief) * (FLOAT(0.5) * (bulge[1:-1, 1:-1] - FLOAT(0.8)) + FLOAT(0.55) * facing)
    colour = np.array(surface[0].paint, FLOAT) * shade[..., None]
    patch = canvas[view]
    patch += (colour - patch) * alpha[..., None]
