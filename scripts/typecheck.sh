#!/usr/bin/env bash
# Check the types of the installed package: scripts/typecheck.sh [VENV]
#
# kernels/ and models/ are asyncred_gpu's only once installed, and mypy can't follow an editable install's import
# hook. So the package is installed into build/typed, and mypy runs there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(cd "${1:-$root/.venv}" && pwd)
cd "$root"
rm -rf build  # setuptools would keep modules there that the checkout has dropped
trap 'rm -rf "$root/build"' EXIT
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation \
    --target build/typed .
cd build/typed
"$venv/bin/python" -m mypy --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache" -p asyncred_gpu
