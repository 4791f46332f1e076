#!/usr/bin/env bash
# Make (or bring up to date) a virtual environment with this checkout installed in it, editable.
#
#     scripts/make_env.sh VENV [EXTRAS]      EXTRAS: of pyproject.toml, with commas, e.g. dev
#
# PYTHON names the interpreter (default python3). torch is chosen here, before the package asks for it:
#   Linux without an NVIDIA GPU   exactly a +cpu build, so that no CUDA build (gigabytes) can ever be taken
#   Linux with one                the newest build of PyPI that its driver can run, and the matching CuPy
#   elsewhere (macOS)             what PyPI has
set -euo pipefail

die() { printf 'make_env.sh: %s\n' "$@" >&2; exit 2; }

[ $# -ge 1 ] && [ -n "$1" ] || die "No environment is named. Use: scripts/make_env.sh VENV [EXTRAS], e.g. scripts/make_env.sh .venv dev"
venv=$1 extras=${2:-}
python=${PYTHON:-python3}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The CUDA version of the NVIDIA driver, e.g. 13; 0 without a working GPU.
cuda_major() {
    local report
    command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU ' && report=$(nvidia-smi) ||
        { echo 0; return; }
    report=$(sed -n 's/.*CUDA [A-Z ]*Version: *\([0-9][0-9]*\)\..*/\1/p' <<<"$report")
    echo "${report:-0}"
}

require_python() {  # interpreter, what to do about an old one
    local found
    found=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
        die "$1 doesn't run. Install Python 3.11 or newer, or name one: PYTHON=python3.12 make …"
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$1 is Python $found, asyncred_gpu needs 3.11 or newer." "$2"
}

make_venv() {
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
        die "$venv exists and is no virtual environment: nothing is written into it. Name another folder."
    fi
    require_python "$python" "Name a newer one: PYTHON=python3.12 make …"
    "$python" -m venv "$venv" ||
        die "$python cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv"
}

if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    require_python "$venv/bin/python" "Remove $venv and run this again with a newer Python."
else
    make_venv
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

cuda=0
[ "$(uname -s)" != Linux ] || cuda=$(cuda_major)
if [ "$(uname -s)" != Linux ]; then
    pip install "torch>=2.6"
elif [ "$cuda" -ge 13 ]; then
    pip install "torch>=2.6"
    extras=${extras:+$extras,}gpu-cuda13
elif [ "$cuda" -eq 12 ]; then
    # From 2.11 on, PyPI's torch is built for CUDA 13, which a driver for CUDA 12 cannot run.
    pip install "torch>=2.6,<2.11"
    extras=${extras:+$extras,}gpu-cuda12
else
    echo "No NVIDIA GPU with a driver for CUDA 12 or newer: installing the CPU build of torch."
    pip install "torch==2.13.0+cpu" --extra-index-url https://download.pytorch.org/whl/cpu --retries 1
fi
pip install --editable "$root${extras:+[$extras]}"
# A script beside a clone named asyncred_gpu would otherwise take the clone's folder for the package.
"$venv/bin/python" - "$root" <<'PYTHON'
import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_paths()["purelib"], "asyncred_gpu_checkout.pth").write_text(sys.argv[1] + "\n")
PYTHON
touch "$venv/.installed"
[[ ",$extras," != *,dev,* ]] || touch "$venv/.ready"
