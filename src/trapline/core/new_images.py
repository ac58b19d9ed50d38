"""Settings of predicting new images: which boxes, how fast, from where. In no project: it needs none."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trapline.core.config import FetchConfig, Label, Section


class NewImagesConfig(Section):
    """New images -> scores of their boxes."""

    categories: tuple[Label, ...] = ()
    """Detection categories whose boxes are classified (animal, person, vehicle). Default: all, but for people and
    vehicles where the run has no such label."""
    min_conf: Annotated[float, Field(ge=0, le=1)] | None = None
    """Least confidence of a detection that is classified. Default: what the file calls typical, else 0.2."""
    compare: bool = True
    """Compare every box with what the run was trained on, and say where new images are unlike it."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic of convolutions. auto: half precision on GPUs and on CPUs that multiply in bfloat16."""
    num_workers: int = Field(default=0, ge=0)
    """Threads that read and decode images; 0 takes one per CPU core (16 where images come over the network)."""
    profile: str | None = None
    """AWS profile that holds the credentials, where --images is a URL."""
    anonymous: bool = False
    """Ask without credentials, as public buckets want it, where --images is a URL."""
    endpoint: str | None = None
    """Address of a store that speaks S3 but is not Amazon's, where --images is a URL."""
    region: str | None = None
    """Region of the bucket, where --images is a URL."""

    @model_validator(mode="after")
    def _store_makes_sense(self) -> "NewImagesConfig":
        self.store()
        return self

    def store(self) -> FetchConfig:
        """How a store is asked."""
        return FetchConfig(profile=self.profile, anonymous=self.anonymous, endpoint=self.endpoint, region=self.region)
