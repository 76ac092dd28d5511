"""Writes a trained model for programs that have no Keras: SavedModel, ONNX, LiteRT.

    python examples/export.py runs/taskprompter_nyud/model.keras
    python examples/export.py model.keras --format onnx litert --output exported --decoded

Of model.keras it writes exported/saved_model/, exported/model.onnx and exported/model.tflite. Each
takes any number of images, float32 RGB in 0..255 at the model's size, and gives a map for each
task, named as the task. A file that does not give the model's own maps is not kept. ONNX needs
pip install "keras-mtl[export]". docs/export.md says more; examples/serve.py runs a SavedModel.
"""

import argparse
import sys
from pathlib import Path

NAMES = {"saved_model": "saved_model", "onnx": "{}.onnx", "litert": "{}.tflite"}


def main() -> None:
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("model", type=Path, help="a model.keras that a training run wrote")
    text = "what to write (default: all of %(choices)s)"
    parser.add_argument("--format", nargs="+", choices=NAMES, default=list(NAMES), help=text)
    parser.add_argument("--output", type=Path, help="folder to write to (default: the model's)")
    parser.add_argument("--decoded", action="store_true", help="final maps instead of raw ones")
    options = parser.parse_args()
    # Keras, which takes seconds to load, once the arguments are right
    from keras_mtl import load_model
    from keras_mtl.commands.command_line import refusals, say
    from keras_mtl.commands.heartbeat import heartbeat
    from keras_mtl.export import export_model
    from keras_mtl.files import make_folder
    from keras_mtl.tables import markdown

    with refusals(ValueError, OSError):
        model = load_model(options.model)
        make_folder(folder := options.output or options.model.parent)
    rows, failed = [("format", "file", "size [MB]", "max difference, of scale", "seconds")], False
    for format in dict.fromkeys(options.format):
        path = folder / NAMES[format].format(options.model.stem)
        print(f"Writing {path} and comparing it with the model", flush=True)
        try:
            with heartbeat():
                done = export_model(model, path, format, options.decoded, verbose=False)
        except (ImportError, OSError, ValueError) as error:
            say(error)
            failed = True
            continue
        name, x = max(done.differences.items(), key=lambda item: item[1])
        size, seconds = f"{done.size / 1e6:.1f}", f"{done.seconds:.0f}"
        rows.append((format, path, size, f"{x:.1e} ({name})", seconds))
        print(f"Wrote {path}. {done.note}".rstrip())
    if rows[1:]:
        print(markdown(rows))
    sys.exit(failed)


if __name__ == "__main__":
    main()
