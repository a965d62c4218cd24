# Makes .venv ready. Source this file under `set -euo pipefail`, then call `set_up EXTRA`.
# The first run installs; later runs find their stamp in .venv and return at once.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
VENV=$ROOT/.venv
TORCH_VERSION=2.13.0
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# install_or_tell PURPOSE PACKAGE...: installs Debian packages as root, else prints the command.
install_or_tell() {
    local purpose=$1
    shift
    if ! command -v apt-get >/dev/null; then
        fail "$purpose is missing. Install it with your package manager (Debian's names: $*)."
    elif [[ $(id -u) == 0 ]]; then
        say "Installing $* ($purpose)"
        apt-get update -qq >&2 || say "apt-get update failed; trying with the lists at hand"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
            fail "$purpose is missing and could not be installed: apt-get install -y $*"
    else
        fail "$purpose is missing. Run this line, then try again:
    sudo apt-get update && sudo apt-get install -y $*"
    fi
}

# find_python: sets PYTHON_BIN to the first Python 3.11 or newer, outside any virtual environment.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        PYTHON_BIN=$("$candidate" -c 'import sys
print(sys._base_executable)
sys.exit(sys.version_info < (3, 11))' 2>/dev/null) && return
    done
    return 1
}

# require_python: sets PYTHON_BIN and PYTHON_VERSION.
require_python() {
    command -v "${PYTHON:-python3}" >/dev/null || install_or_tell "Python" python3 python3-venv
    find_python || fail "Python 3.11 or newer is required, found" \
        "$("${PYTHON:-python3}" --version 2>&1). Install one and name it: PYTHON=python3.12 $0"
    PYTHON_VERSION=$("$PYTHON_BIN" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
}

# torch_build: prints cuda where an NVIDIA driver answers, cpu elsewhere on Linux, else default.
torch_build() {
    if [[ $(uname -s) != Linux ]]; then
        echo default
    elif command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
        echo cuda
    else
        echo cpu
    fi
}

pip_install() {
    "$VENV/bin/python" -m pip install -qq --no-input --disable-pip-version-check "$@" >&2
}

# install_torch BUILD: comes before the package, or pip would take the CUDA build (several GB).
install_torch() {
    if [[ $1 == cpu ]]; then
        say "Installing torch $TORCH_VERSION, CPU build (no NVIDIA driver answers)"
        # Without dependencies: those come from the usual index, with the package.
        pip_install --no-deps --retries 1 --timeout 20 \
            --extra-index-url "$TORCH_CPU_INDEX" "torch==$TORCH_VERSION+cpu" && return
        say "$TORCH_CPU_INDEX gave no CPU build; taking torch from the usual package index"
    else
        say "Installing torch $TORCH_VERSION, $1 build"
    fi
    pip_install "torch==$TORCH_VERSION"
}

# make_venv IDENTITY: keeps a working .venv unless these scripts made it for another identity.
make_venv() {
    local made_for=
    [[ -f $VENV/.aime-identity ]] && made_for=$(<"$VENV/.aime-identity")
    if [[ -z $made_for || $made_for == "$1" ]] && "$VENV/bin/python" -m pip --version &>/dev/null; then
        say "Using the virtual environment in .venv"
    else
        "$PYTHON_BIN" -c 'import ensurepip, venv' 2>/dev/null ||
            install_or_tell "Python's venv module" "python$PYTHON_VERSION-venv"
        say "Making the virtual environment .venv with Python $PYTHON_VERSION"
        "$PYTHON_BIN" -m venv --clear "$VENV"
    fi
    printf '%s\n' "$1" >"$VENV/.aime-identity"
}

# require_gl: MuJoCo renders without a screen through EGL, and PyOpenGL needs libGL for it.
require_gl() {
    local missing
    [[ $(uname -s) == Linux && ${MUJOCO_GL:-egl} == egl ]] || return 0
    missing=$("$VENV/bin/python" -c 'import ctypes
for library, package in ("libEGL.so.1", "libegl1"), ("libGL.so.1", "libgl1"):
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package)')
    # shellcheck disable=SC2086  # one word per package
    [[ -z $missing ]] || install_or_tell "OpenGL for rendering" $missing
}

is_ready() { # EXTRA IDENTITY RECIPE
    [[ -x $VENV/bin/python && -f $VENV/.aime-identity && -f $VENV/.aime-ready-$1 ]] &&
        [[ $(<"$VENV/.aime-identity") == "$2" && $(<"$VENV/.aime-ready-$1") == "$3" ]]
}

# set_up EXTRA: the whole set-up; EXTRA is an optional dependency group of pyproject.toml.
set_up() {
    local extra=$1 build identity recipe covered
    exec 9<"$ROOT/scripts/lib/setup.sh"
    command -v flock >/dev/null && flock 9 # two scripts started at once take turns
    require_python
    build=$(torch_build)
    identity="Python $PYTHON_VERSION, torch $TORCH_VERSION $build, $ROOT"
    recipe=$(cat "$ROOT/pyproject.toml" "$ROOT/scripts/lib/setup.sh" | cksum)
    if ! is_ready "$extra" "$identity" "$recipe"; then
        make_venv "$identity"
        install_torch "$build"
        say "Installing aime-agent and what it needs (about two minutes the first time)"
        pip_install -e "$ROOT[$extra]"
        covered=$extra
        [[ $extra == dev ]] && covered="dev tensorboard" # as pyproject.toml says
        for extra in $covered; do
            printf '%s\n' "$recipe" >"$VENV/.aime-ready-$extra"
        done
    fi
    require_gl
    exec 9<&-
}
