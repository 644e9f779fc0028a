#!/usr/bin/env python3
"""Makes a pack's target bigger without changing what it says, for honest costs where no big model is at hand.

    pip install onnx; python3 tests/peers/inflate.py PACK OUT --layers 64

Layers are added until there are as many as asked for. Each computes what the last layer computes, on weights of its own, but
its output projections are zero, so that it adds nothing: the text is the target's, the work is a bigger model's. The drafter
is copied as it is. Works on targets that `drafthorse-train export` wrote with f32 weights. Say where numbers come from such
a target: `tests/peers/report.py --inflated "64 layers, 56 of them idle"`.
"""

import argparse
import copy
import json
import shutil
from pathlib import Path

import onnx
from onnx import numpy_helper

ZERO = ("/output.weight", "/ffn/down.weight")


def layer_count(graph):
    """Layers of the graph, by the names of its caches."""
    return sum(port.name.startswith("past_key_values.") and port.name.endswith(".key") for port in graph.input)


def renamed(text, last, new):
    """A name of layer `last`, or of the one before it, as layer `new` has it."""
    for part in ("layers.{}/", "past_key_values.{}.", "present.{}."):
        for offset in (0, 1):
            old = part.format(last - offset)
            if text.startswith(old):
                return part.format(new - offset) + text[len(old):]
    return text


def add_layer(graph, last, new):
    """Appends an idle layer after layer `new - 1`, like layer `last`."""
    own = f"layers.{last}/"
    for tensor in [tensor for tensor in graph.initializer if tensor.name.startswith(own)]:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name.endswith(ZERO):
            values[:] = 0
        graph.initializer.append(numpy_helper.from_array(values, renamed(tensor.name, last, new)))
    final = next(index for index, node in enumerate(graph.node) if node.name == "final_norm")
    for node in [node for node in graph.node if node.name.startswith(own)]:
        made = copy.deepcopy(node)
        made.name = renamed(node.name, last, new)
        made.input[:] = [renamed(name, last, new) for name in node.input]
        made.output[:] = [renamed(name, last, new) for name in node.output]
        graph.node.insert(final, made)
        final += 1
    for ports, kind in ((graph.input, "past_key_values"), (graph.output, "present")):
        for port in [port for port in ports if port.name.startswith(f"{kind}.{last}.")]:
            made = copy.deepcopy(port)
            made.name = renamed(port.name, last, new)
            ports.append(made)


def inflate(source, target, layers):
    """Writes the inflated model; returns how many layers it had."""
    model = onnx.load(str(source))
    had = layer_count(model.graph)
    if had < 2 or not any(node.name == "final_norm" for node in model.graph.node):
        raise SystemExit(f"{source}: not a graph of at least two layers that drafthorse-train exported")
    if layers < had:
        raise SystemExit(f"{source} has {had} layers already")
    for new in range(had, layers):
        add_layer(model.graph, had - 1, new)
    norm = next(node for node in model.graph.node if node.name == "final_norm")
    norm.input[:] = [name.replace(f"layers.{had - 1}/", f"layers.{layers - 1}/") for name in norm.input]
    onnx.save_model(model, str(target), save_as_external_data=True, location=target.name + ".data", size_threshold=1024)
    return had


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=64)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    config = json.loads((arguments.pack / "genai_config.json").read_text())
    decoder = config["model"]["decoder"]
    name = decoder["filename"]
    had = inflate(arguments.pack / name, arguments.out / name, arguments.layers)
    decoder["num_hidden_layers"] = arguments.layers
    (arguments.out / "genai_config.json").write_text(json.dumps(config, indent=2))
    # The manifest's digests are the small target's, so the folder becomes a plain onnxruntime-genai one.
    left_out = {"drafthorse.json", "genai_config.json", "README.md", name, name + ".data"}
    for file in arguments.pack.iterdir():
        if file.name not in left_out:
            shutil.copy(file, arguments.out)
    print(f"{arguments.out}: {arguments.layers} layers, {arguments.layers - had} of them idle")


if __name__ == "__main__":
    main()
