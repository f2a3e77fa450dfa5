"""write_safetensors.py - save(): tensors to a safetensors file, widest elements first, then by name, so that all are aligned."""
import json
import struct

import torch


def save(path, tensors, metadata):
    names = {torch.float64: "F64", torch.float32: "F32", torch.int32: "I32"}
    order = sorted(tensors, key=lambda k: (-tensors[k].element_size(), k))
    header, data, at = {"__metadata__": {"format": "pt", "torch": torch.__version__, **metadata}}, [], 0
    for k in order:
        t = tensors[k].contiguous()
        raw = t.numpy().tobytes()
        header[k] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
