"""Status of one row of a request: a fault of one image never fails its neighbours."""

from enum import IntEnum


class Status(IntEnum):
    """The `status` int32 of every signature. 0 is fine, anything else gives a zero embedding and count 0."""

    OK = 0
    EMPTY = 1
    UNKNOWN_FORMAT = 2
    CORRUPT = 3
    TOO_LARGE = 4
    TOO_SMALL = 5
    BLANK = 6
    BAD_K = 7
    UNKNOWN_WORD = 8


MEANING = {
    Status.OK: "fine",
    Status.EMPTY: "the image has no bytes",
    Status.UNKNOWN_FORMAT: "not a format that is read (requests: PNG, JPEG; folders also WebP, BMP, GIF, TIFF, AVIF)",
    Status.CORRUPT: "the image is damaged and cannot be decoded",
    Status.TOO_LARGE: "the image has more bytes, pixels or a longer side than allowed",
    Status.TOO_SMALL: "the image is too small to show anything",
    Status.BLANK: "the image is blank: nothing is drawn on it",
    Status.BAD_K: "k is below 1 or over the limit",
    Status.UNKNOWN_WORD: "the word is not among those that the model knows",
}
