"""Starts TensorZero's gateway in this process, says where it listens, and serves until it is ended."""

import signal
import sys

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
with open(sys.argv[2], "w", encoding="utf-8") as told:
    told.write(gateway.base_url + "\n")
signal.pause()
