"""Serves the Hugging Face model of a local folder over a unix socket; what it does follows from its own config.json."""
import argparse

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from speech import Speaker
from texts import Classifier, Embedder
from wire import serve

# Weights are read as safetensors alone, and code that lies beside a model is never run.
SAFE = {"local_files_only": True, "trust_remote_code": False}


def load(folder, config):
    """The class that the first of its architectures asks for, and how it is served."""
    name = (config.architectures or [""])[0]
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return AutoModelForCausalLM, Speaker
    if name.endswith("ForSequenceClassification"):
        return AutoModelForSequenceClassification, Classifier
    return AutoModel, Embedder


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--threads", type=int, required=True)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    config = AutoConfig.from_pretrained(wanted.folder, **SAFE)
    tokenizer = AutoTokenizer.from_pretrained(wanted.folder, **SAFE)
    kind, way = load(wanted.folder, config)
    model = kind.from_pretrained(wanted.folder, use_safetensors=True, **SAFE).eval()
    serve(wanted.socket, way(model, tokenizer, wanted.folder).ways(), places=1)


if __name__ == "__main__":
    main()
