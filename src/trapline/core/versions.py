"""The integer version of every stage, bumped only when its output changes: what it made before is then made again."""

VERSIONS = {
    "ingest": 2,
    "fetch": 1,
    "crop": 3,
    "dataset": 2,
    "split": 2,
    "embed": 1,
    "train": 2,
    "predict": 1,
    "evaluate": 2,
}
STAGES = tuple(VERSIONS)
OPTIONAL = frozenset({"embed"})  # made when asked for by name
