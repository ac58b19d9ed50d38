"""trapline.yaml as types. Inert: building a config touches no disk and no network.

Every command's options are the fields of its section; every field's docstring is its help and its YAML comment.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trapline.core import quantities, urls

Fraction = Annotated[float, Field(ge=0, lt=1)]
DATASET_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Label = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """Base of all sections: unknown fields are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    inert: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how fast a stage works but not what it makes; they make nothing stale."""


class DatasetSource(Section):
    """One dataset: annotation files that describe the same images, and where those images lie."""

    annotations: tuple[str, ...] = Field(min_length=1)
    """Annotation files of any format that trapline reads (docs/formats.md), relative to the project or absolute. Files
    of labels and of detections of the same images go together."""
    images: str | None = None
    """Folder of the full-size images (or of ready-made crops); they stay where they are. Or the URL that their keys
    are below (s3://, gs://, az://, https://): they are fetched to images/<dataset>. Default: that folder."""
    ready_made: bool = False
    """The pictures are crops already, each showing one thing: they are taken whole."""

    @model_validator(mode="after")
    def _no_secret_in_a_url(self) -> "DatasetSource":
        if self.images is not None and "://" in self.images:
            if not urls.is_url(self.images):
                raise ValueError(f"images: URLs begin with one of {', '.join(f'{name}://' for name in urls.SCHEMES)}")
            if urls.without_secrets(self.images) != self.images:
                raise ValueError("images: the URL holds a password, token or signature; take it out (docs/fetch.md)")
        return self


class StorageConfig(Section):
    """Where crops, parts of stages and checkpoints lie: in the project, or as objects of a bucket."""

    url: str | None = None
    """s3://bucket/prefix, of this project alone. Default: inside the project's folder."""
    profile: str | None = None
    """AWS profile that may read, write, list and delete there. Default: the environment's credentials."""
    endpoint: str | None = None
    """Address of a store that speaks S3 but is not Amazon's."""
    region: str | None = None
    """Region of the bucket. Default: the profile's, or the environment's."""
    packed: bool = False
    """Keep crops in tar files, many to a file: for network disks and buckets, to which millions of files are a load."""

    @model_validator(mode="before")
    @classmethod
    def _from_url_alone(cls, given: object) -> object:
        return {"url": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _is_a_bucket(self) -> "StorageConfig":
        if self.url is not None:
            bucket = self.url.removeprefix("s3://").partition("/")[0]
            if not self.url.startswith("s3://") or not bucket or urls.without_secrets(self.url) != self.url:
                raise ValueError(f"storage {urls.without_secrets(self.url)!r}: write it as s3://bucket/prefix")
        return self


class IngestConfig(Section):
    """Annotation files -> images, locations, boxes, labels."""

    only_validated: bool = False
    """Keep only labels that a person validated (exports that do not say are taken as validated)."""
    empty_labels: tuple[Label, ...] = ("empty", "blank", "nothing")
    """Labels that mean "no animal". Their boxes are not objects and give no crops."""
    detection_threshold: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Least confidence of a detector's box that is paired with its image's label. MegaDetector 5: 0.2, 4: 0.8."""
    animals: Literal["all", "best", "single"] = "all"
    """Where an image's one label meets several detected animals. all: each bears it. best: the most confident one.
    single: only in images with exactly one, as the old chain had it."""
    sequence_gap_s: float = Field(default=60.0, ge=0)
    """Frames of one camera at most this many seconds apart are one sequence, where the source names none."""


class FetchConfig(Section):
    """Every image onto this disk: found in a folder, or fetched from S3, GCS, Azure or HTTP."""

    inert: ClassVar[frozenset[str]] = frozenset(
        {"profile", "anonymous", "endpoint", "region", "max_concurrency", "in_flight_mb", "max_disk"}
        | {"stall_s", "request_s", "budget_s"}
    )

    stream: bool = False
    """Leave remote images where they are: crop reads each from there, crops it and forgets it; none is kept on disk."""
    profile: str | None = None
    """AWS profile that holds the credentials (Animl's users: animl). Default: the environment's credentials."""
    anonymous: bool = False
    """Ask without credentials, as public buckets want it."""
    endpoint: str | None = None
    """Address of a store that speaks S3 (or Azure) but is not Amazon's (or Microsoft's)."""
    region: str | None = None
    """Region of the bucket. Default: the profile's, or the environment's."""
    bucket: str | None = None
    """S3 bucket of datasets without `images`, and instead of the bucket of those with an s3:// URL."""
    key: str | None = None
    """How an image's key is made, with {uri}, {file_name}, {image_id}, {dataset}, {stem} and {suffix}. Default: the
    key that the export gives (Animl's serving_bucket_key), else the file's name."""
    max_concurrency: int = Field(default=64, ge=1, le=1024)
    """Most requests at a time; how many there are adapts to what the far end takes."""
    in_flight_mb: int = Field(default=256, ge=1)
    """Most megabytes held in memory at a time; a larger object is refused."""
    max_disk: str | None = None
    """Most that fetched images may take on disk, as in 20GB. Default: all but a tenth of the disk."""
    stall_s: float = Field(default=20.0, gt=0)
    """Seconds without a byte after which a request is broken off and tried again."""
    request_s: float = Field(default=120.0, gt=0)
    """Seconds that one request may take."""
    budget_s: float = Field(default=300.0, gt=0)
    """Seconds that one image is tried for, waits and retries included, before it is a failure."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "FetchConfig":
        if self.profile is not None and self.anonymous:
            raise ValueError("profile is for asking with credentials and anonymous for asking without; choose one")
        if self.key is not None and (problem := urls.template_problem(self.key)):
            raise ValueError(f"key {self.key!r}: {problem}")
        if self.endpoint is not None:
            if not self.endpoint.startswith(("http://", "https://")):
                raise ValueError("endpoint is an address that begins with http:// or https://")
            if urls.without_secrets(self.endpoint) != self.endpoint:
                raise ValueError("endpoint holds a password, token or signature; take it out")
        if self.max_disk is not None and self.max_disk_bytes is None:
            raise ValueError(f"max_disk {self.max_disk!r} is no size; write it as 20GB or 500MB")
        return self

    @property
    def max_disk_bytes(self) -> int | None:
        """`max_disk` in bytes."""
        return quantities.size_in_bytes(self.max_disk or "")


class CropConfig(Section):
    """Square crops of every box."""

    inert: ClassVar[frozenset[str]] = frozenset({"num_workers"})

    style: Literal["square", "tight", "pad"] = "square"
    """square: the box's longer side, moved inside the image. tight: the box itself. pad: that, made square with
    black."""
    max_size: int = Field(default=512, ge=0)
    """Longest side of a stored crop in pixels; larger ones are reduced. 0 keeps full size."""
    quality: int = Field(default=92, ge=1, le=100)
    """JPEG quality of stored crops; from 95 on colour is stored at full size too."""
    truncated: Literal["fail", "use"] = "fail"
    """What becomes of truncated images. use: a crop whose box lies in what there is of them is made."""
    box_frame: Literal["auto", "displayed", "raw"] = "auto"
    """Whether boxes already follow the EXIF orientation. auto compares the stated image size with the file's."""
    max_pixels: int = Field(default=200_000_000, ge=1)
    """Images with more pixels than this are refused as image bombs."""
    num_workers: int = Field(default=0, ge=0)
    """Threads that decode; 0 takes one per CPU core."""


class DatasetConfig(Section):
    """Labels under control: which crops become examples of which label."""

    label_map: dict[str, Label] = {}
    """Source label -> label, for merging and renaming. People and vehicles are labels like any other."""
    label_map_file: str | None = None
    """The same as a file: YAML (`source: label`) or CSV (source_label,label); a label `drop` or none leaves it out."""
    label_spec: str | None = None
    """A label specification of the old chain (JSON or CSV) instead of a map; what it does not select is left out."""
    taxonomy: str | None = None
    """CSV with columns dataset, dataset_label and taxonomic levels, which `label_spec` selects taxa from."""
    exclude: tuple[Label, ...] = ()
    """Labels (after the map) that are left out."""
    min_locs: int = Field(default=3, ge=1)
    """A label seen in fewer groups than this is rare: it cannot be in train, val and test at once."""
    min_examples: int = Field(default=1, ge=1)
    """A label with fewer crops than this is rare too."""
    rare: Literal["keep", "drop", "other"] = "keep"
    """What happens to rare labels: keep them (train first), drop their crops, or merge them into `other`."""
    max_per_label: int = Field(default=0, ge=0)
    """Most crops of one label, spread over its sequences; 0: all."""
    max_per_label_location: int = Field(default=0, ge=0)
    """Most crops of one label in one group (one camera of 10,000 rats teaches its background); 0: all."""
    group_by: Literal["camera", "location", "deployment", "region"] = "camera"
    """What may not straddle splits. camera joins all deployments of one camera, region all places of one H3 cell."""
    region_resolution: int = Field(default=5, ge=0, le=15)
    """H3 resolution of `group_by: region`: cells of 5 are 17 km wide, each step divides that by 2.6."""
    heldback_frac: Fraction = 0.1
    """Share of every group's sequences kept out of training, to measure accuracy at seen locations."""
    weight_by_detection_conf: bool = False
    """Sample crops by their detector's confidence in training, so that doubtful boxes count less; a person's box weighs
    1, as all do otherwise."""
    seed: int = 0
    """Fixes which sequences are held back, and which crops a cap keeps."""

    @model_validator(mode="after")
    def _one_source_of_labels(self) -> "DatasetConfig":
        if self.label_spec is not None and (self.label_map or self.label_map_file is not None):
            raise ValueError("dataset: label_spec says which labels there are, and so does a label map; choose one")
        if self.taxonomy is not None and self.label_spec is None:
            raise ValueError("dataset: taxonomy is read for a label_spec, and there is none")
        return self


class SplitConfig(Section):
    """train/val/test by group, so that no place leaks."""

    method: Literal["optimal", "random", "smallest_first"] = "optimal"
    """optimal: search for the lowest score. random: the best of `draws` draws. smallest_first: rare labels first."""
    val_frac: Fraction = 0.2
    """Share of crops and locations for val."""
    test_frac: Fraction = 0.2
    """Share of crops and locations for test."""
    match_test: str | None = None
    """A former splits.json: its test locations are test again, and nothing else is."""
    match_splits: str | None = None
    """A former splits.json that is kept whole: its locations stay in the splits they were in, new ones are assigned."""
    folds: int = Field(default=0, ge=0)
    """Cross-validation in so many parts: fold 0 is test, fold 1 val, the others train. 0: none; else at least 3."""
    fix: bool = False
    """Keep places that show near-identical frames (one camera under two names, copied images) in one split."""
    draws: int = Field(default=10_000, ge=1)
    """Random draws that `method: random` chooses from."""
    prove: int = Field(default=100, ge=0)
    """Nodes of branch and bound spent on proving how good the split is, where the project is small enough."""
    seed: int = 0
    """Fixes the search and the draws."""

    @model_validator(mode="after")
    def _parts_that_exist(self) -> "SplitConfig":
        if self.folds in (1, 2):
            raise ValueError(f"split: folds {self.folds} leave nothing for train; 3 or more, or 0 for none")
        if self.folds and self.match_test is not None:
            raise ValueError("split: match_test fixes the test set, and folds test on every place; choose one")
        if self.match_splits is not None and (self.folds or self.match_test is not None):
            other = "folds" if self.folds else "match_test"
            raise ValueError(f"split: match_splits keeps all of a former split, which {other} contradicts; choose one")
        return self


class TrainConfig(Section):
    """Fine-tune a timm model with balanced sampling and early stopping on val."""

    inert: ClassVar[frozenset[str]] = frozenset(
        {"num_workers", "checkpoint_minutes", "micro_batch", "compile", "max_disk", "time_budget"}
        | {"log_extreme_examples", "unlearnable", "track"}
    )

    mode: Literal["finetune", "probe"] = "finetune"
    """probe: fit a linear head on frozen features and stop: a first honest figure in about a minute. finetune: that
    first, then train the model."""

    model: str = "tf_efficientnet_lite0"
    """Any timm model, by name. The default brings its ImageNet weights in a package: no download."""
    pretrained: bool = True
    """Start from pretrained weights rather than random ones."""
    weights: str | None = None
    """File to start from instead: a trapline checkpoint, a state dict of timm or torchvision, or the old chain's
    ckpt_N.pt (docs/train.md). Labels of the same name keep their outputs."""
    weights_labels: str | None = None
    """label_index.json that names the outputs of `weights`. Default: the one beside it."""
    image_size: int | None = Field(default=None, ge=32)
    """Side of the model's input in pixels. Default: what the model was pretrained with."""
    recipe: Literal["default", "reference"] = "default"
    """How to train where the options below say nothing. default: the best that was found for unseen cameras.
    reference: as the old chain's train_classifier.py does. Compared in docs/recipes.md."""
    epochs: int | None = Field(default=None, ge=0)
    """Passes over the training examples, at most. 0 keeps the probe, as `mode: probe` does. Default: 8."""
    batch_size: int = Field(default=32, ge=1)
    """Crops per optimiser step. They need not fit into memory at once: see micro_batch."""
    micro_batch: int = Field(default=0, ge=0)
    """Crops in memory at a time; their gradients add up to those of the batch. 0: as many as fit, found by trying."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of the head. Default: 0.001, and a tenth of it for the backbone; recipe reference: 3e-5, and
    the same for the backbone."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Of the optimiser. Default: 0.01; recipe reference: 1e-5."""
    label_weighted: bool = True
    """Sample labels equally often (the field's balanced sampling)."""
    multilabel: bool = False
    """Crops may have several labels, and each label is learnt by itself."""
    unlearnable: Literal["fail", "keep"] = "fail"
    """Labels without a training crop (all of them in val and test). fail: say so and stop. keep: train without them;
    they stay among the labels and are never predicted."""
    label_smoothing: Fraction | None = None
    """Share of the target spread over all labels. Default: 0.1; recipe reference: 0."""
    head_start: Literal["auto", "probe", "random"] | None = None
    """probe: begin with a linear head fitted on frozen features. random: with a random one. auto: with the outputs that
    `weights` has of labels with the same name; where there are none, the probe. Default: auto; recipe reference:
    random."""
    freeze: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the model's depth, from the input on, that keeps its weights. More is faster and forgets less. Default:
    0.5; recipe reference: 0."""
    backgrounds: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the training crops whose middle is shown on a crop of another place, so that animals and not places are
    learnt. Default: 0.5, or 0 where all crops are of one place; recipe reference: 0."""
    head_epochs: int = Field(default=0, ge=0)
    """Of the epochs, how many train the head alone before the rest of the model."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs that were no better on val. Default: half of the epochs, at least 4; recipe
    reference: 8."""
    num_workers: int = Field(default=0, ge=0)
    """Threads that load crops; 0 takes one per CPU core."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train. auto takes a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the arithmetic in the model. auto: half precision where trial steps are faster with it. Weights stay fp32."""
    compile: bool = False
    """Compile the model with torch.compile: minutes at the start (it needs a C++ compiler), faster steps after."""
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    """Minutes between checkpoints inside an epoch; one is written after every epoch too."""
    max_disk: str | None = None
    """Most that a run's checkpoints may take on disk, as in 2GB. Default: what is free."""
    time_budget: str | None = None
    """Stop cleanly before this much time is over, as in 8h or 90min; the same command then goes on."""
    log_extreme_examples: int = Field(default=0, ge=0)
    """Val crops of each label shown in TensorBoard: so many most confidently right, wrong, and missed."""
    track: Literal["mlflow", "wandb", "comet"] | None = None
    """Tell this service, too, what metrics.jsonl says. Its package must be installed and set up."""
    seed: int = 0
    """Fixes batch order, augmentation and initial weights."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "TrainConfig":
        if self.max_disk is not None and self.max_disk_bytes is None:
            raise ValueError(f"max_disk {self.max_disk!r} is no size; write it as 2GB or 500MB")
        if self.time_budget is not None and not self.time_budget_s:
            raise ValueError(f"time_budget {self.time_budget!r} is no length of time; write it as 8h, 90min or 1h30min")
        return self

    @property
    def max_disk_bytes(self) -> int | None:
        """`max_disk` in bytes."""
        return quantities.size_in_bytes(self.max_disk or "")

    @property
    def time_budget_s(self) -> float | None:
        """`time_budget` in seconds."""
        return quantities.seconds(self.time_budget or "")

    @property
    def timm_name(self) -> str:
        """The model's name as timm spells it: the old `efficientnet-b3` means `efficientnet_b3`."""
        return self.model.replace("-", "_") if self.model.startswith("efficientnet-") else self.model


class EmbedConfig(Section):
    """Features of every crop from a frozen backbone, for probes."""

    inert: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    model: str = "tf_efficientnet_lite0"
    """Any timm model, by name."""
    batch_size: int = Field(default=64, ge=1)
    """Crops per forward pass."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute. auto takes a GPU if there is one."""


class PredictConfig(Section):
    """Scores of every crop by a run's best checkpoint."""

    inert: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    run: str | None = None
    """Which run, by its folder's name. Default: the newest finished one."""
    batch_size: int = Field(default=64, ge=1)
    """Crops per forward pass."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute. auto takes a GPU if there is one."""


class EvaluateConfig(Section):
    """How good, where: metrics, the field's files, and a report."""

    top_k: tuple[int, ...] = (1, 3)
    """The k of top-k accuracy."""
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """How often a label must be right for its crops to need no person; thresholds that reach it are chosen on val."""
    calibration: Literal["auto", "temperature", "vector", "none"] = "auto"
    """How scores are made to mean what they say, by val. temperature: one factor. vector: one per label. auto: the one
    that does better at val locations it was not fitted on."""
    sequence_rule: Literal["mean_log", "mean", "surest"] = "mean_log"
    """How the crops of a burst are judged together: by the mean of their log-probabilities or of their probabilities,
    or by the surest crop."""
    taxonomy: str | None = None
    """CSV with columns label and taxonomic levels (label,genus,family): figures at those levels too."""
    card: bool = False
    """Write model_card.md too: one page about the classifier."""
    gallery: int = Field(default=24, ge=0)
    """Example crops shown right and wrong in the report, each."""
    seed: int = 0
    """Fixes which examples are shown."""


class DecideConfig(Section):
    """Scores of boxes -> answers, bursts, a review list, counts, detection histories."""

    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """One least confidence of every label and taxon, in place of those that were chosen on val."""
    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    """How often a taxon must be right to be an answer, by val. Default: as often as a label (evaluate: precision)."""
    sequence_gap_s: float = Field(default=60.0, ge=0)
    """Images of one location at most this many seconds apart are one sequence, where no sequence is given."""
    sequence_rule: Literal["mean_log", "mean", "surest"] = "mean_log"
    """How the boxes of a sequence are judged together: by the mean of their log-probabilities or of their
    probabilities, or by the surest box."""
    independent_min: float = Field(default=30.0, ge=0)
    """Minutes without a frame of a label at a location after which the next is a new, independent event."""
    occasion_days: int = Field(default=7, ge=1)
    """Days of an occasion in the detection history."""
    not_counted: tuple[Label, ...] = ("empty", "blank", "nothing")
    """Labels that mean "no animal": in no count and no detection history."""


class ProjectConfig(Section):
    """The whole of trapline.yaml."""

    datasets: dict[Annotated[str, Field(pattern=DATASET_NAME)], DatasetSource] = Field(min_length=1)
    """Datasets by name: annotation files and the folder of their images."""
    max_failures: int = Field(default=0, ge=0)
    """Images that may fail before a run ends with exit code 3."""
    storage: StorageConfig = StorageConfig()
    ingest: IngestConfig = IngestConfig()
    fetch: FetchConfig = FetchConfig()
    crop: CropConfig = CropConfig()
    dataset: DatasetConfig = DatasetConfig()
    split: SplitConfig = SplitConfig()
    embed: EmbedConfig = EmbedConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _fractions_leave_train(self) -> "ProjectConfig":
        split = self.split
        if split.val_frac + split.test_frac >= 1:
            raise ValueError(
                f"split: val_frac {split.val_frac} and test_frac {split.test_frac} leave nothing for train"
            )
        return self

    @model_validator(mode="after")
    def _distinct_folders(self) -> "ProjectConfig":
        folded = [name.casefold() for name in self.datasets]
        if len(set(folded)) < len(folded):
            raise ValueError("two datasets differ only in case; their folders would collide on some disks")
        return self
