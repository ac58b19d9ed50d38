"""Every command that a page shows is run, every option and setting it names exists, and no link leads nowhere."""

import re
import shutil
from pathlib import Path

import boto3
import pytest
from cyclopts.exceptions import MissingArgumentError

from documented import PAGES, ROOT, Desk, commands, other_lines, spans
from trapline.cli import app, run_command
from trapline.core.config import ProjectConfig

BUCKET = "animl-images-serving-prod"
RUN_ELSEWHERE = {  # .ci/run begins with the README's own lines, on a bare machine
    "README.md": ["pip install uv && uv run trapline demo", "uv run pytest"],
}
TAKES_MINUTES = {"demo", "run"}  # of the README: .ci/run runs the first, tests/test_real_images.py the second


def _slow(page):
    """Pages that train take most of a minute: they are walked in CI."""
    return [pytest.mark.slow] if any(words[0] == "train" for words in commands(page)) else []


@pytest.fixture
def desk(tmp_path, monkeypatch, moto):
    """A desk to work at, with Animl's bucket and an AWS profile named animl."""
    made = Desk(tmp_path / "desk")
    (tmp_path / "credentials").write_text("[animl]\naws_access_key_id=AKIA\naws_secret_access_key=x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.Session(profile_name="animl").client("s3", endpoint_url=moto, region_name="us-west-2")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    objects = made.objects()
    for key, body in objects.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
    monkeypatch.chdir(made.folder)
    yield made
    for key in objects:
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)


@pytest.mark.parametrize("page", [pytest.param(page, marks=_slow(page)) for page in PAGES if commands(page)])
def test_every_command_shown_is_run(page, desk, capsys):
    for number, words in enumerate(commands(page)):
        if page == "README.md" and words[0] in TAKES_MINUTES:
            continue
        if words[0] == "init" and (desk.folder / words[1]).exists():  # a page may show several ways of one thing
            (desk.folder / words[1]).rename(desk.folder / f"{words[1]}-{number}")
        words = [str(desk.folder / "photos") if word == "/path/to/images" else word for word in words]  # noqa: PLW2901
        code = run_command(words)
        text = "".join(capsys.readouterr())
        assert code == 0, f"{page}: trapline {' '.join(words)} ended with {code}: {text}"


@pytest.mark.parametrize("page", PAGES)
def test_other_lines_of_the_blocks_are_known(page):
    known = RUN_ELSEWHERE.get(page, [])
    unknown = [line for line in other_lines(page) if not any(line.startswith(one) for one in known)]
    assert not unknown


@pytest.mark.parametrize("page", PAGES)
def test_every_option_named_in_the_text_exists(page):
    for span in spans(page):
        words = span.replace("…", "").split()[1:]
        if not words or words[0].isupper():  # `trapline STAGE`
            continue
        try:
            app.parse_args(words, exit_on_error=False, print_error=False)
        except MissingArgumentError:
            pass  # `trapline init` alone
        except Exception as error:
            raise AssertionError(f"{page}: `{span}`: {error}") from None


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_named_in_the_text_exists(page):
    sections = {name: field.annotation for name, field in ProjectConfig.model_fields.items()}
    for section, field in re.findall(r"`(\w+): (\w+)[^`]*`", (ROOT / page).read_text()):
        known = getattr(sections.get(section), "model_fields", None)
        if known is not None:
            assert field in known, f"{page}: `{section}: {field}`"


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_no_link_leads_nowhere(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


# -- the page for those who come from the old chain -----------------------------------------------------------------

OLD_OPTIONS = {  # of each command of the old workflow, long name first, as its own --help gives them
    "download_images.py": ["--coco-file", "--output-dir", "--max-threads"],
    "cct_to_md.py": ["--input_filename", "--output_filename"],
    "crop_detections.py": [
        "detections_json", "cropped_images_dir", "--images-dir", "--container-url", "--detector-version",
        "--save-full-images", "--square-crops", "--check-crops-valid", "--threshold", "--threads", "--logdir",
    ],
    "md_to_queried_images.py": ["--input_filename", "--dataset", "--output_filename"],
    "create_classification_dataset.py": [
        "output_dir", "--mode", "--match-test", "--queried-images-json", "--cropped-images-dir",
        "--detector-output-cache-dir", "--detector-version", "--threshold", "--min-locs", "--val-frac", "--test-frac",
        "--method", "--label-spec",
    ],
    "inspect_dataset.ipynb": [],
    "train_classifier.py": [
        "dataset_dir", "cropped_images_dir", "--multilabel", "--model-name", "--pretrained", "--finetune",
        "--label-weighted", "--weight-by-detection-conf", "--epochs", "--batch-size", "--lr", "--weight-decay",
        "--num-workers", "--logdir", "--log-extreme-examples", "--seed",
    ],
    "evaluate_model.py": [
        "params_json", "ckpt_path", "--output-dir", "--splits", "--target-mapping", "--label-index", "--model-name",
        "--batch-size", "--num-workers", "--dataset-dir",
    ],
}  # fmt: skip
PAGE = "docs/from-the-old-chain.md"


def test_the_old_chains_page_has_every_option_and_what_replaces_it():
    sections = dict(re.findall(r"^## (\S+\.(?:py|ipynb))\n(.*?)(?=^## |\Z)", page_text(), re.MULTILINE | re.DOTALL))
    assert sections.keys() == OLD_OPTIONS.keys()
    for command, options in OLD_OPTIONS.items():
        rows = re.findall(r"^\| (.+?) \| (.+) \|$", sections[command], re.MULTILINE)
        named = [re.split(r"[`, ]+", old.strip("` "))[0] for old, _ in rows]
        assert set(options) <= set(named), f"{command}: {set(options) - set(named)}"
        for old, new in rows[1:]:
            says = re.search(r"`|the project|not needed|none|report|adapts|later work|all three|the run", new)
            assert says, f"{command} {old}: {new}"


def page_text():
    return (ROOT / PAGE).read_text()


def test_what_the_page_promises_of_an_old_tree(desk, capsys):
    """Its table of steps: remove a step's files, and `init` goes on from the next row."""
    expected = ["classification_ds.csv", "queried_images.json", "islands_md.json", "islands_cct.json"]
    tree = desk.old
    gone = [
        None,
        tree.logdir / "classification_ds.csv",
        tree.logdir / "queried_images.json",
        tree.mdcache / "islands_md.json",
    ]
    for number, (step, path) in enumerate(zip(expected, gone, strict=True)):
        if path is not None:
            path.unlink()
        assert run_command(["init", f"p{number}", "--from-old", "home"]) == 0
        assert f"going on from {step}\n" in "".join(capsys.readouterr())
    shutil.rmtree(tree.home / "images")
    assert run_command(["init", "p9", "--from-old", "home"]) == 0
    assert "`trapline fetch` brings them" in "".join(capsys.readouterr())
    assert Path("p9/trapline.yaml").exists()
