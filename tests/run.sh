#!/usr/bin/env bash
# All tests: the workspace, the ring under loom, real clients and, where Java 17 and Maven are, a real QuestDB. Prepares
# what they need under target/.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { command -v "$1" >/dev/null || { echo "tests/run.sh: $1 is missing: $2" >&2; exit 1; }; }
need cargo "install Rust from your system's packages or rustup"
need python3 "install python3 with its venv module"

venv=target/clients
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import websockets, requests, polars, pandas, pyarrow' 2>/dev/null ||
  "$venv/bin/pip" install --quiet 'websockets>=14,<17' requests polars pandas pyarrow
export KANDLE_PYTHON="$PWD/$venv/bin/python"
if command -v node >/dev/null; then KANDLE_NODE=$(command -v node); export KANDLE_NODE; fi

if [ -z "${KANDLE_QUESTDB:-}" ] && command -v java >/dev/null && command -v mvn >/dev/null; then
  read -r http pg < <(python3 -c 'import socket
a, b = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
  trap 'bash tests/servers/questdb.sh stop target/questdb' EXIT
  bash tests/servers/questdb.sh start target/questdb "$http" "$pg"
  export KANDLE_QUESTDB="http://127.0.0.1:$http"
fi

cargo test --workspace --quiet "$@"
echo "the ring, every interleaving:"
RUSTFLAGS="--cfg loom" cargo test --quiet --release -p engine --lib --target-dir target/loom loom_
