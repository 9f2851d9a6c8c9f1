#!/usr/bin/env bash
# llama.cpp's own server, for tests: as PyPI's xllamacpp has built it, so that nothing is compiled.
#
#   llama.sh -m WEIGHTS -t THREADS --port PORT     llama-server's options; it says `listening on` when it does
#
# It installs the package beside the other clients under target/ where it is missing.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/target/clients/bin/python
[ -x "$python" ] || python3 -m venv "$root/target/clients"
"$python" -c 'import xllamacpp' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: 'xllamacpp==2026.10.11549' >&2
exec "$python" "$root/tests/servers/llama.py" "$@"
