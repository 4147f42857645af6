"""The original repositories' layout, written and run by hand: a second opinion on the key maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers import (
    DINOv3ViTConfig,
    DINOv3ViTModel,
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    VideomtConfig,
    VideomtForUniversalSegmentation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    State = Mapping[str, torch.Tensor]

TINY = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_blocks": 2,
    "num_queries": 5,
    "num_labels": 4,
    "image_size": 64,
    "layer_norm_eps": 1e-6,
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

KINDS = ("dinov2", "giant", "dinov3", "video")


def network(kind: str, **sizes: Any) -> Any:
    """Build transformers' module of a kind; tiny by default."""
    sizes = TINY | sizes
    if kind == "dinov3":
        sizes = {"intermediate_size": 4 * sizes["hidden_size"]} | sizes | {"layer_norm_eps": 1e-5}
        return EomtDinov3ForUniversalSegmentation(EomtDinov3Config(**sizes)).eval()
    if kind == "video":
        return VideomtForUniversalSegmentation(VideomtConfig(**sizes)).eval()
    return EomtForUniversalSegmentation(EomtConfig(**sizes, use_swiglu_ffn=kind == "giant")).eval()


def trained(kind: str, seed: int = 0, **sizes: Any) -> Any:
    """Build a tiny module whose tensors are all random, in the scale of a trained network's."""
    torch.manual_seed(seed)
    model = network(kind, **sizes)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and name.endswith("weight"):
                tensor.normal_(1, 0.3)
            elif "layer_scale" in name:
                tensor.uniform_(0.05, 1)
            elif name in ("query.weight", "embeddings.cls_token", "embeddings.register_tokens"):
                tensor.normal_(0, 1)
            elif name == "class_predictor.weight":
                tensor.normal_(0, 0.5)
            elif name == "attn_mask_probs":
                tensor.uniform_(0, 1)
            elif name not in ("criterion.empty_weight", "embeddings.mask_token"):
                tensor.normal_(0, 0.06)
    return model


def tiny_base(seed: int = 0, **sizes: Any) -> Any:
    """Build a tiny DINOv3 backbone, random in the scale of a trained one."""
    torch.manual_seed(seed)
    wanted = {k: v for k, v in (TINY | sizes).items() if k in DINOv3ViTConfig().to_dict()}
    wanted |= {"intermediate_size": 4 * wanted["hidden_size"], "num_register_tokens": 4}
    base = DINOv3ViTModel(DINOv3ViTConfig(**wanted)).eval()
    with torch.no_grad():
        for name, tensor in base.state_dict().items():
            scale = "norm" in name and name.endswith("weight")
            tensor.normal_(1, 0.3) if scale else tensor.normal_(0, 0.06)
    return base


def original_state(model: Any, kind: str) -> dict[str, torch.Tensor]:
    """Write the module's tensors in the original layout."""
    s = model.state_dict()
    p = "backbone." if kind == "video" else "network."
    e = p + "encoder.backbone."
    o: dict[str, torch.Tensor] = {}
    n_layers = model.config.num_hidden_layers
    if kind == "dinov3":
        o[e + "patch_embed.cls_token"] = s["embeddings.cls_token"]
        o[e + "patch_embed.register_tokens"] = s["embeddings.register_tokens"]
        o[e + "patch_embed.patch_embeddings.weight"] = s["embeddings.patch_embeddings.weight"]
        o[e + "patch_embed.patch_embeddings.bias"] = s["embeddings.patch_embeddings.bias"]
        for key, tensor in s.items():
            if key.startswith("layers."):
                o[e + "blocks." + key[len("layers.") :]] = tensor
    else:
        o[e + "cls_token"] = s["embeddings.cls_token"]
        o[e + "reg_token"] = s["embeddings.register_tokens"]
        o[e + "pos_embed"] = s["embeddings.position_embeddings.weight"].unsqueeze(0)
        o[e + "patch_embed.proj.weight"] = s["embeddings.patch_embeddings.projection.weight"]
        o[e + "patch_embed.proj.bias"] = s["embeddings.patch_embeddings.projection.bias"]
        for i in range(n_layers):
            b, t = f"{e}blocks.{i}.", f"layers.{i}."
            for x in ("weight", "bias"):
                o[f"{b}norm1.{x}"] = s[f"{t}norm1.{x}"]
                o[f"{b}norm2.{x}"] = s[f"{t}norm2.{x}"]
                a = f"{t}attention."
                o[f"{b}attn.qkv.{x}"] = torch.cat(
                    [s[f"{a}q_proj.{x}"], s[f"{a}k_proj.{x}"], s[f"{a}v_proj.{x}"]]
                )
                o[f"{b}attn.proj.{x}"] = s[f"{a}out_proj.{x}"]
                if kind == "giant":
                    o[f"{b}mlp.fc1.{x}"] = torch.cat(
                        [s[f"{t}mlp.gate_proj.{x}"], s[f"{t}mlp.up_proj.{x}"]]
                    )
                    o[f"{b}mlp.fc2.{x}"] = s[f"{t}mlp.down_proj.{x}"]
                else:
                    o[f"{b}mlp.fc1.{x}"] = s[f"{t}mlp.fc1.{x}"]
                    o[f"{b}mlp.fc2.{x}"] = s[f"{t}mlp.fc2.{x}"]
            o[f"{b}ls1.gamma"] = s[f"{t}layer_scale1.lambda1"]
            o[f"{b}ls2.gamma"] = s[f"{t}layer_scale2.lambda1"]
    for x in ("weight", "bias"):
        o[f"{e}norm.{x}"] = s[f"layernorm.{x}"]
        o[f"{p}class_head.{x}"] = s[f"class_predictor.{x}"]
        for k, fc in ((0, "fc1"), (2, "fc2"), (4, "fc3")):
            o[f"{p}mask_head.{k}.{x}"] = s[f"mask_head.{fc}.{x}"]
        for j in range(model.config.num_upscale_blocks):
            u = f"upscale_block.block.{j}."
            o[f"{p}upscale.{j}.conv1.{x}"] = s[f"{u}conv1.{x}"]
            o[f"{p}upscale.{j}.norm.{x}"] = s[f"{u}layernorm2d.{x}"]
    for j in range(model.config.num_upscale_blocks):
        o[f"{p}upscale.{j}.conv2.weight"] = s[f"upscale_block.block.{j}.conv2.weight"]
    o[p + "q.weight"] = s["query.weight"]
    o[p + "attn_mask_probs"] = s["attn_mask_probs"]
    o["criterion.empty_weight"] = s["criterion.empty_weight"]
    if kind == "video":
        o[p + "query_updater.weight"] = s["query_updater.weight"]
        o[p + "query_updater.bias"] = s["query_updater.bias"]
    else:
        o[p + "encoder.pixel_mean"] = torch.tensor(MEAN).reshape(1, 3, 1, 1)
        o[p + "encoder.pixel_std"] = torch.tensor(STD).reshape(1, 3, 1, 1)
    return o


def delta_state(whole: State, base: State) -> dict[str, torch.Tensor]:
    """Subtract a DINOv3 backbone, in transformers' names, from an original EoMT-DINOv3 state."""
    e = "network.encoder.backbone."
    delta = dict(whole)
    for key, tensor in base.items():
        name = key.removeprefix("model.")
        if name.startswith("embeddings.") and "mask_token" not in name:
            mine = e + "patch_embed." + name.removeprefix("embeddings.")
        elif name.startswith("layer."):
            mine = e + "blocks." + name.removeprefix("layer.")
        elif name.startswith("norm."):
            mine = e + name
        else:
            continue
        delta[mine] = whole[mine] - tensor
    delta["network.encoder.pixel_mean"] = torch.zeros(1, 3, 1, 1)
    delta["network.encoder.pixel_std"] = torch.zeros(1, 3, 1, 1)
    delta["network.attn_mask_probs"] = whole["network.attn_mask_probs"] * 0 - 1
    delta["criterion.empty_weight"] = torch.zeros_like(whole["criterion.empty_weight"])
    return delta


def forward(
    state: State, frames: torch.Tensor, n_heads: int, prefix: str = "network."
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the original DINOv2 network on normalised frames (T, 3, S, S), one after the other.

    Returns mask logits (T, Q, g, g) and class logits (T, Q, K + 1). Queries pass from frame to
    frame where the state has a query updater; otherwise the frames are separate images.
    """
    w = {key.removeprefix(prefix): tensor.double() for key, tensor in state.items()}
    e = "encoder.backbone."
    n_layers = 1 + max(int(k.split(".")[3]) for k in w if k.startswith(e + "blocks."))
    first = n_layers - w["attn_mask_probs"].numel()
    queries, masks, classes = w["q.weight"][None], [], []
    for frame in frames.double():
        x = F.conv2d(
            frame[None], w[e + "patch_embed.proj.weight"], w[e + "patch_embed.proj.bias"], stride=16
        )
        grid = x.shape[-1]
        x = x.flatten(2).transpose(1, 2) + w[e + "pos_embed"]
        x = torch.cat([w[e + "cls_token"], w[e + "reg_token"], x], 1)
        for i in range(n_layers):
            if i == first:
                x = torch.cat([queries, x], 1)
            x = _block(w, f"{e}blocks.{i}.", x, n_heads)
        n_queries = queries.shape[1]
        if "query_updater.weight" in w:
            queries = _linear(w, "query_updater", x[:, :n_queries]) + w["q.weight"][None]
        x = _norm(w, e + "norm", x)
        q, patches = x[:, :n_queries], x[:, n_queries + 1 + w[e + "reg_token"].shape[1] :]
        classes.append(_linear(w, "class_head", q))
        for k in (0, 2, 4):
            q = _linear(w, f"mask_head.{k}", F.gelu(q) if k else q)
        y = patches.transpose(1, 2).reshape(1, -1, grid, grid)
        for j in range(sum(k.endswith(".conv2.weight") for k in w)):
            u = f"upscale.{j}."
            y = F.conv_transpose2d(y, w[u + "conv1.weight"], w[u + "conv1.bias"], stride=2)
            y = F.conv2d(F.gelu(y), w[u + "conv2.weight"], padding=1, groups=y.shape[1])
            y = _norm(w, u + "norm", y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        masks.append(torch.einsum("bqc,bchw->bqhw", q, y))
    return torch.cat(masks), torch.cat(classes)


def _block(w: State, b: str, x: torch.Tensor, n_heads: int) -> torch.Tensor:
    y = _linear(w, b + "attn.qkv", _norm(w, b + "norm1", x))
    n, c = x.shape[1:]
    q, k, v = y.reshape(1, n, 3, n_heads, c // n_heads).permute(2, 0, 3, 1, 4)
    y = (q @ k.transpose(-2, -1) / (c // n_heads) ** 0.5).softmax(-1) @ v
    y = _linear(w, b + "attn.proj", y.transpose(1, 2).reshape(1, n, c))
    x = x + w[b + "ls1.gamma"] * y
    y = _linear(w, b + "mlp.fc1", _norm(w, b + "norm2", x))
    if w[b + "mlp.fc1.weight"].shape[0] == 2 * w[b + "mlp.fc2.weight"].shape[1]:
        gate, up = y.chunk(2, -1)
        y = F.silu(gate) * up
    else:
        y = F.gelu(y)
    return x + w[b + "ls2.gamma"] * _linear(w, b + "mlp.fc2", y)


def _linear(w: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def _norm(w: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-6)
