"""Which training suits so much data on such a machine. The figures behind the rules: docs/recipes.md."""

from dataclasses import dataclass

FEW_PLACES = 8  # below, val holds one or two places: whether fine-tuning helps cannot be seen
NIGHT_S = 8 * 3600.0
LEAST_EPOCHS = 3
BIG_CROPS = 5_000  # from here on a larger model and a GPU's hours pay


@dataclass(frozen=True)
class Situation:
    """What a training would work with.

    Args:
        crops, places: To train on.
        per_label: Crops of the rarest label.
        start_s, epoch_s: Seconds for the probe, and per epoch.
        epochs: That the options ask for.
        gpu: Whether it computes on one.
        budget_s: Seconds that it may take.
    """

    crops: int
    places: int
    per_label: int
    start_s: float
    epoch_s: float
    epochs: int
    gpu: bool
    budget_s: float


@dataclass(frozen=True)
class Advice:
    """What to choose.

    Args:
        options: Of `trapline train`, as they are typed; empty for the defaults.
        why: Reasons, a sentence each.
    """

    options: tuple[str, ...]
    why: tuple[str, ...]


def advise(now: Situation) -> Advice:
    """The training that is likeliest to be best at places that it has not seen, within the time there is."""
    if now.places < FEW_PLACES:
        few = f"{now.places:,} places to learn from are few: fine-tuning learns their backgrounds, and too few are left"
        return Advice(("--mode", "probe"), (f"{few} to see whether it helps. More places would help most.",))
    fit = int((now.budget_s - now.start_s) // max(now.epoch_s, 1e-9))
    why = []
    if fit < LEAST_EPOCHS:
        why.append(
            f"only {max(fit, 0)} epochs fit into the time: take the probe now, or a GPU, or smaller pictures "
            "(--image-size 160 halves the time)."
        )
        return Advice(("--mode", "probe"), tuple(why))
    options: list[str] = []
    if fit < now.epochs:
        options += ["--epochs", str(fit)]
        why.append(f"{now.epochs} epochs would take longer than there is time for; {fit} fit.")
    if now.gpu and now.crops >= BIG_CROPS:
        options += ["--model", "efficientnet_b3"]
        why.append("so many crops and a GPU are enough for a larger model; its weights are downloaded once.")
    if not why:
        why.append("the defaults fit: the probe, then fine-tuning from it; the better of both at val is kept.")
    if now.per_label < 10:
        why.append(
            f"the rarest label has {now.per_label:,} crops: no recipe makes up for that. More places with it, or "
            "`trapline dataset --rare other`."
        )
    return Advice(tuple(options), tuple(why))
