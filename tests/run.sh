#!/usr/bin/env bash
# All tests: the workspace, the ring under loom, real clients and, where they are installed, a real PostgreSQL and a real
# QuestDB (Java 17, Maven); with KANDLE_WITH_LOCAL_MODEL=1 real language models. Prepares what they need under target/.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { command -v "$1" >/dev/null || { echo "tests/run.sh: $1 is missing: $2" >&2; exit 1; }; }
need cargo "install Rust from your system's packages or rustup"
need python3 "install python3 with its venv module"

venv=target/clients
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import websockets, requests, polars, pandas, pyarrow, stripe, schemathesis, llmock, openai, llm_comply' 2>/dev/null ||
  "$venv/bin/pip" install --quiet 'websockets>=14,<17' requests polars pandas pyarrow 'stripe==16.1.0' 'schemathesis>=4,<5' 'llmock==0.2.2' \
    'openai>=2,<3' llm-comply
export KANDLE_PYTHON="$PWD/$venv/bin/python" KANDLE_LLMOCK="$PWD/$venv/bin/llmock"
if command -v node >/dev/null; then
  KANDLE_NODE=$(command -v node)
  js="$PWD/target/clients-js"
  if command -v npm >/dev/null && [ ! -d "$js/node_modules/openai" ]; then
    npm install --silent --no-audit --no-fund --prefix "$js" openai
  fi
  if [ -d "$js/node_modules/openai" ]; then export KANDLE_OPENAI_JS="$js"; fi
  export KANDLE_NODE
fi

free_ports() { # as many as asked for, of the loopback
  python3 -c 'import socket, sys
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(server.getsockname()[1] for server in servers))' "$1"
}
started=()
# PostgreSQL does not run as root, and another user may not enter the folder of this project.
postgres=$(mktemp -d)
chmod 755 "$postgres"
stop_servers() {
  for server in "${started[@]}"; do bash "tests/servers/${server%%=*}.sh" stop "${server#*=}"; done
  rm -rf "$postgres"
}
trap stop_servers EXIT

if [ -z "${KANDLE_QUESTDB:-}" ] && command -v java >/dev/null && command -v mvn >/dev/null; then
  read -r http pg < <(free_ports 2)
  started+=(questdb=target/questdb)
  bash tests/servers/questdb.sh start target/questdb "$http" "$pg"
  export KANDLE_QUESTDB="http://127.0.0.1:$http"
fi
if [ -z "${KANDLE_POSTGRES:-}" ] && compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
  read -r pg < <(free_ports 1)
  started+=("postgres=$postgres/server")
  bash tests/servers/postgres.sh start "$postgres/server" "$pg"
  export KANDLE_POSTGRES="postgres://kandle@127.0.0.1:$pg/postgres"
fi

# Most suites of the program wait for moments to come: more threads than processors wait together.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} cargo test --workspace --quiet "$@"
if [ -n "${KANDLE_WITH_LOCAL_MODEL:-}" ]; then # Some minutes to compile.
  KANDLE_LOCAL_MODEL=$(bash api/llm/model/fetch.sh)
  export KANDLE_LOCAL_MODEL KANDLE_REQUIRE_LOCAL_MODEL=1 KANDLE_LLAMA_SERVER="$PWD/tests/servers/llama.sh"
  # A model takes one core: more are no faster where others want them as well.
  CANDLE_NUM_THREADS=1 RAYON_NUM_THREADS=1 cargo test --workspace --features local --quiet --test it local::
fi
echo "the ring, every interleaving:"
RUSTFLAGS="--cfg loom" cargo test --quiet --release -p engine --lib --target-dir target/loom loom_
