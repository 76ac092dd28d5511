"""TaskPrompter's A.6 in float64, one image, one window and one head at a time, with loops."""

import numpy as np
from keras import ops
from scipy.special import erf


def array(variable):
    return ops.convert_to_numpy(variable).astype("float64")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def dense(x, layer):
    y = x @ array(layer.kernel)
    return y if layer.bias is None else y + array(layer.bias)


def layer_norm(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normal * array(layer.gamma) + array(layer.beta)


def region(place, length, window, shift):
    """Which of three parts of a shifted axis a place lies in."""
    return int(place >= length - window) + int(place >= length - shift)


def window_attention(p, x, attention, grid, shifted):
    """A.6, Eq. 3: updates of prompts and patches, and the prompts' raw scores (heads, T, T + N)."""
    full, heads = attention.win_h, attention.num_heads
    window = min(full, *grid)
    shift = window // 2 if shifted and window < min(grid) else 0
    (h, w), tasks, channels = grid, len(p), x.shape[-1]
    high, wide = h + -h % window, w + -w % window
    padded = np.zeros((high, wide, channels))
    padded[:h, :w] = x.reshape(h, w, channels)
    table = array(attention.relative_position_bias_table)
    new_x = np.zeros((high, wide, channels))
    rows = np.zeros((heads, tasks, high, wide))
    new_p, among = [], []
    for top in range(0, high, window):
        for left in range(0, wide, window):
            inside = [(top + i, left + j) for i in range(window) for j in range(window)]
            places = [((r + shift) % high, (c + shift) % wide) for r, c in inside]
            parts = [(region(r, high, window, shift), region(c, wide, window, shift))
                     for r, c in inside]  # fmt: skip
            tokens = np.concatenate([p, [padded[place] for place in places]])
            q, k, v = np.split(dense(tokens, attention.qkv), 3, axis=-1)
            out = []
            scores_of_prompts = np.zeros((heads, tasks, tasks))
            for head in range(heads):
                own = slice(head * channels // heads, (head + 1) * channels // heads)
                raw = q[:, own] @ k[:, own].T
                scores = raw / np.sqrt(channels / heads)
                for a, (r, c) in enumerate(inside):
                    for b, (r2, c2) in enumerate(inside):
                        index = (r - r2 + full - 1) * (2 * full - 1) + (c - c2 + full - 1)
                        scores[tasks + a, tasks + b] += table[index, head]
                        if shift and parts[a] != parts[b]:
                            scores[tasks + a, tasks + b] -= 100
                out.append(softmax(scores) @ v[:, own])
                scores_of_prompts[head] = raw[:tasks, :tasks]
                for a, place in enumerate(places):
                    rows[(head, slice(None), *place)] = raw[:tasks, tasks + a]
            out = dense(np.concatenate(out, axis=-1), attention.proj)
            new_p.append(out[:tasks])
            among.append(scores_of_prompts)
            for a, place in enumerate(places):
                new_x[place] = out[tasks + a]
    rows = rows[:, :, :h, :w].reshape(heads, tasks, h * w)
    affinity = np.concatenate([np.mean(among, axis=0), rows], axis=-1)
    return np.mean(new_p, axis=0), new_x[:h, :w].reshape(h * w, channels), affinity


def windows_of_plane(side, windows):
    """For every window of a square of `side` numbers, row by row, where its numbers are."""
    high, wide = side // windows[0], side // windows[1]
    for i in range(windows[0]):
        for j in range(windows[1]):
            yield [(i * high + a) * side + j * wide + b for a in range(high) for b in range(wide)]


def reduced_channel_attention(p, x, layer):
    """As published: the update of the prompts, and the raw scores (windows, T, C)."""
    q = dense(dense(p, layer.reduce), layer.query)
    key_value = dense(x.T, layer.key_value)
    k, v = key_value[:, : layer.dim], key_value[:, layer.dim :]
    attended, affinity = np.zeros_like(q), []
    for numbers in windows_of_plane(int(np.sqrt(layer.dim)), layer.windows):
        raw = q[:, numbers] @ k[:, numbers].T
        affinity.append(raw)
        attended[:, numbers] = softmax(raw / np.sqrt(layer.dim)) @ v[:, numbers]
    if not layer.update_prompts:
        return None, np.stack(affinity)
    return dense(dense(attended, layer.project), layer.to_channels), np.stack(affinity)


def averaged(x, grid, side):
    """Patch tokens (N, C) averaged over a square of areas, which cover every place they touch."""
    x = x.reshape(*grid, -1)

    def area(i, length):
        return slice(int(np.floor(i * length / side)), int(np.ceil((i + 1) * length / side)))

    return np.stack(
        [
            x[area(i, grid[0]), area(j, grid[1])].mean((0, 1))
            for i in range(side)
            for j in range(side)
        ]
    )


def paper_channel_attention(p, x, layer):
    """Eq. 2, 4: as on ViT, of D areas instead of N patches."""
    mlp = layer.to_patches.layers
    q = dense(gelu(dense(p, mlp[0])), mlp[1]) @ array(layer.query.kernel)
    k = (x @ array(layer.key.kernel)).T
    v = (x @ array(layer.value.kernel)).T
    attended, affinity = np.zeros_like(q), []
    for numbers in windows_of_plane(layer.grid[0], layer.windows):
        raw = q[:, numbers] @ k[:, numbers].T
        affinity.append(raw)
        attended[:, numbers] = softmax(raw / np.sqrt(len(numbers))) @ v[:, numbers]
    back = layer.to_channels.layers
    attended = dense(attended, layer.project)
    return dense(gelu(dense(attended, back[0])), back[1]), np.stack(affinity)


def prompted_block(prompts, patches, layer):
    """One block for one image."""
    block, out = layer.block, {}
    p, x = layer_norm(prompts, block.norm1), layer_norm(patches, block.norm1)
    update, patch_update, out["spatial_affinity"] = window_attention(
        p, x, block.attn, layer.grid, layer.shifted
    )
    if layer.variant == "released":
        channel = reduced_channel_attention(prompts, patch_update, layer.channel)
    else:
        pooled = averaged(x, layer.grid, layer.plane[0])
        channel = paper_channel_attention(p, pooled, layer.channel)
    out["channel_affinity"] = channel[1]

    def refine(tokens, update):
        tokens = tokens + update
        hidden = gelu(dense(layer_norm(tokens, block.norm2), block.mlp.fc1))
        return tokens + dense(hidden, block.mlp.fc2)

    out["patches"] = refine(patches, patch_update)
    if layer.update_prompts:
        out["prompts"] = refine(prompts, update + channel[0])
    return out
