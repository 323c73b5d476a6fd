"""Serves a GGUF model with llama.cpp's own server, for tests: model_server.py MODEL PORT [NAME] [--embeddings]. Prints one line once it listens."""
import signal
import sys

import xllamacpp

model, port = sys.argv[1], int(sys.argv[2])
name = sys.argv[3] if len(sys.argv) > 3 and not sys.argv[3].startswith("--") else "tiny-chat"
params = xllamacpp.CommonParams()
params.model.path = model
params.model_alias = {name}
params.hostnames = ["127.0.0.1"]
params.port = port
params.n_ctx = 8192
params.n_parallel = 4
params.n_threads_http = 8
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.n_gpu_layers = 0
params.use_jinja = True
params.offline = True
params.fit_params = False
if "--embeddings" in sys.argv:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_ubatch = params.n_batch
server = xllamacpp.Server(params)
print(f"listening at {server.listening_address}", flush=True)
signal.pause()
