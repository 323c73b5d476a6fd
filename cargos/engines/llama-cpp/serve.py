"""Serves one GGUF model over a unix socket with the llama.cpp that the xllamacpp wheel carries."""
import argparse
import os
import signal
import sys

import xllamacpp


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens of all slots together")
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--embeddings", action="store_true", help="the model makes vectors of texts")
    wanted = parser.parse_args()

    params = xllamacpp.CommonParams()
    params.model.path = wanted.model
    params.model_alias = {"model"}
    params.hostnames = [wanted.socket]
    params.n_ctx = wanted.context
    params.n_parallel = wanted.slots
    params.n_gpu_layers = wanted.gpu_layers
    params.cpuparams.n_threads = wanted.threads
    params.cpuparams_batch.n_threads = wanted.threads
    params.n_threads_http = wanted.slots + 2
    params.ui = False
    params.offline = True
    params.endpoint_slots = False
    params.warmup = True
    params.embedding = wanted.embeddings
    # Warnings and errors alone: lines about each request would wake whoever keeps the log in the middle of an answer.
    params.verbosity = 2
    # Prompts of the past would count against the memory that the model was given.
    params.cache_ram_mib = 0
    params.fit_params = False

    # pid 1 of the sandbox passes SIGTERM on; llama.cpp's own threads have nothing to save.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = xllamacpp.Server(params)
    print(f"listening at {server.listening_address}", file=sys.stderr, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
