"""Bounds and defaults of operation: limits of files and requests, serving, galleries. Fields of a run: `config`.

Each group is a NamedTuple: every `--help` imports this file, and `dataclasses` would cost it 20 ms.
"""

from typing import NamedTuple

MODEL = "everyday"  # shipped with the package; where a command takes a model and none is given, it is this one
LONGEST_REASON = 160  # characters of a cause that an error names


class Limits(NamedTuple):
    """Bounds of one image, checked in its header before anything is allocated."""

    bytes: int = 8 * 2**20
    pixels: int = 8 * 10**6
    side: int = 8192
    smallest_side: int = 8
    contrast: int = 8  # grey levels between the darkest and the lightest pixel; below it the image is blank


QUERY_LIMITS = Limits()

PHOTO_LIMITS = Limits(bytes=64 * 2**20, pixels=50 * 10**6, side=32768)


class VectorLimits(NamedTuple):
    """Bounds of a word-vector file, checked in its header before anything is allocated."""

    dimension: int = 16384
    words: int = 100_000_000
    word_bytes: int = 4096
    npz_bytes: int = 4 * 2**30  # unpacked


VECTOR_LIMITS = VectorLimits()


class Raster(NamedTuple):
    """How a drawing kept as strokes becomes an image, in pixels; fits the PNG renderings of QuickDraw for Sketchy."""

    size: int = 256
    line_width: float = 2.0
    padding: int = 16  # on each side of a drawing without a canvas of its own


RASTER = Raster()

QUERY_RASTER = Raster()  # of the strokes that the page searches with: the best of `bench raster`


class SvgLimits(NamedTuple):
    """Bounds of one SVG drawing."""

    bytes: int = 16 * 2**20
    elements: int = 100_000  # each counted as often as it is used


SVG = SvgLimits()


class DrawingLimits(NamedTuple):
    """Bounds of a file of drawings kept as strokes."""

    line_bytes: int = 4 * 2**20  # a simplified drawing has a few kilobytes
    points: int = 200_000
    coordinate: float = 1e6  # beyond it a drawing is a mistake, and sums of squares lose their digits
    unpacked_bytes: int = 16 * 2**30  # of one .ndjson.gz; QuickDraw's largest raw class has 3 GB


DRAWINGS = DrawingLimits()

FEATURES_BYTES = 8 * 2**30  # unpacked arrays of one `evaluate --features`: four million vectors of 512 float32

LARGEST_RASTER = 2048  # side in pixels; a drawing takes 16 bytes a pixel while it is drawn


class Synthetic(NamedTuple):
    """How much of the drawn dataset `prepare synthetic` and the demo make."""

    photos_per_class: int = 40
    sketches_per_class: int = 40
    size: int = 96  # side of every picture in pixels
    seed: int = 0


SYNTHETIC = Synthetic()

LARGEST_K = 10**9  # cut-off of a metric; beyond any gallery, and every integer type of the sums holds it


class Serving(NamedTuple):
    """Bounds of one request, and where the server listens."""

    name: str = "ssgn"
    host: str = "127.0.0.1"
    port: int = 8500
    http_port: int = 8501
    batch: int = 32
    k: int = 200
    default_k: int = 10
    message_bytes: int = 32 * 2**20
    deadline_seconds: float = 10.0
    grace_seconds: float = 10.0
    slots: int = 2  # batches computed at a time: one is prepared and answered while the other has the cores
    rows: int = 8  # images of several requests computed together; more would make each wait longer and gain nothing
    queue: int = 32  # requests that wait; one more is refused at once, while those waiting still are answered in time
    storm_queue: int = 4  # of them while others are refused: who is accepted then is answered soon
    queue_bytes: int = 128 * 2**20  # that they hold together
    poll_seconds: float = 1.0  # between two looks for newer versions of model and gallery


SERVING = Serving()


class GallerySettings(NamedTuple):
    """When a gallery searches exactly, when with ScaNN, and how it is written (docs/gallery.md)."""

    exact_below: int = 20_000  # items; below this ScaNN saves nothing
    tree_from: int = 100_000  # items; from here on ScaNN searches some leaves of a tree and not everything
    leaves: float = 2.0  # of that tree, in multiples of sqrt(items)
    training_sample: int = 100_000  # vectors that ScaNN's tree and codes are learned from
    leaves_searched: float = 0.01  # share of the leaves that one query looks into, raised at building to reach `recall`
    recall: float = 0.96  # recall@10 among its own vectors that an index is tuned to
    tuning_queries: int = 512  # so that it is known to .006; with 128 it was to .014
    fewest_leaves: int = 20  # and no fewer than these
    reorder: int = 4  # candidates rescored exactly, in multiples of k; up to 8 times as many where that helps
    advise_compact: float = 0.1  # share of items outside the index, or deleted, above which `compact` is advised
    checked_at_open: int = 256 * 2**20  # bytes; larger vector files are hashed by `verify` only
    columns: int = 100  # of a metadata table
    grouped: int = 4096  # candidates looked at for k groups of near-duplicates
    items_cache: int = 65_536  # KiB of a part's items that stay in memory: those of an answer are each a page elsewhere
    filters_kept: int = 8  # conditions whose items an open gallery remembers; 1 MB each for a million items
    listed: int = 10_000  # ids or labels in one search
    filter_seconds: float = 5.0  # a user's condition that takes longer is given up
    photo_side: int = 1024  # pixels; a photo beyond QUERY_LIMITS is scaled down to this before it is embedded
    readers: int = 2  # threads that read and check photos while the model runs
    first_step: int = 32  # photos that can be searched first while a gallery grows; 2 seconds on two cores
    step_seconds: float = 60.0  # between two versions of a growing gallery; the first steps are shorter


GALLERY = GallerySettings()


class MilvusSettings(NamedTuple):
    """How a gallery in Milvus is reached and written (docs/scale.md)."""

    port: int = 19530  # where an address names none
    connect_seconds: float = 5.0
    search_seconds: float = 2.0  # of one search; what takes longer is answered with "try again"
    pause_seconds: float = 1.0  # after one that got no answer, in which none is tried
    write_seconds: float = 60.0  # of one batch or look-up
    batch: int = 512  # rows written together; 1 MB at d = 512
    tries: int = 4  # of a batch whose server did not answer
    wait_seconds: float = 0.5  # before the second try, then twice as long
    most: int = 16_384  # answers that Milvus gives to one query
    spare: int = 8  # answers asked for beyond k, so that equal scores at the end are ordered by id
    segment: int = 1_000_000  # items that Milvus indexes together, about
    leaves: float = 4.0  # of a SCANN index, in multiples of sqrt(items); what Milvus advises
    searched: int = 64  # of these leaves in one search


MILVUS = MilvusSettings()

# Files of a dataset and images
FILE_LIST_LINE_BYTES = 16384  # a path has 4096 bytes at most
LIST_PARENTS = 3  # how far above file lists their images may lie: published code keeps them in <dataset>/zeroshot1/
SPLIT_FILE_BYTES = 16 * 2**20  # a split file is a list of names; anything bigger is the wrong file
PNG_CHUNKS = 10_000  # walked at most; 64 MB in the usual 8 KB pieces are 8,000
PLAIN_CHUNKS = 1000  # of a PNG that is read the short way; a drawing has one to three
JPEG_SCANS = 64  # the usual progressive file has 10
JPEG_SEGMENTS = 256  # of a JPEG that are looked at; a 4 MiB colour profile takes 64
EXIF_ENTRIES = 128  # directory entries looked at; cameras write about 12, sorted by tag
MOST_VIEWS = 15  # of an image beside the plain one

# Evaluation and training
SIMILARITY_BYTES = 64 * 2**20  # similarities held at a time
MOST_NEIGHBOURS = 1000  # of query and database expansion
# Scores and ranks of one block. It does not depend on the machine, so that products round alike on all of them.
RANKING_BYTES = 64 * 2**20
RANKING_WORKERS = 8  # blocks in work at a time, whatever the cores: it bounds the memory
CODES_TOGETHER = 16  # rows of binary codes compared at a time, so that their 64-bit differences stay in the cache
RANDOM_TOGETHER = 2**22  # random numbers drawn at a time
ENCODED_TOGETHER = 1024  # rows of taps encoded at a time
TEXTS_TOGETHER = 64  # texts encoded at a time
CHECKPOINT_SHARE = 0.05  # of the time at most goes into checkpoints
STEP_CHECKPOINT_SECONDS = 60.0  # within an epoch not more often than this
KEEP_DECODED = 2**30  # bytes; a small set of images is decoded once, not in every epoch
TEACHER_BYTES = 2**30  # bytes of kernel and bias
MAP_POINTS = 2000  # of each modality in the embedding projector: the page becomes slow beyond a few thousand

# Weights, features and runtimes
# Of `data.images.views`, part of every model's fingerprint and of the feature cache's key: raise it with any change
# that moves a pixel.
PREPROCESSING_VERSION = 3
RUNTIMES = ("auto", "tensorflow", "openvino")  # auto: OpenVINO where it is installed and answers alike
PACKAGE_WEIGHTS_BYTES = 128 * 2**20  # of a package's file
HEAD_BYTES = 64 * 2**20  # unpacked, of a head's arrays
NAMED_CLASSES = 200  # seen classes that a model's card names
FEATURE_BATCH = 32  # images in one pass of a frozen backbone
BATCHES_AHEAD = 2  # of images, read while one is looked at
PACK_IMAGES = 1024  # what an interrupted extraction loses at most
LOWEST_COSINE = 0.9999  # that a code may have with TensorFlow's
FURTHEST_TAP = 1e-4  # that a tap may be from TensorFlow's, as a share of the largest
CONVERSION_LOOK_SECONDS = 0.1  # between two looks whether another process has converted a model
DECODED_TOGETHER = 4  # images of one request, on one core
KEPT_WEIGHTS = 256  # lengths of a photo's side for which the weights of resizing are kept; 9 KB for 500 pixels
ROWS_IN_CACHE = 56  # rows of a photo that are resized at a time
WEIGHTS_TOGETHER = 512  # pixels of a side whose weights are found at a time; it bounds the memory

# Galleries
IMPORTED_BYTES = 64 * 2**30  # bytes of the arrays of an .npz, which are read as a whole; a .npy of any size is mapped
ROWS_TOGETHER = 8192  # rows gathered at a time; 16 MiB at d = 512
TELL_SECONDS = 5.0  # between two lines about a long walk
SECOND_STEP_SECONDS = 4.0  # of the second step
UNIT_TOLERANCE = 1e-5  # of the length of a stored vector
GRAPH_CANDIDATES = 5  # times k: how many of ScaNN's candidates get their exact score in the exported graph
SELF_QUERIES, SELF_K, SELF_RECALL = 32, 10, 0.9  # items that must be found by their own vectors
SAME_COSINE = 0.9999  # cosine of what is as good as the item itself: a copy of it
WIDEST_ANSWER = 10_000  # answers of a batch that are padded to where the gallery has fewer
MILVUS_TEXT_BYTES = 65_535  # bytes, the most that Milvus takes

# Spark
SHOWN_BAD = 100  # photos that could not be used, named in a report
LISTED_TOGETHER = 100_000  # photos of a listing that are handed on at a time
KEPT_VERSIONS = 2  # whose files stay, for readers of the one before
READ_TRIES = 3  # of a read that the network broke
READ_WAIT_SECONDS = 0.5  # seconds before the second one, then twice as long
PART_LEAST, PART_MOST, PARTS = 256, 20_000, 10_000  # photos of a part, and how many parts there should be
PART_FAILURES = 12  # attempts of a part: lost executors count, and so does each death that finds a poisonous photo
MASTER_SECONDS = 5.0  # for the master's port to open
EXECUTOR_SECONDS = 120.0  # for the first executor to come
CAREFUL_FROM = 2  # attempts of a part after which the next ones note each photo before they touch it
DEATHS = 2  # of careful attempts on the same photo until it is left out

# The service, its page and its client
SHORTEST_TOKEN = 16  # characters
BURST_SECONDS = 2.0  # seconds of its rate that a client may use at once
REMEMBERED_CLIENTS = 10_000  # whose rate is remembered
STORM_SECONDS = 1.0  # after the last refusal the queue stays short this long
VOCABULARY_BYTES = 4 * 2**20  # of a list of words
COMPLETIONS = 20  # of a word that is being typed
NEAREST_WORDS = 5  # named where a word is unknown
GUESSES = 5  # words offered beside a drawing
GUESS_COSINE = 0.65  # of the best guess with a drawing, below which none is shown
GUESSED_LABELS = 1000  # of a gallery, among which is guessed
WORD_CHARACTERS = 64  # of a word beside a drawing
HIGHEST_RANK = 8  # of a tensor in a request
MOST_COLUMNS = 8  # asked for in one search
GZIP_MEMBERS = 16  # of a gzip file; each costs a copy of what is left, and the usual number is one
CONNECTIONS = 256  # of HTTP at a time
HEAD_SECONDS = 10.0  # for the head of a request to arrive
ANSWER_SECONDS = 60.0  # for a client to take its answer
HTTP_HEADER_BYTES = 16 * 2**10  # of one request
REQUEST_LINE_BYTES = 8 * 2**10
THUMBNAIL_SIDES = (64, 128, 256, 512, 1024)  # pixels
KEPT_THUMBNAILS = 512  # about 20 KB each
LISTED_LABELS = 1000  # different ones that are listed; a gallery with more gets a field to type one into
LISTED_VALUES = 100  # the same of a column of the users' tables
LISTED_COLUMNS = 20  # of those tables
# Threads beyond those that wait for an answer: they refuse what does not fit, and answer status and health.
SPARE_THREADS = 16
METADATA_BYTES = 8 * 2**10  # of a gRPC call
# Room that the rest of a request takes beside the pictures.
OVERHEAD_BYTES = 64 * 2**10
# Seconds before the second, third, ... attempt at a server that is not there (yet); each is stretched at random.
BACKOFF = (0.1, 0.2, 0.4)
START_SECONDS = 120  # a server that is not ready by then has failed
PAUSE_SECONDS = 0.3  # seconds before a server that is not there yet is asked again
