"""Models that read: classification as the Open Inference Protocol, embeddings in OpenAI's shape."""
import base64
import json
from pathlib import Path

import torch

from wire import Wrong

MOST_TEXTS = 256
MOST_TOKENS = 8192


def checked(texts):
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_TEXTS or not all(isinstance(t, str) for t in texts):
        raise Wrong(f"1 to {MOST_TEXTS} texts are taken at once")
    return texts


class Reader:
    def __init__(self, model, tokenizer, folder):
        self.model, self.tokenizer, self.folder = model, tokenizer, Path(folder)
        self.most = min(MOST_TOKENS, getattr(model.config, "max_position_embeddings", None) or MOST_TOKENS)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def run(self, texts):
        """Each text by itself: how long its neighbours are must not change what it comes to."""
        tokens = [self.tokenizer(t, return_tensors="pt", truncation=True, max_length=self.most) for t in texts]
        for text, one in zip(texts, tokens):
            if one["input_ids"].shape[1] == 0:
                raise Wrong("a text is empty")
        with torch.inference_mode():
            return [(one, self.model(**one)) for one in tokens], sum(one["input_ids"].shape[1] for one in tokens)


class Classifier(Reader):
    def ways(self):
        return {"/v2/models/model/infer": self.infer}

    def infer(self, body, _):
        given = body.get("inputs")
        tensors = [t for t in given if isinstance(t, dict)] if isinstance(given, list) else []
        if len(tensors) != 1 or tensors[0].get("name") != "text" or tensors[0].get("datatype") != "BYTES":
            raise Wrong("the one input of this model is 'text': BYTES, a list of texts")
        results, _ = self.run(checked(tensors[0].get("data")))
        scores = [result.logits[0].float().softmax(-1) for _, result in results]
        names = [str(self.model.config.id2label.get(i, i)) for i in range(len(scores[0]))]
        labels = [names[int(score.argmax())] for score in scores]
        return {
            "model_name": "model", "id": body.get("id") or "",
            "outputs": [
                {"name": "label", "datatype": "BYTES", "shape": [len(labels)], "data": labels},
                {"name": "scores", "datatype": "FP32", "shape": [len(scores), len(names)],
                 "data": [value for score in scores for value in score.tolist()]},
                {"name": "labels", "datatype": "BYTES", "shape": [len(names)], "data": names},
            ],
        }


class Embedder(Reader):
    def __init__(self, model, tokenizer, folder):
        super().__init__(model, tokenizer, folder)
        # As sentence-transformers write it beside a model; the mean of all tokens is what most of them take.
        pooling = self.folder / "1_Pooling" / "config.json"
        told = json.loads(pooling.read_text()) if pooling.exists() else {}
        self.takes_first = bool(told.get("pooling_mode_cls_token"))
        self.takes_last = bool(told.get("pooling_mode_lasttoken"))

    def ways(self):
        return {"/v1/embeddings": self.embeddings}

    def embeddings(self, body, _):
        given = body.get("input")
        results, used = self.run(checked([given] if isinstance(given, str) else given))
        vectors = []
        for _, result in results:
            hidden = result.last_hidden_state[0].float()
            vector = hidden[0] if self.takes_first else hidden[-1] if self.takes_last else hidden.mean(0)
            vectors.append(torch.nn.functional.normalize(vector, dim=0))
        if body.get("encoding_format") == "base64":
            rows = [base64.b64encode(v.numpy().astype("<f4").tobytes()).decode() for v in vectors]
        else:
            rows = [v.tolist() for v in vectors]
        return {
            "object": "list", "model": "model",
            "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }
