"""The graph of `sketch_encoder`, as `keras.utils.plot_model` would draw it, read from the model itself.

`python -m tests.docs.graph` writes docs/images/sketch_encoder.svg again after a change of the model.
"""

from __future__ import annotations

import dataclasses
from html import escape

import keras

from tests.conftest import REPOSITORY
from tf_ssgn import config
from tf_ssgn.models.backbones import build_backbone
from tf_ssgn.models.encoders import build_encoders
from tf_ssgn.models.ssgn import SSGN

FILE = REPOSITORY / "docs" / "images" / "sketch_encoder.svg"
WIDTH, HEIGHT, ACROSS, DOWN = 250, 44, 280, 74  # of a box, and from one to the next
SEMANTICS = 384  # of the shipped words


def sketch_encoder() -> keras.Model:
    """That of the preset `everyday` with one draw: every further one repeats the decoders' two boxes."""
    chosen = dataclasses.replace(config.preset("everyday").model, samples=1)
    backbone = build_backbone(chosen.backbone, 224, pooling=chosen.pooling)
    return build_encoders(backbone, SSGN(chosen, backbone.output_shape[-1], SEMANTICS, classes=2))[0]


def arrows(model: keras.Model) -> dict[str, list[str]]:
    """The names of layers to those that they take their input from."""
    # A layer that fusion networks share has nodes of theirs too.
    own = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    inputs: dict[str, list[str]] = {}
    hidden = set()  # casts of tensors between layers
    for operation in model.operations:
        nodes = [node for node in operation._inbound_nodes if id(node) in own]
        parents = [parent.operation.name for node in nodes for parent in node.parent_nodes]
        parents = [way for name in parents for way in (inputs[name] if name in hidden else [name])]
        inputs[operation.name] = list(dict.fromkeys(parents))
        if not isinstance(operation, keras.layers.Layer):
            hidden.add(operation.name)
    return {name: parents for name, parents in inputs.items() if name not in hidden}


def draw(model: keras.Model) -> str:
    """The SVG: a box a layer, with its kind, its name where it has one of its own, and the shape that it gives."""
    inputs = arrows(model)
    rank: dict[str, int] = {}
    for name, parents in inputs.items():
        rank[name] = max((rank[parent] + 1 for parent in parents), default=0)
    rows = [[name for name in inputs if rank[name] == row] for row in range(max(rank.values()) + 1)]
    wide = max(map(len, rows)) * ACROSS
    middle = {
        name: (wide / 2 + (column - (len(row) - 1) / 2) * ACROSS, number * DOWN + 40)
        for number, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    lines, lanes = [], {-1: 0, 1: 0}
    for name, parents in inputs.items():
        for parent in parents:
            (x, y), (u, v) = middle[name], middle[parent]
            top, bottom = v + HEIGHT / 2, y - HEIGHT / 2 - 3
            if rank[name] - rank[parent] == 1:
                path = f"M{u:g} {top:g} C{u:g} {top + 22:g} {x:g} {bottom - 22:g} {x:g} {bottom:g}"
            else:  # around the boxes between
                side = 1 if u > wide / 2 else -1
                lanes[side] += 1
                out, end = wide / 2 + side * (wide / 2 + 16 * lanes[side]), x + side * (30 + 16 * lanes[side])
                path = f"M{u + side * WIDTH / 2:g} {v:g} H{out:g} V{bottom - 12:g} H{end:g} V{bottom:g}"
            lines.append(f'  <path d="{path}"/>')
    for name in inputs:
        x, y = middle[name]
        layer = model.get_layer(name)
        shape = layer.output[0].shape if isinstance(layer.output, list) else layer.output.shape
        kind = type(layer).__name__
        own = "" if name.rstrip("_0123456789").replace("_", "") == kind.lower() else f"{name}: "
        sizes = " × ".join("B" if size is None else f"{size:,}" for size in shape)
        lines.append(f'  <rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
        lines.append(f'  <text x="{x:g}" y="{y - 3:g}">{escape(own + kind)}</text>')
        lines.append(f'  <text class="small" x="{x:g}" y="{y + 14:g}">{sizes}</text>')
    margin, tall = 60, len(rows) * DOWN + 6
    head = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-margin} 0 {wide + 2 * margin} {tall}" \
font-family="system-ui, sans-serif" font-size="14" role="img" aria-label="The layers of sketch_encoder and their order">
  <style>
    rect {{ fill: #eef3fb; stroke: #3b5b92; stroke-width: 1.5 }}
    path {{ fill: none; stroke: #444; stroke-width: 1.5; marker-end: url(#tip) }}
    text {{ text-anchor: middle; fill: #111 }}
    .small {{ font-size: 12px; fill: #444 }}
  </style>
  <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0 L8 4 L0 8 z" style="fill: #444; stroke: none; marker-end: none"/></marker></defs>
  <rect x="{-margin}" width="{wide + 2 * margin}" height="{tall}" style="fill: #fff; stroke: none"/>
"""
    return head + "\n".join(lines) + "\n</svg>\n"


if __name__ == "__main__":
    FILE.write_text(draw(sketch_encoder()), encoding="utf-8")
