"""The set-up scripts, run on a machine made of fake programs: nothing is downloaded."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ["bash", "cat", "chmod", "cksum", "cp", "dirname", "flock", "grep", "mkdir"]

FAKE_PYTHON = """#!/bin/bash
echo "python $*" | head -n 1 >> "$FAKE_LOG"
case "$*" in
    *_base_executable*) echo "$0"; exit "${FAKE_PYTHON_OLD:-0}" ;;
    *--version) echo "Python 3.${FAKE_MINOR:-11}" ;;
    *%d.%d*) echo "3.11" ;;
    *ensurepip*) exit "${FAKE_NO_ENSUREPIP:-0}" ;;
    *ctypes*) [ -z "$FAKE_NO_GL" ] || echo "libegl1 libgl1" ;;
    *"-m venv"*) mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python" ;;
    *+cpu*) exit "${FAKE_NO_CPU_INDEX:-0}" ;;
esac
"""
FAKES = {
    "python3": FAKE_PYTHON,
    "uname": "#!/bin/bash\necho ${FAKE_UNAME:-Linux}\n",
    "id": "#!/bin/bash\necho ${FAKE_UID:-1000}\n",
    "apt-get": '#!/bin/bash\necho "apt-get $*" >> "$FAKE_LOG"\n',
    "head": '#!/bin/bash\nread -r line; echo "$line"\n',
}


class Machine:
    """A copy of the scripts with a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.log = folder / "re po", folder / "bin", folder / "log"
        (self.root / "scripts" / "lib").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts/lib/setup.sh", self.root / "scripts/lib")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        for name in TOOLS:
            if path := shutil.which(name):
                (self.bin / name).symlink_to(path)
        for name, text in FAKES.items():
            self.program(name, text)

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def nvidia_driver(self, answer: str) -> None:
        self.program("nvidia-smi", f"#!/bin/bash\n{answer}\n")

    def run(self, call: str, **settings: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        env = {"PATH": str(self.bin), "FAKE_LOG": str(self.log), **settings}
        script = f"set -euo pipefail; source scripts/lib/setup.sh; {call}"
        return subprocess.run(
            [str(self.bin / "bash"), "-c", script],
            cwd=self.root, env=env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def logged(self, word: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if word in line]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_cpu_build_is_chosen_without_a_driver(machine):
    assert machine.run("torch_build").stdout == "cpu\n"


@pytest.mark.parametrize(
    ("answer", "build"),
    [
        ("echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'", "cuda"),
        ("echo 'NVIDIA-SMI has failed because it could not talk to the driver'; exit 9", "cpu"),
        ("echo 'No devices were found'", "cpu"),
    ],
)
def test_build_follows_what_the_driver_answers(machine, answer, build):
    machine.nvidia_driver(answer)
    assert machine.run("torch_build").stdout == f"{build}\n"


def test_default_build_is_chosen_outside_linux(machine):
    assert machine.run("torch_build", FAKE_UNAME="Darwin").stdout == "default\n"


def test_torch_comes_first_from_the_cpu_index(machine):
    assert machine.run("set_up tensorboard").returncode == 0
    first, *rest = machine.logged("pip install")
    assert "https://download.pytorch.org/whl/cpu torch==2.13.0+cpu" in first
    assert len(rest) == 1
    assert rest[0].endswith(f"-e {machine.root}[tensorboard]")


def test_torch_falls_back_to_the_usual_index(machine):
    result = machine.run("set_up tensorboard", FAKE_NO_CPU_INDEX="1")
    assert result.returncode == 0
    assert "gave no CPU build" in result.stderr
    assert machine.logged("pip install")[1].endswith("torch==2.13.0")


def test_torch_with_a_driver_comes_from_the_usual_index(machine):
    machine.nvidia_driver("echo 'GPU 0: NVIDIA H100'")
    machine.run("set_up tensorboard")
    assert machine.logged("pip install")[0].endswith("--disable-pip-version-check torch==2.13.0")


def test_second_run_installs_nothing(machine):
    machine.run("set_up dev")
    assert machine.logged("[dev]")
    for call in ("set_up dev", "set_up tensorboard"):
        again = machine.run(call)
        assert again.returncode == 0
        assert again.stderr == ""
        assert not machine.logged("pip")


def test_tests_need_more_than_the_quick_start(machine):
    machine.run("set_up tensorboard")
    machine.run("set_up dev")
    assert machine.logged("[dev]")


def test_changed_dependencies_are_installed_into_the_same_environment(machine):
    machine.run("set_up tensorboard")
    with (machine.root / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    machine.run("set_up tensorboard")
    assert machine.logged("pip install")
    assert not machine.logged("-m venv")


def test_new_driver_makes_a_new_environment(machine):
    machine.run("set_up tensorboard")
    machine.nvidia_driver("echo 'GPU 0: NVIDIA H100'")
    machine.run("set_up tensorboard")
    assert machine.logged("venv --clear")


def test_failed_install_leaves_no_stamp(machine):
    machine.program("python3", FAKE_PYTHON + '[[ "$*" != *"-e "* ]]\n')
    assert machine.run("set_up tensorboard").returncode != 0
    machine.run("set_up tensorboard")
    assert machine.logged("pip install")


def test_old_python_is_named(machine):
    result = machine.run("set_up tensorboard", FAKE_PYTHON_OLD="1", FAKE_MINOR="9")
    assert result.returncode == 1
    assert "Python 3.11 or newer is required, found Python 3.9" in result.stderr


@pytest.mark.parametrize(
    ("lacking", "packages"),
    [("FAKE_NO_ENSUREPIP", "python3.11-venv"), ("FAKE_NO_GL", "libegl1 libgl1")],
)
def test_missing_system_packages_are_told_to_a_user_and_installed_by_root(
    machine, lacking, packages
):
    told = machine.run("set_up tensorboard", **{lacking: "1"})
    assert told.returncode == 1
    assert f"sudo apt-get update && sudo apt-get install -y {packages}\n" in told.stderr
    assert not machine.logged("apt-get")
    installed = machine.run("set_up tensorboard", FAKE_UID="0", **{lacking: "1"})
    assert installed.returncode == 0
    assert machine.logged(f"apt-get install -y -qq --no-install-recommends {packages}")


def test_machine_without_apt_gets_the_package_names(machine):
    (machine.bin / "apt-get").unlink()
    result = machine.run("set_up tensorboard", FAKE_NO_GL="1", FAKE_UID="0")
    assert result.returncode == 1
    assert "libegl1 libgl1" in result.stderr


def test_another_gl_backend_needs_no_egl(machine):
    assert machine.run("set_up tensorboard", FAKE_NO_GL="1", MUJOCO_GL="osmesa").returncode == 0


@pytest.mark.parametrize("script", ["scripts/quickstart", "scripts/test", ".ci/run"])
def test_scripts_are_executable_and_parse(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)
