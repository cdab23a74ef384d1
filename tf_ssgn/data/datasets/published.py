"""The published datasets: how many classes, sketches and photos they have, what to get, and where it belongs."""

from dataclasses import dataclass

from tf_ssgn.data.datasets.splits import published as published_splits


@dataclass(frozen=True)
class Published:
    """Counts as published; they may differ by the share `slack`, where they are published rounded.

    `sketches_per_class` is 0 where classes differ, `photos_twice` the photos where Sketchy's originals are listed
    twice, as in the published file lists; `..._place` is what to get and the folder it belongs in.
    """

    sketches: int
    photos: int
    sketch_place: str
    photo_place: str
    sketches_per_class: int = 0
    photos_twice: int = 0
    slack: float = 0.0


@dataclass(frozen=True)
class Counts:
    """Queries and gallery of a split's zero-shot test; `gallery_twice` counts Sketchy's originals twice."""

    queries: int
    gallery: int
    gallery_twice: int = 0


DATASETS: dict[str, Published] = {
    "sketchy": Published(
        sketches=75_479,
        photos=73_002,
        photos_twice=85_502,
        sketch_place="the Sketchy Database's sketches of 256x256 pixels: 256x256/sketch/tx_000000000000/<class>/*.png",
        photo_place="the photos of Sketchy-Extended: EXTEND_image_sketchy/<class>/*.jpg "
        "(the 12,500 of the Sketchy Database: 256x256/photo/tx_000000000000/<class>/*.jpg)",
    ),
    "tuberlin": Published(
        sketches=20_000,
        photos=204_489,
        sketches_per_class=80,
        sketch_place="the TU-Berlin sketches as PNG: png/<class>/*.png",
        photo_place="the photos of TU-Berlin-Extended: ImageResized/<class>/*.jpg",
    ),
    "quickdraw": Published(
        sketches=330_000,
        photos=204_000,
        slack=0.01,
        sketch_place="the sketches of QuickDraw-Extended: sketches/<class>/*.png",
        photo_place="the photos of QuickDraw-Extended: images/<class>/*.jpg",
    ),
}

SPLIT_COUNTS: dict[str, Counts] = {
    "sketchy-25": Counts(15_229, 14_601, 17_101),
    "sketchy-21": Counts(12_694, 10_453, 12_553),
    "tuberlin-30": Counts(2_400, 27_989),
    "quickdraw-30": Counts(92_291, 54_151),
}


def classes_of(dataset: str) -> list[str]:
    """The class names of a published dataset, as its splits spell them, sorted."""
    split = next(split for split in published_splits().values() if split["dataset"] == dataset)
    return sorted(split["seen"] + split["validation"] + split["unseen"])
