"""llama.cpp's server with the options of llama-server that tests give: see llama.sh."""

import argparse
import signal

import xllamacpp

options = argparse.ArgumentParser()
options.add_argument("-m", required=True)
options.add_argument("-t", type=int, required=True)
options.add_argument("--port", type=int, required=True)
options = options.parse_args()

params = xllamacpp.CommonParams()
params.model.path = options.m
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.t
params.hostnames, params.port = ["127.0.0.1"], options.port
params.n_parallel, params.n_ctx = 1, 4096
server = xllamacpp.Server(params)  # It says itself that it listens.
signal.pause()
