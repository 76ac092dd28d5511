"""Training step and inference beside the bare backbone, in Keras and PyTorch; see `--help`."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

# Beside the presets of keras_mtl.presets: what the published TaskPrompter was measured with on CPU.
SETTINGS = {
    "taskprompter_vit_base_cpu": {
        "backbone": "vit_base",
        "image_size": (224, 224),
        "tasks": "nyud",
        "arguments": {
            "variant": "released",
            "decode_dim": 300,
            "final_dim": 350,
            "channel_windows": (2, 2),
        },
    },
    "taskprompter_vit_small": {  # what benchmarks/balancing.py measures
        "backbone": "vit_small",
        "image_size": (224, 224),
        "tasks": "nyud",
        "arguments": {"channel_windows": (2, 2)},
    },
}
DEFAULT_NETWORKS = ["taskprompter_vit_base_cpu"]
PAPERS_NETWORKS = [
    f"{network}_{dataset}"
    for dataset in ("nyud", "pascal")
    for network in (
        "taskprompter_vit_base",
        "taskprompter_vit_large",
        "tpanet_swin_tiny",
        "tpanet_swin_large",
    )
]
DESCRIPTION = f"""
Times training steps and inference of networks on random images and labels, and prints Markdown
tables.

For each network, image size and backend, three processes are started, each fresh, and take turns,
so that what else the machine does meets them alike:

  ours           the network: forward, weighted losses of all tasks, backward, clipping by global
                 norm, Adam (train_on_batch, without metrics)
  bare trunk     its backbone alone in Keras on the same backend, with one linear layer from the
                 last features to the channels of all tasks together, on the features' own grid,
                 and the mean square of that as loss; the same clipping and Adam
  PyTorch trunk  the same in PyTorch, with the ViTModel or SwinModel of the library transformers as
                 it is when made from its configuration (eager; --compile compiles it), and
                 PyTorch's own clip_grad_norm_ and Adam

Networks: {", ".join(SETTINGS)} (ViT-B, the four tasks of NYUD-v2,
released variant, decode_dim 300, final_dim 350, cross-task reweighting, 2x2 channel windows, which
is the setting that the published code was measured in on a CPU), every preset of
keras_mtl.presets, and "papers": {", ".join(PAPERS_NETWORKS)}.

Columns:
  step (s)       seconds of a training step: median (min..max) of the runs
  CPU (s)        processor seconds of that step, all cores together, median: it counts work, not
                 waiting, so other programs disturb it less
  train img/s    images per second in training
  infer (s)      seconds of one inference with predict_on_batch, results on the host, median
                 (min..max)
  infer img/s    images per second in inference
  peak (GB)      the most memory that the process held until the end of the training runs, above
                 what it held once its libraries were imported: building, compiling, weights,
                 optimizer and steps. On a GPU with JAX or PyTorch: the most device memory.
  first (s)      from there to the end of the first training step
  MACs (G)       multiply-accumulates of one forward pass of one image (keras_mtl.cost): of the
                 network as its equations are written, also where fewer are computed
  use            share of the machine's matrix product rate: 6 FLOP per MAC of the images of a
                 step / its median seconds / that rate. The rate is measured by the same process,
                 in the same dtype and backend, in between the steps: a product of two
                 {{side}}x{{side}} matrices, median.

Below each table: ours / PyTorch trunk and ours / bare trunk, of medians, and as a range the lowest
and highest ratio of steps that followed each other; and the time per MAC of ours relative to the
bare trunk's. The ViTModel has a class token more than the others (1 of 197 tokens at 224x224) and
a pooling layer that nothing reads.
"""
COLUMNS = (
    "what",
    "backend",
    "step (s)",
    "CPU (s)",
    "train img/s",
    "infer (s)",
    "infer img/s",
    "peak (GB)",
    "first (s)",
    "MACs (G)",
    "use",
)
OURS, BARE, TORCH = "ours", "bare trunk", "PyTorch trunk"
THREADS = (  # of PyTorch, NumPy, JAX, TensorFlow
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
MATRIX = {"cpu": 2048, "gpu": 8192}


# === The networks, in a process of their own ===


def description_of(network: str) -> dict:
    """The entry of `SETTINGS` or of `keras_mtl.presets.PRESETS`."""
    from keras_mtl.models.registry import PRESETS

    return SETTINGS.get(network) or PRESETS[network]


class KerasNetwork:
    """A network of this package, or its bare trunk, ready to be stepped."""

    def __init__(self, what: str, job: dict):
        import keras

        if job["dtype"] == "bfloat16":
            keras.config.set_dtype_policy("mixed_bfloat16")
        if not job["fused"]:
            keras.config.disable_flash_attention()
        self.rng = np.random.default_rng(0)
        self.batch = job["batch"]
        build = _multi_task_model if what == OURS else _bare_trunk
        self.model = build(job)
        height, width, _ = self.model.input_shape[1:]
        images = self.rng.uniform(0, 255, (self.batch, height, width, 3))
        self.images = keras.ops.convert_to_tensor(images.astype("float32"))
        if what == OURS:
            rule = job.get("balancing")  # a name in keras_mtl.balancing, and its arguments
            if rule:
                from keras_mtl import balancing

                rule = getattr(balancing, rule[0])(**rule[1])
            self.model.compile(metrics=None, jit_compile=job["jit"], balancing=rule)
            labels = {task.name: self._labels(task) for task in self.model.tasks}
        else:
            adam = keras.optimizers.Adam(2e-5, weight_decay=1e-6, global_clipnorm=10.0)
            self.model.compile(adam, "mse", jit_compile=job["jit"])
            labels = np.zeros((self.batch, *self.model.output_shape[1:]), "float32")
        self.labels = keras.tree.map_structure(keras.ops.convert_to_tensor, labels)

    def _labels(self, task):
        height, width = self.model.image_size
        shape = (self.batch, *task.label_shape(height, width))
        if task.label_dtype == "int32":
            return self.rng.integers(0, task.channels, shape).astype("int32")
        if task.channels == 1 and task.ignore == 255:
            return self.rng.integers(0, 2, shape).astype("float32")
        labels = self.rng.uniform(0.5, 5, shape)
        if task.channels == 3:
            labels /= np.linalg.norm(labels, axis=-1, keepdims=True)
            labels[..., 2] *= -1  # towards the camera
        return labels.astype("float32")

    def train(self):
        from keras_mtl.training import compiler_memory_given_back

        with compiler_memory_given_back():  # as in `fit`
            loss = self.model.train_on_batch(self.images, self.labels)  # a float: the step is done
        loss = loss[0] if isinstance(loss, (list, tuple)) else loss
        assert np.isfinite(loss), f"The loss is {loss}."

    def infer(self):
        self.model.predict_on_batch(self.images)

    def macs(self):
        from keras_mtl.cost import macs

        return macs(self.model).total

    def parameters(self):
        from keras_mtl.cost import parameters

        return parameters(self.model)


def _image_size(job):
    return tuple(job["size"] or description_of(job["network"])["image_size"])


def _backbone_and_tasks(job, **less):
    from keras_mtl import backbones, tasks
    from keras_mtl.models.registry import BACKBONES

    description = description_of(job["network"])
    build, size = BACKBONES[description["backbone"]]
    arguments = {**description.get("backbone_arguments", {}), **job["backbone_arguments"], **less}
    backbone = getattr(backbones, build)(size, (*_image_size(job), 3), **arguments)
    return backbone, getattr(tasks, description["tasks"])()


def _multi_task_model(job):
    from keras_mtl import models

    description = description_of(job["network"])
    arguments = {**description["arguments"], **job["arguments"]}
    architecture = getattr(models, description.get("model", "TaskPrompter"))
    return architecture(*_backbone_and_tasks(job), **arguments)


def _bare_trunk(job):
    import keras

    from keras_mtl.images import normalized_images

    swin = description_of(job["network"])["backbone"].startswith("swin")
    # By itself a trunk keeps what it has computed, as the one in PyTorch does.
    backbone, tasks = _backbone_and_tasks(job, **({"remat": False} if swin else {}))
    inputs = keras.Input((*_image_size(job), 3))
    features = backbone(normalized_images(inputs))
    if isinstance(features, dict):
        features = features[max(features)]  # the last stage
    channels = sum(task.channels for task in tasks)
    return keras.Model(inputs, keras.layers.Dense(channels, dtype="float32")(features))


class TorchTrunk:
    """The trunk in PyTorch, from the library `transformers`, ready to be stepped."""

    def __init__(self, _, job: dict):
        import torch

        import keras_mtl.tasks

        description = description_of(job["network"])
        tasks = getattr(keras_mtl.tasks, description["tasks"])()
        self.torch, self.dtype = torch, job["dtype"]
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        trunk, width = _transformers_model(description["backbone"], _image_size(job))
        head = torch.nn.Linear(width, sum(task.channels for task in tasks))
        self.trunk, self.head = trunk.to(self.device).train(), head.to(self.device)
        self.forward = torch.compile(self._forward) if job["compile"] else self._forward
        self.weights = [*trunk.parameters(), *head.parameters()]
        self.adam = torch.optim.Adam(self.weights, lr=2e-5, weight_decay=1e-6)
        self.images = torch.rand(job["batch"], 3, *_image_size(job), device=self.device)

    def _forward(self, images):
        return self.head(self.trunk(pixel_values=images).last_hidden_state)

    def _outputs(self):
        with self.torch.autocast(
            self.device, self.torch.bfloat16, enabled=self.dtype == "bfloat16"
        ):
            return self.forward(self.images).float()

    def train(self):
        self.adam.zero_grad(set_to_none=True)
        loss = self._outputs().square().mean()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.weights, 10.0)
        self.adam.step()
        assert np.isfinite(loss.item())

    def infer(self):
        self.trunk.eval()
        with self.torch.inference_mode():
            self._outputs().cpu()
        self.trunk.train()

    def macs(self):
        return None  # the bare trunk's are used

    def parameters(self):
        return sum(weight.numel() for weight in self.weights)


def _transformers_model(backbone: str, image_size):
    """The model of the library transformers, and the channels of its last features."""
    import transformers

    from keras_mtl.backbones.swin_transformer import SWIN_SIZES
    from keras_mtl.backbones.vision_transformer import VIT_SIZES

    family, size = backbone.split("_")
    if family == "vit":
        arguments = VIT_SIZES[size]
        width = arguments["hidden_dim"]
        config = transformers.ViTConfig(
            hidden_size=width,
            num_hidden_layers=arguments["num_layers"],
            num_attention_heads=arguments["num_heads"],
            intermediate_size=arguments["mlp_dim"],
            image_size=image_size,
        )
        return transformers.ViTModel(config), width
    if family == "swin":
        config = transformers.SwinConfig(image_size=image_size, **SWIN_SIZES[size])
        return transformers.SwinModel(config), 8 * SWIN_SIZES[size]["embed_dim"]
    raise ValueError(f"The library transformers has no {backbone}; choose a ViT or a Swin network.")


# === The machine ===


def matrix_product(job: dict):
    """A function that multiplies two square matrices in a backend's dtype, and their side."""
    dtype = job["dtype"]
    rng = np.random.default_rng(0)
    if job["what"] == TORCH:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        side = MATRIX["cpu" if device == "cpu" else "gpu"]
        a, b = torch.randn(2, side, side, device=device, dtype=getattr(torch, dtype))
        return lambda: (a @ b)[0, 0].item(), side
    import keras
    from keras import ops

    side = MATRIX["gpu" if _on_gpu() else "cpu"]
    a, b = (
        ops.convert_to_tensor(rng.standard_normal((side, side), "float32"), dtype=dtype)
        for _ in range(2)
    )
    product = ops.matmul
    if keras.backend.backend() == "jax":
        import jax

        product = jax.jit(ops.matmul)
    return lambda: float(product(a, b)[0, 0]), side


def _on_gpu() -> bool:
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.devices()[0].platform != "cpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def device_peak(backend: str) -> int | None:
    """The most device memory so far, in bytes; `None` where the host's is to be looked at."""
    if backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        stats = jax.devices()[0].memory_stats()
        return stats["peak_bytes_in_use"] if stats else None
    return None


def host_memory() -> tuple[int, int]:
    """The process's memory now and at its peak, in bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


# === One process: answers "train", "infer", "matmul", "macs" line by line ===


def serve(job: dict) -> None:
    """Builds what the job says and does what the lines of standard input ask."""
    if job["what"] == TORCH:
        import transformers  # noqa: F401
    import keras_hub  # noqa: F401

    import keras_mtl.models  # noqa: F401

    Path("/proc/self/clear_refs").write_text("5")
    before, _ = host_memory()
    began = time.perf_counter()
    network = (TorchTrunk if job["what"] == TORCH else KerasNetwork)(job["what"], job)
    network.train()
    first = time.perf_counter() - began
    product, side = matrix_product(job)
    answer({"first": first, "parameters": network.parameters()})

    actions = {"train": network.train, "infer": network.infer, "matmul": product}
    for line in sys.stdin:
        request = line.strip()
        if request == "memory":
            peak = device_peak("torch" if job["what"] == TORCH else os.environ["KERAS_BACKEND"])
            answer({"peak": host_memory()[1] - before if peak is None else peak})
        elif request == "macs":
            answer({"macs": network.macs(), "side": side})
        else:
            cpu, began = processor_seconds(), time.perf_counter()
            actions[request]()
            seconds = time.perf_counter() - began
            answer({"seconds": seconds, "cpu": processor_seconds() - cpu})


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def answer(found: dict) -> None:
    print("@" + json.dumps(found), flush=True)


class Process:
    """A fresh process that holds one network, see `serve`."""

    def __init__(self, job: dict):
        self.job = job
        environment = {**os.environ, "KERAS_BACKEND": job["backend"]}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", json.dumps(job)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started = self._answer()

    def ask(self, request: str) -> dict:
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self._answer()

    def time(self, request: str, patience: "Patience") -> dict:
        """Seconds of one run during which other programs left the processor alone."""
        while True:
            time.sleep(0.2)  # threads of the process before may still spin
            busy = busy_seconds()
            found = self.ask(request)
            others = busy_seconds() - busy - found["cpu"]
            if others < 0.03 + 0.05 * found["seconds"]:
                return found
            if not patience.left():
                patience.disturbed += 1
                return found

    def _answer(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        sys.exit(f"{self.job['what']} of {self.job['network']} failed: {self.process.wait()}.")

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def busy_seconds() -> float:
    """Processor seconds that the cores at hand have spent so far, in hundredths."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in {f"cpu{core}" for core in os.sched_getaffinity(0)}:
            user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
            ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf("SC_CLK_TCK")


class Patience:
    """Seconds that may be spent in all on repeating runs that other programs disturbed."""

    def __init__(self, seconds: float):
        self.disturbed, self._until, self._seconds = 0, None, seconds

    def left(self) -> bool:
        self._until = self._until or time.monotonic() + self._seconds
        return time.monotonic() < self._until


# === The runs, in alternation ===


def measure(job: dict, runs: int, kinds: list[str], patience: Patience) -> list[dict]:
    """One row for each kind of network, from processes that take turns."""
    processes = []
    for what in kinds:
        progress(f"{job['network']}, {what}, {job['backend']}: first step ...")
        backend = "torch" if what == TORCH else job["backend"]
        processes.append(Process({**job, "what": what, "backend": backend}))
    times = [{"train": [], "infer": [], "matmul": []} for _ in processes]
    for request in ("train", "infer"):
        for process in processes:
            process.ask(request)  # not counted: the second step may still compile or allocate
        for run in range(runs):
            progress(f"{job['network']}, {job['backend']}: {request}, run {run + 1} of {runs}")
            for process, found in zip(processes, times, strict=True):
                found[request].append(process.time(request, patience))
            for process, found in zip(processes, times, strict=True):
                found["matmul"].append(process.time("matmul", patience))
        if request == "train":
            peaks = [process.ask("memory")["peak"] for process in processes]
    rows = []
    for process, found, peak in zip(processes, times, peaks, strict=True):
        macs = process.ask("macs")
        rate = 2 * macs["side"] ** 3 / statistics.median(x["seconds"] for x in found["matmul"])
        rows.append(
            {
                "network": job["network"],
                "what": process.job["what"],
                "backend": process.job["backend"],
                "beside": job["backend"],
                "image_size": list(job["size"]),
                "batch": job["batch"],
                "dtype": job["dtype"],
                "arguments": job["arguments"],
                "fused": job["fused"],
                "train_seconds": [x["seconds"] for x in found["train"]],
                "train_cpu_seconds": [x["cpu"] for x in found["train"]],
                "infer_seconds": [x["seconds"] for x in found["infer"]],
                "infer_cpu_seconds": [x["cpu"] for x in found["infer"]],
                "matmul_flops": rate,
                "peak_bytes": peak,
                "first_step_seconds": process.started["first"],
                "parameters": process.started["parameters"],
                "macs": macs["macs"],
            }
        )
        process.end()
    trunk_macs = next((row["macs"] for row in rows if row["what"] == BARE), None)
    for row in rows:
        row["macs"] = row["macs"] or trunk_macs
    return rows


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# === The tables ===


def spread(seconds: list[float]) -> str:
    middle = statistics.median(seconds)
    digits = 2 if middle >= 0.1 else 4
    return f"{middle:.{digits}f} ({min(seconds):.{digits}f}..{max(seconds):.{digits}f})"


def table(rows: list[dict]) -> str:
    from keras_mtl.tables import markdown

    lines = [COLUMNS]
    for row in rows:
        step, infer = (statistics.median(row[f"{k}_seconds"]) for k in ("train", "infer"))
        macs = row["macs"]
        use = macs and 6 * macs * row["batch"] / step / row["matmul_flops"]
        lines.append(
            [
                row["what"],
                row["backend"],
                spread(row["train_seconds"]),
                f"{statistics.median(row['train_cpu_seconds']):.2f}",
                f"{row['batch'] / step:.2f}",
                spread(row["infer_seconds"]),
                f"{row['batch'] / infer:.2f}",
                f"{row['peak_bytes'] / 1e9:.2f}",
                f"{row['first_step_seconds']:.1f}",
                f"{macs / 1e9:.1f}" if macs else "",
                f"{100 * use:.0f} %" if macs else "",
            ]
        )
    return markdown(lines, padded=False)


def ratios(rows: list[dict]) -> str:
    """Lines below a table: ours by the others'."""
    by_kind = {row["what"]: row for row in rows}
    ours = by_kind.get(OURS)
    lines = []
    for kind in (TORCH, BARE):
        other = by_kind.get(kind)
        if not ours or not other:
            continue
        pairs = [a / b for a, b in zip(ours["train_seconds"], other["train_seconds"], strict=True)]
        step, cpu, infer = (
            statistics.median(ours[key]) / statistics.median(other[key])
            for key in ("train_seconds", "train_cpu_seconds", "infer_seconds")
        )
        text = f"ours / {kind}: training step {step:.2f} ({min(pairs):.2f}..{max(pairs):.2f}), "
        text += f"its processor seconds {cpu:.2f}, inference {infer:.2f}"
        if kind == BARE:
            per_mac = ours["macs"] / other["macs"]
            text += f"; MACs {per_mac:.2f}, so time per MAC in training {step / per_mac:.2f} "
            text += f"({min(pairs) / per_mac:.2f}..{max(pairs) / per_mac:.2f}), "
            text += f"processor seconds per MAC {cpu / per_mac:.2f}"
        lines.append("- " + text)
    return "\n".join(lines)


def size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION.replace("{side}", str(MATRIX["cpu"])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--networks", nargs="+", default=DEFAULT_NETWORKS, metavar="NAME", help="see above"
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=size,
        metavar="HxW",
        help="of the images in pixels, such as 448x576; each network's own unless told",
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images (default 1)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=("jax", "tensorflow", "torch"),
        default=[os.environ.get("KERAS_BACKEND", "jax")],
        help="that of KERAS_BACKEND unless told",
    )
    parser.add_argument(
        "--cores",
        type=int,
        metavar="N",
        help="of the processor, and threads, that every process has (all unless told)",
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each (default 5)")
    parser.add_argument(
        "--patience",
        type=float,
        default=5,
        metavar="MINUTES",
        help="""a run during which other programs used more than a twentieth of a core is repeated,
        until this long after the first such run (default 5; 0: count all runs)""",
    )
    parser.add_argument("--only", nargs="+", choices=(OURS, BARE, TORCH), help="leave others out")
    parser.add_argument(
        "--arguments",
        type=json.loads,
        default={},
        metavar="JSON",
        help="""of the network, instead of its own, such as '{"remat": true}'""",
    )
    parser.add_argument(
        "--no-fused-attention",
        action="store_true",
        help="keras.config.disable_flash_attention(), in Keras' networks",
    )
    parser.add_argument(
        "--jit", choices=("auto", "on", "off"), default="auto", help="Keras' jit_compile"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile the PyTorch trunk")
    parser.add_argument("--json", metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(json.loads(options.serve))
        return

    from keras_mtl.models.registry import PRESETS

    networks = []
    for name in options.networks:
        networks += PAPERS_NETWORKS if name == "papers" else [name]
    for name in networks:
        if name not in SETTINGS and name not in PRESETS:
            known = ", ".join([*SETTINGS, "papers", *PRESETS])
            parser.error(f"unknown network {name!r}; choose among {known}.")
    if options.runs < 1 or options.batch < 1:
        parser.error("--runs and --batch must be at least 1.")
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cores :])
        os.environ.update(dict.fromkeys(THREADS, str(options.cores)))
    cores = len(os.sched_getaffinity(0))
    print(f"cores: {cores}, {processor()}; {options.runs} runs, {options.dtype}\n", flush=True)
    rows = []
    for name in networks:
        for image_size in options.sizes or [description_of(name)["image_size"]]:
            for backend in options.backends:
                job = {
                    "network": name,
                    "size": image_size,
                    "batch": options.batch,
                    "dtype": options.dtype,
                    "backend": backend,
                    "arguments": options.arguments,
                    "backbone_arguments": {},
                    "fused": not options.no_fused_attention,
                    "jit": {"auto": "auto", "on": True, "off": False}[options.jit],
                    "compile": options.compile,
                }
                patience = Patience(60 * options.patience)
                found = measure(job, options.runs, options.only or [OURS, BARE, TORCH], patience)
                rows += found
                height, width = image_size
                print(f"**{name}**, {height}x{width}, batch {options.batch}\n")
                print(table(found) + "\n\n" + ratios(found))
                if patience.disturbed:
                    print(f"- other programs disturbed {patience.disturbed} of the runs")
                print(flush=True)
                if options.json:
                    from keras_mtl import files  # here, for the one that measures starts others

                    files.write_text(options.json, json.dumps(rows, indent=2) + "\n")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown processor"


if __name__ == "__main__":
    main()
