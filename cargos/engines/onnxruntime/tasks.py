"""What a model is asked, in terms of tensors. Its own metadata say how: `tokenizer`, `task`, `labels`."""
import base64

import numpy as np

import png
from wire import Wrong

TYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "INT8": np.int8,
    "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}
NAMES = {np.dtype(value): key for key, value in TYPES.items()}
ONNX = {
    "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
MOST_ELEMENTS = 1 << 26
MOST_TOKENS = 8192


class Model:
    def __init__(self, session):
        self.session = session
        self.inputs = {i.name: i for i in session.get_inputs()}
        self.outputs = [o.name for o in session.get_outputs()]
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)
        self.task = self.metadata.get("task", "")

    # Tensors: the Open Inference Protocol, version 2.

    def describe(self):
        def one(value):
            shape = [n if isinstance(n, int) else -1 for n in value.shape]
            return {"name": value.name, "datatype": ONNX.get(value.type, "BYTES"), "shape": shape}
        return {
            "name": "model", "platform": "onnxruntime", "inputs": [one(i) for i in self.session.get_inputs()],
            "outputs": [one(o) for o in self.session.get_outputs()],
        }

    def infer(self, body):
        given = body.get("inputs")
        if not isinstance(given, list) or not given:
            raise Wrong("'inputs' is a list of tensors")
        named = {}
        for tensor in given:
            if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
                raise Wrong("each input has a name, a datatype, a shape and data")
            named[tensor["name"]] = tensor
        wanted = [o.get("name") for o in body.get("outputs") or [] if isinstance(o, dict)] or self.outputs
        if "text" in named and "text" not in self.inputs:
            feed = self.tokens(self.words(named.pop("text")))
        elif "image" in named and "image" not in self.inputs:
            feed = self.pictures(self.words(named.pop("image")))
        else:
            feed = {}
        for name, tensor in named.items():
            if name not in self.inputs:
                raise Wrong(f"the model has no input '{name[:80]}'; it has {', '.join(self.inputs)}")
            feed[name] = self.tensor(tensor)
        missing = [name for name in self.inputs if name not in feed]
        if missing:
            raise Wrong(f"the input '{missing[0]}' is missing")
        results = dict(zip(self.outputs, self.session.run(None, feed)))
        labels = self.metadata.get("labels")
        if labels and "label" not in results:
            scores = next((v for v in results.values() if v.ndim == 2), None)
            if scores is not None:
                names = labels.split("\n") if "\n" in labels else labels.split(",")
                results["label"] = np.array([names[i] if i < len(names) else str(i) for i in scores.argmax(1)], object)
                wanted = wanted + ["label"] if wanted == self.outputs else wanted
        unknown = [name for name in wanted if name not in results]
        if unknown:
            raise Wrong(f"the model has no output '{str(unknown[0])[:80]}'; it has {', '.join(results)}")
        return {"model_name": "model", "id": body.get("id") or "", "outputs": [self.answer(n, results[n]) for n in wanted]}

    @staticmethod
    def answer(name, value):
        kind = NAMES.get(value.dtype, "BYTES")
        data = [str(v) for v in value.ravel()] if kind == "BYTES" else value.ravel().tolist()
        return {"name": name, "datatype": kind, "shape": list(value.shape), "data": data}

    def tensor(self, given):
        name, kind, shape = given["name"], given.get("datatype"), given.get("shape")
        wanted = ONNX.get(self.inputs[name].type)
        if kind not in TYPES or kind != wanted:
            raise Wrong(f"the input '{name}' is {wanted}, not '{str(kind)[:20]}'")
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 <= n < 1 << 31 for n in shape):
            raise Wrong(f"the shape of '{name}' is a list of sizes")
        count = 1
        for n in shape:
            count *= n
        if count > MOST_ELEMENTS:
            raise Wrong(f"the input '{name}' has more than {MOST_ELEMENTS} elements")
        try:
            value = np.array(given.get("data"), dtype=TYPES[kind]).ravel()
        except (ValueError, TypeError, OverflowError) as error:
            raise Wrong(f"the data of '{name}' are not {kind}") from error
        if value.size != count:
            raise Wrong(f"the input '{name}' has {value.size} elements where its shape says {count}")
        return value.reshape(shape)

    @staticmethod
    def words(tensor):
        data = tensor.get("data")
        if tensor.get("datatype") != "BYTES" or not isinstance(data, list) or not all(isinstance(d, str) for d in data):
            raise Wrong(f"the input '{tensor['name']}' is BYTES: a list of texts")
        if not 0 < len(data) <= 256:
            raise Wrong("1 to 256 texts are taken at once")
        return data

    # Texts.

    def tokens(self, texts):
        if self.metadata.get("tokenizer") != "bytes" or "input_ids" not in self.inputs:
            raise Wrong("this model takes tensors and no text")
        rows = [[byte + 1 for byte in text.encode()[:MOST_TOKENS]] for text in texts]
        length = max(1, max(len(row) for row in rows))
        feed = {"input_ids": np.array([row + [0] * (length - len(row)) for row in rows], np.int64)}
        if "attention_mask" in self.inputs:
            feed["attention_mask"] = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int64)
        if "token_type_ids" in self.inputs:
            feed["token_type_ids"] = np.zeros((len(rows), length), np.int64)
        return feed

    def embeddings(self, body):
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not 0 < len(texts) <= 256 or not all(isinstance(t, str) for t in texts):
            raise Wrong("'input' is a text, or a list of 1 to 256 of them")
        if "sentence_embedding" not in self.outputs:
            raise Wrong("this model makes no embeddings")
        vectors = self.session.run(["sentence_embedding"], self.tokens(texts))[0].astype(np.float32)
        if body.get("encoding_format") == "base64":
            rows = [base64.b64encode(v.tobytes()).decode() for v in vectors]
        else:
            rows = vectors.tolist()
        used = sum(len(t.encode()) for t in texts)
        return {
            "object": "list", "model": "model",
            "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }

    # Pictures.

    def pictures(self, texts):
        """The only input as [n, channels, height, width] between 0 and 1, from PNGs in base64."""
        if self.task != "image-classification" or len(self.inputs) != 1:
            raise Wrong("this model takes tensors and no pictures")
        name, value = next(iter(self.inputs.items()))
        shape = [n if isinstance(n, int) else None for n in value.shape]
        pictures = []
        for text in texts:
            try:
                pixels = png.read(base64.b64decode(text, validate=True)).astype(np.float32) / 255
            except ValueError as error:
                raise Wrong(str(error)) from error
            if shape[1] == 1:
                pixels = pixels[:, :, :3].mean(2, keepdims=True)
            pictures.append(pixels[:, :, : shape[1] or 3].transpose(2, 0, 1))
        if any(p.shape != pictures[0].shape or list(p.shape) != [s or r for s, r in zip(shape[1:], p.shape)] for p in pictures):
            raise Wrong(f"the pictures are not of the size {shape[1:]} that the model takes")
        return {name: np.stack(pictures)}
