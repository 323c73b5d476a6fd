"""Serves one ONNX model over a unix socket: the Open Inference Protocol, and OpenAI's embeddings."""
import argparse

import onnxruntime

from tasks import Model
from wire import serve


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--threads", type=int, required=True)
    wanted = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = Model(onnxruntime.InferenceSession(wanted.model, options, providers=["CPUExecutionProvider"]))
    ways = {
        "/v2/models/model/infer": lambda body, _: model.infer(body),
        "/v1/embeddings": lambda body, _: model.embeddings(body),
    }
    serve(wanted.socket, ways, {"/v2/models/model": model.describe})


if __name__ == "__main__":
    main()
