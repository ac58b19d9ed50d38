"""What the doctor says: of GPUs that are not used and why, of disks, credentials and missing parts."""

import json
import subprocess
from pathlib import Path

import pytest

from exports import animl_image, animl_object, write
from misbehaving import jpeg, misbehaving
from trapline.apps.doctor import gpu, machine
from trapline.apps.doctor.gpu import Driver, diagnose
from trapline.cli import run_command
from trapline.learn.cuda import TorchFacts

CPU_BUILD = TorchFacts("2.9.0+cpu")
CU13 = TorchFacts("2.15.0+cu130", "13.0", archs=("sm_75", "sm_80"))
T4_GPU = ("Tesla T4", "sm_75", 15_800_000_000, 15_000_000_000)
T4 = TorchFacts("2.15.0+cu130", "13.0", True, ("sm_75", "sm_80"), (T4_GPU,))


def here(version="535.104.05", **changes):
    return Driver(**{"gpus": ("Tesla T4",), "version": version, "device_files": True, "on_bus": True, **changes})


@pytest.mark.parametrize(
    ("torch", "system", "state", "says", "remedy"),
    [
        # The old chain's "trouble finding CUDA": torch's CUDA is newer than the driver.
        (CU13, here(), "fault", "built for CUDA 13.0, which needs driver 580 or newer", "--torch-backend=cu126"),
        (CU13, here("570.86.10"), "fault", "needs driver 580", "--torch-backend=cu128"),
        (CU13, here("470.57.02"), "fault", "needs driver 580", "sudo apt-get install nvidia-driver-580"),
        (CPU_BUILD, here("580.65.06"), "fault", "this torch was built for the CPU only", "--torch-backend=cu130"),
        (CU13, here("580.65.06", environment={"CUDA_VISIBLE_DEVICES": ""}), "fault", "hides it", "unset CUDA_VISIBLE"),
        (
            CU13,
            here("580.65.06", environment={"LD_LIBRARY_PATH": "/usr/local/cuda-11.3/lib64"}),
            "fault",
            "LD_LIBRARY_PATH puts another CUDA before torch's own",
            "unset LD_LIBRARY_PATH",
        ),
        (CU13, here("580.65.06", device_files=False), "fault", "/dev/nvidia0 is missing", "docker run --gpus all"),
        (CU13, here("580.65.06"), "fault", "updated without a restart", "sudo reboot"),
        (CU13, Driver(problem="couldn't communicate", on_bus=True), "fault", "couldn't communicate", "nvidia-driver"),
        (CU13, Driver(on_bus=True), "fault", "without a driver", "sudo apt-get install nvidia-driver-580"),
        (CU13, Driver(), "note", "none: training takes minutes", ""),
        (T4, here("580.65.06"), "ok", "Tesla T4 (sm_75), 15.8 GB of memory, 15.0 GB free", ""),
        (TorchFacts(problem="OSError: libcudart"), here(), "fault", "cannot be loaded: OSError", "--reinstall torch"),
    ],
)
def test_a_gpu_that_is_not_used_has_a_cause_and_a_command(torch, system, state, says, remedy):
    last = diagnose(torch, system)[-1]
    assert last.state == state
    assert says in last.says
    assert remedy in last.remedy
    assert bool(last.remedy) == (state == "fault")


def test_a_gpu_too_old_or_too_full():
    old = TorchFacts("2.15", "13.0", True, ("sm_75", "sm_80"), (("Tesla K80", "sm_37", 12 * 10**9, 12 * 10**9),))
    assert diagnose(old, here())[-1].state == "fault"
    assert "no code for it (it has sm_75, sm_80)" in diagnose(old, here())[-1].says
    newer = TorchFacts("2.15", "13.0", True, ("sm_75", "sm_80"), (("L4", "sm_89", 24 * 10**9, 23 * 10**9),))
    assert diagnose(newer, here())[-1].state == "ok"  # code of 8.0 runs on 8.9
    full = TorchFacts("2.15", "13.0", True, ("sm_75",), (("Tesla T4", "sm_75", 15 * 10**9, 10**9),))
    assert diagnose(full, here())[-1].state == "note"
    assert "nvidia-smi" in diagnose(full, here())[-1].remedy


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Put a program named nvidia-smi first on the PATH, as a driver of that version brings it."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(script):
        path = folder / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


def test_the_driver_is_asked(smi):
    smi("echo 'Tesla T4, 470.57.02'; echo 'Tesla T4, 470.57.02'")
    assert (gpu.driver().gpus, gpu.driver().version) == (("Tesla T4", "Tesla T4"), "470.57.02")
    smi('echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9')
    assert "couldn't communicate" in gpu.driver().problem
    smi("exit 1")
    assert gpu.driver().problem == "it names no GPU"


def say(capsys, *arguments):
    code = run_command([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return code, captured.out, captured.err


@pytest.fixture
def no_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_machine_without_faults(no_credentials, tmp_path, capsys):
    code, out, err = say(capsys, "doctor", "--project", tmp_path)
    assert (code, err) == (0, "")
    for words in ("ok    Python", "ok    torch", "cores", "memory", "GB free of", "note  AWS profiles  none"):
        assert words in out
    assert "-> aws configure --profile animl" in out
    (tmp_path / "credentials").write_text("[animl]\naws_access_key_id=A\naws_secret_access_key=VERYSECRET\n")
    code, out, _ = say(capsys, "doctor", "--project", tmp_path, "--json")
    found = json.loads(out)
    assert (code, found["fit"]) == (0, True)
    rows = {row["check"]: row for row in found["findings"]}
    assert rows["AWS profiles"] == {"check": "AWS profiles", "state": "ok", "says": "animl", "remedy": ""}
    assert "VERYSECRET" not in out


def test_an_unused_gpu_ends_with_1(smi, no_credentials, tmp_path, capsys):
    smi("echo 'Tesla T4, 470.57.02'")
    code, out, err = say(capsys, "doctor", "--project", tmp_path, "--json")
    assert code == 1
    assert "findings stand in the way: GPU" in err
    found = json.loads(out)
    assert found["fit"] is False
    assert [row["check"] for row in found["findings"] if row["state"] == "fault"] == ["GPU"]


def test_the_projects_store_is_asked(no_credentials, tmp_path, capsys):
    export = write(tmp_path / "e.json", [animl_image("a:i")], [animl_object("o", "a:i", "fox")])
    with misbehaving() as server:
        server.objects["photos/original/a:i-original.jpg"] = jpeg(1)
        root = tmp_path / "p"
        assert say(capsys, "init", root, "--annotations", export, "--images", f"{server.url}/photos")[0] == 0
        assert "not asked, the export was not read yet" in say(capsys, "doctor", "--project", root)[1]
        assert say(capsys, "run", "--until", "ingest", "--project", root)[0] == 0
        code, out, _ = say(capsys, "doctor", "--project", root)
        assert code == 0
        assert "/photos: readable with the environment's credentials (first image: 0.0 MB)" in out
        server.objects.clear()
        code, out, err = say(capsys, "doctor", "--project", root)
        assert code == 1
        assert "fault store" in out
        assert "findings stand in the way: store" in err
        assert not server.gets  # its size was asked for, nothing was fetched
    (root / "trapline.yaml").write_text("spilt: 1\n")
    code, out, _ = say(capsys, "doctor", "--project", root)
    assert (code, "fault project" in out) == (1, True)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes rights that this user lacks")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disks(small_disk, tmp_path, monkeypatch):
    found = machine.disk(small_disk / "islands" / "deeper")
    assert (found.state, "0.0 GB free of 0.0 GB" in found.says) == ("fault", True)
    assert "trapline crop --stream" in found.remedy
    monkeypatch.setenv("UV_CACHE_DIR", str(small_disk))
    found = machine.uv_cache()
    assert found is not None
    assert (found.state, "lies on another disk than" in found.says) == ("note", True)
    assert found.remedy.startswith("export UV_CACHE_DIR=")
    monkeypatch.setenv("UV_CACHE_DIR", str(Path(machine.sys.prefix)))
    same = machine.uv_cache()
    assert same is not None
    assert same.state == "ok"
