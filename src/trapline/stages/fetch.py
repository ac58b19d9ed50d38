"""Images -> files: every image onto this disk, or an exact list of those that are not.

A dataset whose images lie in a folder keeps them there; one whose images are in a store (S3, GCS, Azure, HTTP) has them
fetched below its own folder. Fetched files never expire: what is committed and still there is not asked for again.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path

import polars as pl

from trapline.core import schemas
from trapline.core.addresses import addresses
from trapline.core.config import FetchConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.paths import distinct_names, unsafe_reason
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine, PartlyDone, Work, map_rows, with_fingerprints
from trapline.io import downloads
from trapline.io.downloads import Brought, Downloads, Wanted
from trapline.io.ledger import FINGERPRINT, Parts

NOT_ON_DISK = "not on disk"
PART_IMAGES = 64
WORKERS = 4  # parts begun at a time: a kill costs at most PART_IMAGES x WORKERS images that were not committed yet
SHOWN = 3  # names in a message
LOOKED_AT = 200_000  # files that are looked at for a guess where missing ones are


def fetch(
    images: pl.DataFrame,
    folders: Mapping[str, Path],
    *,
    root: Path,
    log: Log,
    stores: Mapping[str, str] | None = None,
    cfg: FetchConfig | None = None,
    parts: Parts | None = None,
    engine: Engine = LOCAL,
) -> pl.DataFrame:
    """Find the file of every image below its dataset's folder, under `file_name`; fetch it there where it is remote.

    Args:
        images: IMAGES rows.
        folders: Dataset -> folder of its full-size images, absolute or relative to `root`.
        stores: Dataset -> URL that its images are fetched from; those of other datasets lie in their folders already.
        cfg: Credentials, concurrency and budgets of the fetching.
        parts: Where what is fetched is committed.
        engine: Where fetching runs.

    Returns:
        FILES rows, one per image, sorted; `failure` where there is no such file. `checksum` stands for the content a
        later stage depends on: of a fetched file Fetched.checksum, of one in a folder its size and time of change.

    Raises:
        InputError: A dataset's folder does not exist or holds none of its images; a store has none of them, or
            refuses what it is asked with (StoreRefused).
        StoreDown, DiskBudget: What is fetched so far is committed; the same call goes on from there.
    """
    remote = {name: url for name, url in (stores or {}).items() if name in folders}
    local = {name: folder for name, folder in folders.items() if name not in remote}
    away = pl.col("dataset").is_in(list(remote))
    files = [_find(images.filter(~away), local, root, log)] if local or not remote else []
    if remote:
        assert parts is not None, "fetching needs a place for its parts"
        files.append(_bring(images.filter(away), folders, remote, cfg or FetchConfig(), root, parts, log, engine))
    return pl.concat(files).sort("image_id")


def gone(files: pl.DataFrame, *, root: Path) -> int:
    """How many fetched files are no longer there as they were fetched. `files`: FILES rows without failures."""
    return files.height - int(_stands(files, root).sum())


def file_paths(images: pl.DataFrame, folders: Mapping[str, Path], stores: Mapping[str, str]) -> pl.DataFrame:
    """image_id and path of every image's file: below its dataset's folder; of fetched ones under names that stay apart
    on every disk (paths.distinct_names)."""
    found = []
    for (dataset,), group in images.group_by("dataset", maintain_order=True):
        names = group["file_name"].to_list()
        folder = folders[str(dataset)]
        kept = distinct_names(names) if dataset in stores else names
        paths = [(folder / name).as_posix() for name in kept]
        found.append(pl.DataFrame({"image_id": group["image_id"], "path": paths}))
    return pl.concat(found) if found else pl.DataFrame(schema={"image_id": pl.String, "path": pl.String})


# -- in a store ---------------------------------------------------------------------------------------------------


def _bring(
    images: pl.DataFrame,
    folders: Mapping[str, Path],
    stores: Mapping[str, str],
    cfg: FetchConfig,
    root: Path,
    parts: Parts,
    log: Log,
    engine: Engine,
) -> pl.DataFrame:
    """FILES rows of remote images: in two rounds, so that a few slow ones do not hold up the rest."""
    if cfg.max_disk is not None and engine is not LOCAL:
        raise InputError(
            "--max-disk is counted by one process; a cluster has many. Leave it out: a tenth of the disk is kept free."
        )
    wanted = _wanted(images, folders, stores, cfg)
    hopeless = wanted.filter(pl.col("failure").is_not_null())
    units = wanted.filter(pl.col("failure").is_null()).drop("failure")
    begun = parts.read(with_fingerprints(units, {}).select("image_id", FINGERPRINT))
    here = units.head(0) if begun is None else units.join(begun.drop_nulls("bytes"), on="image_id", how="semi")
    on_disk = 0 if begun is None else int(begun["bytes"].sum())
    proven = frozenset(here["place"])

    files = schemas.FILES.empty()
    for patient in (False, True):
        if files.height == units.height and patient:
            break
        files = map_rows(
            partial(_Fetching, cfg, root, on_disk, proven, patient),
            units,
            engine=engine,
            key="image_id",
            config={},
            parts=parts,
            part_rows=PART_IMAGES,
            log=log,
            what="images fetched" if not patient else "slow images fetched",
            workers=WORKERS,
            still_good=lambda done: done["failure"].is_not_null() | _stands(done, root),
        )
        came = files.drop_nulls("bytes")
        on_disk = int(came["bytes"].sum())
        proven |= frozenset(units.join(came, on="image_id", how="semi")["place"])
    files = pl.concat([files, hopeless.select("image_id", "path", "failure")], how="diagonal")
    files = files.select(list(schemas.FILES.columns))
    _account(images, files, stores, log)
    return files


def _stands(files: pl.DataFrame, root: Path) -> pl.Series:
    """Whether each file is there, with the size it had."""
    sizes = pl.Series(downloads.sizes(root, files["path"].to_list()), dtype=pl.Int64)
    return (sizes == files["bytes"]).fill_null(False)


def _wanted(
    images: pl.DataFrame, folders: Mapping[str, Path], stores: Mapping[str, str], cfg: FetchConfig
) -> pl.DataFrame:
    """image_id, place, key, path of every remote image; `failure` of those that cannot be asked for or stored."""
    reasons = [unsafe_reason(name) for name in images["file_name"]]
    unsafe = pl.DataFrame({"image_id": images["image_id"], "unsafe": pl.Series(reasons, dtype=pl.String)})
    return (
        addresses(images, stores, cfg.key)
        .join(file_paths(images, folders, stores), on="image_id", maintain_order="left")
        .join(unsafe, on="image_id", maintain_order="left")
        .with_columns(failure=pl.coalesce("unsafe", "failure"))
        .drop("unsafe")
    )


class _Fetching(Work):
    def __init__(self, cfg: FetchConfig, root: Path, on_disk: int, proven: frozenset[str], patient: bool):
        self._downloads = Downloads(cfg, root, on_disk, proven, patient)

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        wanted = [Wanted(**row) for row in rows.iter_rows(named=True)]
        try:
            return _rows(self._downloads.bring(wanted) if wanted else [])
        except downloads.Incomplete as incomplete:
            raise PartlyDone(_rows(incomplete.done), incomplete.reason) from None

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        return _rows(
            [Brought(image_id, path, failure=reason) for image_id, path in rows.select("image_id", "path").iter_rows()]
        )

    def stop(self) -> None:
        self._downloads.stop()


def _rows(brought: Sequence[Brought]) -> pl.DataFrame:
    found = []
    for one in brought:
        header = one.header
        size = (
            (header.width_px, header.height_px, header.orientation) if header and one.failure is None else (None,) * 3
        )
        found.append((one.image_id, one.path, one.bytes, one.checksum, *size, one.failure))
    return pl.DataFrame(found, schema=schemas.FILES.columns, orient="row")


def _account(images: pl.DataFrame, files: pl.DataFrame, stores: Mapping[str, str], log: Log) -> None:
    """The balance, and the line that says what is missing and why."""
    named = files.join(images.select("image_id", "dataset", "file_name"), on="image_id", how="left")
    for (dataset,), group in named.group_by("dataset", maintain_order=True):
        reasons = group["failure"].unique()
        if reasons.null_count() == 0 and group.height and all("missing" in str(reason) for reason in reasons):
            raise InputError(
                f"none of the {group.height:,} images of dataset {dataset} is in {stores[str(dataset)]} (first asked "
                f"for: {group['file_name'][0]}). Check its `images:` in trapline.yaml, and fetch's --bucket and --key; "
                "if they were put there since: trapline fetch --retry-failed."
            )
    counts = files.drop_nulls("failure").group_by("failure").len().sort("len", "failure", descending=[True, False])
    failed = dict(counts.iter_rows())
    came = files.height - sum(failed.values())
    log.account("images", files.height, "files fetched", came, failed)
    said = []
    for reason, n in failed.items():
        names = named.filter(pl.col("failure") == reason)["file_name"].sort()
        more = ", …" if n > SHOWN else ""
        said.append(f"{n:,} {reason}: {', '.join(names[:SHOWN])}{more}")
    line = f"fetched {came:,} of {files.height:,}"
    if said:
        log.warn("; ".join([line, *said]))
    else:
        log.note(line)


# -- in a folder --------------------------------------------------------------------------------------------------


def _find(images: pl.DataFrame, folders: Mapping[str, Path], root: Path, log: Log) -> pl.DataFrame:
    """FILES rows of images that lie in folders."""
    absent = [f"{name}: {folder}" for name, folder in folders.items() if not (root / folder).is_dir()]
    if absent:
        raise InputError(
            "image folders are missing. Say where the images lie: `trapline init --images FOLDER`, or `images:` of the "
            "dataset in trapline.yaml.",
            absent,
        )
    rows = []
    for (dataset,), group in images.group_by("dataset", maintain_order=True):
        folder = folders[str(dataset)]
        found = [_stat(root / folder / name) for name in group["file_name"]]
        rows.append(
            pl.DataFrame(
                {
                    "image_id": group["image_id"],
                    "path": [(folder / name).as_posix() for name in group["file_name"]],
                    "bytes": [size for size, _ in found],
                    "checksum": [stamp for _, stamp in found],
                    "width_px": None,
                    "height_px": None,
                    "orientation": None,
                    "failure": [None if size is not None else NOT_ON_DISK for size, _ in found],
                },
                schema=schemas.FILES.columns,
            )
        )
        if all(size is None for size, _ in found):
            raise InputError(_nothing_found(str(dataset), root / folder, group["file_name"][0], group.height))
    files = pl.concat(rows) if rows else schemas.FILES.empty()
    failed = files["failure"].count()
    log.account("images", images.height, "files", files.height - failed, {NOT_ON_DISK: failed})
    if failed:
        gone = files.filter(pl.col("failure").is_not_null())["path"].to_list()
        guess = _where([root / path for path in gone], [root / folder for folder in folders.values()])
        log.warn(f"{failed:,} of {files.height:,} images are not on disk (first: {gone[0]}).{guess}")
    return files


def _where(gone: Sequence[Path], folders: Sequence[Path]) -> str:
    """A guess where missing files might be: of the same name in another folder, or spelt in other letters."""
    wanted = {path.name.casefold(): path for path in reversed(gone)}
    moved, spelt, first = 0, 0, ""
    for path in islice(chain.from_iterable(_files(folder) for folder in folders), LOOKED_AT):
        missing = wanted.get(path.name.casefold())
        if missing is None or path.is_symlink():
            continue
        del wanted[path.name.casefold()]
        same_place = path.as_posix().casefold() == missing.as_posix().casefold()
        moved, spelt = moved + (not same_place), spelt + same_place
        first = first or f"{path} for {missing.name}"
    if moved:
        return f" Files of the same name lie elsewhere, {moved + spelt:,} of them (first: {first}): move them back."
    return f" {spelt:,} are there in other letters (first: {first}): rename them." if spelt else ""


def _files(folder: Path) -> Iterator[Path]:
    return (Path(place) / name for place, _, files in os.walk(folder) for name in files)


def stamp(images: pl.DataFrame, folders: Mapping[str, Path], *, root: Path) -> list[str | None]:
    """What `fetch` would find, per image: changes when a file appears, changes or goes."""
    return [
        _stat(root / folders[dataset] / name)[1] for dataset, name in images.select("dataset", "file_name").iter_rows()
    ]


def _stat(path: Path) -> tuple[int | None, str | None]:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None, None
    return stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}"


def _nothing_found(dataset: str, folder: Path, first: str, n: int) -> str:
    """The commonest mistake of a first hour: the folder is one level too high or too low. Guess and say so."""
    message = f"none of the {n} images of dataset {dataset} lies in {folder} (first looked for: {folder / first})."
    for above in (folder, *folder.parents[:2]):
        hit = next((path for path in _shallow(above) if (path / first).is_file()), None)
        if hit is not None:
            return f"{message} They seem to lie in {hit}: give that, by --images or in trapline.yaml."
    name = first.rsplit("/", 1)[-1]
    stray = next(iter(folder.rglob(name)), None) if name and not set(name) & set("*?[") else None
    if stray is not None:
        return f"{message} A file of that name is {stray}: the folders between differ from the export's file_name."
    return f"{message} Set `images:` in trapline.yaml to the folder that file_name is relative to."


def _shallow(folder: Path) -> list[Path]:
    """A folder and the folders right below it."""
    try:
        return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())][:200]
    except OSError:
        return []
