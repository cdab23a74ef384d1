"""Verifies a local copy of a dataset: classes, counts, unreadable files, duplicates, and what a split makes of it."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tf_ssgn.common.names import listed, match, printable
from tf_ssgn.common.progress import track
from tf_ssgn.data.datasets.items import Dataset, Example, open_dataset
from tf_ssgn.data.datasets.published import DATASETS, SPLIT_COUNTS, Published, classes_of
from tf_ssgn.data.datasets.splits import Split, load_split, read_split
from tf_ssgn.data.folders import excluder
from tf_ssgn.data.images.picture import Unusable, opened
from tf_ssgn.errors import UserError
from tf_ssgn.settings import PHOTO_LIMITS

FOLDER = "folder"  # a dataset of one's own: nothing published to compare with


@dataclass
class Findings:
    """What `prepare check` found; complete where there are no problems.

    `counts` has `{"found": int, "published": int | None}` of classes, sketches and photos, with a split also of queries
    and gallery; `unreadable` path and reason of each file that will not decode; `duplicates` groups of paths with equal
    content. Each of the `problems` says what to do, `notes` are worth knowing.
    """

    dataset: str
    root: str
    layout: str = ""
    split: str = ""
    checksum: str = ""
    counts: dict[str, dict[str, int | None]] = field(default_factory=dict)
    missing_classes: list[str] = field(default_factory=list)
    other_classes: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {"complete": not self.problems, **asdict(self)}


def check(
    folder: str, name: str, split_name: str = "", *, duplicates: bool = False, exclude: Sequence[str] = ()
) -> Findings:
    """Looks at every file of a dataset once: `name` is one of `published.DATASETS`, or `folder` for one's own.

    With a split, its queries and gallery are counted too, and content that is both seen and unseen is looked for.
    `exclude` is as `folders.excluder` has it. UserError: no such folder, dataset or split, a glob that is none; what is
    wrong in the folder is in the report.
    """
    if name not in (*DATASETS, FOLDER):
        raise UserError(f"unknown dataset {name!r}; expected one of {', '.join((*DATASETS, FOLDER))}")
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "does not exist"
        raise UserError(f"dataset folder {printable(folder)} {what}; expected the folder that holds the dataset")
    if split_name:
        read_split(split_name)  # a mistyped split is a mistake now, not after half an hour of reading files
    excluder(exclude)  # and so is a glob that is none
    report = Findings(name, printable(os.path.abspath(folder)))
    public = DATASETS.get(name)
    try:
        dataset = open_dataset(folder, duplicates=duplicates, exclude=exclude, strict=False)
    except UserError as error:
        report.problems.append(str(error))
        places = (public.sketch_place, public.photo_place) if public else ()
        report.problems.extend(f"get {place}, below {report.root}" for place in places)
        return report
    report.layout = dataset.layout
    report.notes.extend(dataset.notes)
    _count(report, dataset, public, duplicates)
    by_content = _read_all(report, [*dataset.sketches, *dataset.photos])
    if split_name:
        _check_split(report, dataset, split_name, by_content, duplicates)
    return report


def _count(report: Findings, dataset: Dataset, public: Published | None, duplicates: bool) -> None:
    sketches, photos = len(dataset.sketches), len(dataset.photos)
    expected = (public.photos_twice if duplicates and public.photos_twice else public.photos) if public else None
    drawn = Counter(item.label for item in dataset.sketches)
    report.counts = {
        "classes": {"found": len(dataset.classes), "published": len(classes_of(report.dataset)) if public else None},
        "sketches": {"found": sketches, "published": public.sketches if public else None},
        "photos": {"found": photos, "published": expected},
    }
    if not public:
        if lacking := sorted(name for name in dataset.classes if not drawn[name]):
            report.notes.append(f"{len(lacking)} classes have no sketches: {listed(lacking)}")
        return
    wanted = classes_of(report.dataset)
    matched, report.missing_classes = match(wanted, dataset.classes)
    report.other_classes = sorted(set(dataset.classes) - set(matched.values()))
    if report.missing_classes:
        report.problems.append(
            f"{len(report.missing_classes)} classes are missing: {listed(report.missing_classes, len(wanted))}; "
            f"get their folders of sketches and of photos"
        )
    if report.other_classes:
        report.notes.append(
            f"{len(report.other_classes)} classes are not of {report.dataset}: {listed(report.other_classes)}"
        )
    for what, count, published, place in (
        ("sketches", sketches, public.sketches, public.sketch_place),
        ("photos", photos, int(expected or 0), public.photo_place),
    ):
        if abs(count - published) > public.slack * published:
            report.problems.append(
                f"{count:,} {what}, published are {'about ' if public.slack else ''}{published:,}: "
                f"{'get the missing ones' if count < published else 'remove what was added'}; {place}, "
                f"below {report.root}"
            )
    each = public.sketches_per_class
    if short := [f"{name} ({drawn[name]})" for name in matched.values() if drawn[name] < each]:
        report.problems.append(f"{len(short)} classes have fewer than {each} sketches: {listed(short, len(wanted))}")


def _read_all(report: Findings, items: Sequence[Example]) -> dict[bytes, list[Example]]:
    """Reads each file once; fills in what is unreadable or there twice, and returns the items by content."""
    by_content: dict[bytes, list[Example]] = defaultdict(list)
    for item in track(items, len(items), "files checked"):
        fault, digest = read_image(item.path)
        if fault:
            report.unreadable.append((printable(item.path), fault))
        else:
            by_content[digest].append(item)
    if report.unreadable:
        shown = [f"{path} ({fault})" for path, fault in report.unreadable]
        report.problems.append(f"{len(shown)} files are unreadable: {listed(shown, 5)}; get these files again")
    groups = [group for group in by_content.values() if len(group) > 1]
    report.duplicates = [[printable(item.path) for item in group] for group in groups]
    if groups:
        extra = sum(len(group) - 1 for group in groups)
        across = sum(len({item.label for item in group}) > 1 for group in groups)
        report.notes.append(
            f"{extra:,} files repeat the content of another one; {across:,} images are in several classes"
        )
    return by_content


def read_image(path: str) -> tuple[str, bytes]:
    """(what is wrong with the file or "", SHA-256 of its bytes); looks at the header and the end, not at each pixel."""
    try:
        size = os.path.getsize(path)
        if not 0 < size <= PHOTO_LIMITS.bytes:
            return f"{size:,} bytes", b""
        with open(path, "rb") as handle:
            data = handle.read()
        with opened(data, PHOTO_LIMITS._replace(smallest_side=1)) as image:
            kind = image.format
            image.verify()
    except OSError as error:
        return error.strerror or str(error), b""
    except Unusable as fault:
        return str(fault), b""
    # Within JPEG's coded data 0xFF is always escaped, so the last end marker of a whole file follows the last scan.
    if kind in ("JPEG", "MPO") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        return "the file ends early", b""
    return "", hashlib.sha256(data).digest()


def _check_split(
    report: Findings, dataset: Dataset, name: str, by_content: dict[bytes, list[Example]], duplicates: bool
) -> None:
    try:
        split = load_split(name, dataset.classes)
    except UserError as error:
        report.problems.append(str(error))
        return
    report.split, report.checksum = split.name, split.checksum
    report.notes.extend(split.notes)
    test = dataset.of(split.unseen)
    public = None if report.dataset == FOLDER else SPLIT_COUNTS.get(split.name)
    gallery = (public.gallery_twice if duplicates and public.gallery_twice else public.gallery) if public else None
    report.counts["queries"] = {"found": len(test.sketches), "published": public.queries if public else None}
    report.counts["gallery"] = {"found": len(test.photos), "published": gallery}
    for what in ("queries", "gallery"):
        counted, published = report.counts[what]["found"], report.counts[what]["published"]
        if published is not None and counted != published:
            report.problems.append(f"split {split.name}: {counted:,} images in its {what}, published are {published:,}")
    _overlap(report, dataset, split, by_content)


def _overlap(report: Findings, dataset: Dataset, split: Split, by_content: dict[bytes, list[Example]]) -> None:
    seen, unseen = set(split.all_seen), set(split.unseen)
    both = [
        group
        for group in by_content.values()
        if any(item.label in seen for item in group) and any(item.label in unseen for item in group)
    ]
    if both:
        shown = [" = ".join(printable(os.path.relpath(item.path, dataset.root)) for item in group) for group in both]
        report.problems.append(
            f"{len(both)} images are in a seen and in an unseen class: {listed(shown, 5)}; the test is not "
            f"zero-shot on them, so remove one of each"
        )
