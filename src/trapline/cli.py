"""The command line: parse, hand over, exit code. Commands are imported only when they run."""

import os
import signal
import sys

from cyclopts import App, CycloptsError

from trapline import __version__
from trapline.core.errors import TraplineError

INTERRUPTED = 130
HELP = {
    "demo": "Draw a camera-trap project (no download) and run the whole pipeline on it.",
    "init": "Make a project from an export and a folder of images, or add a dataset to one.",
    "run": "Bring the whole project up to date.",
    "status": "Say what is up to date and why not.",
    "doctor": "Say what this machine can do, and what stands in the way: GPU, disk, credentials.",
    "convert": "Annotations of one format -> another.",
    "labels": "Show what becomes of every label, and why; suggest a label map.",
    "detect": "Run the MegaDetector that you installed over a folder of images.",
    "inspect": "Find what a person should look at: wrong labels, copies, poor crops, impossible times.",
    "export": "A run -> ONNX, TorchScript, TorchServe, timm; or all crops -> FiftyOne.",
    "serve": "A run -> an HTTP server that answers pictures and boxes (Animl, SageMaker, uploads).",
    "decide": "Scores of boxes -> answers, bursts, a review list, counts, detection histories.",
    "review": "Look at crops on a local page and decide: accept, relabel, exclude.",
    "compare": "Say whether one classifier is better than another, at places that neither has seen.",
    "runs": "List the trainings side by side: how far, how good, what differs.",
    "estimate": "Say what fetching, a training, or a run over millions takes: bytes, time, disk, memory, dollars.",
    "learning-curve": "Say what more places, or more images of each place, would bring; draw it.",
    "ingest": "Annotation files -> tables of images, locations, boxes and labels.",
    "fetch": "Images -> files on this disk, from a folder, S3, GCS, Azure or HTTP.",
    "crop": "Files and boxes -> crops.",
    "dataset": "Crops and labels -> examples.",
    "split": "Examples -> train, val and test, by camera.",
    "embed": "Crops -> features of a frozen model.",
    "train": "Examples -> a classifier.",
    "predict": "A classifier and crops -> scores.",
    "evaluate": "Scores -> how good, where; a report.",
}
BESIDE_STAGES = {  # modules of trapline.commands; every other command is a stage's
    "projects": ("demo", "init", "run", "status", "doctor"),
    "tools": ("convert", "labels", "compare", "runs", "estimate", "learning-curve"),
    "deciding": ("decide",),
    "predicting": ("detect",),
    "reviewing": ("review",),
    "inspecting": ("inspect",),
    "exporting": ("export",),
    "serving": ("serve",),
}

app = App(
    name="trapline",
    version=__version__,
    help="From camera-trap annotations to a species classifier that holds up at cameras it has never seen.",
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for name, text in HELP.items():
    module = next((module for module, names in BESIDE_STAGES.items() if name in names), "stages")
    group = "Stages, in the order data flows" if module == "stages" else "Commands"
    if name != "estimate":
        app.command(f"trapline.commands.{module}:{name.replace('-', '_')}", name=name, help=text, group=group)
        continue
    estimates = App(name=name, help=text, group=group)
    estimates.command("trapline.commands.tools:estimate_fetch", name="fetch", help="Images, bytes, time, disk.")
    estimates.command("trapline.commands.tools:estimate_train", name="train", help="Memory, disk, time per epoch.")
    estimates.command("trapline.commands.planning:estimate_run", name="run", help="Millions of images: time, dollars.")
    app.command(estimates)


def main() -> None:
    """Run a command line and exit: 0 done, 1 failed, 2 usage or config, 3 too many failures, 130 interrupted."""
    code = run_command(sys.argv[1:])
    if code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the impatient press Ctrl-C twice
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; says on stderr what went wrong, without a traceback."""
    try:
        app(arguments)
    except TraplineError as error:
        return _say(str(error), error.exit_code)
    except CycloptsError as error:
        return _say(_usage(error), 2)
    except KeyboardInterrupt:
        return _say("interrupted. Finished work is kept: the same command continues.", INTERRUPTED)
    except BrokenPipeError:  # `trapline status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _say(message: str, code: int) -> int:
    print(f"trapline: {message}", file=sys.stderr)
    return code


def _usage(error: CycloptsError) -> str:
    """Cyclopts' message; where a config type refused a value, its problems in plain words."""
    cause: BaseException | None = error
    while cause is not None and not hasattr(cause, "errors"):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return f"{error}"
    from trapline.core.config import ProjectConfig
    from trapline.io.project_file import problems

    lines = problems(cause, ProjectConfig)  # type: ignore[arg-type]
    return "\n  - ".join(["bad options:", *(f"--{line.replace('_', '-', 1)}" for line in lines)])
