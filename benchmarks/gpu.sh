#!/usr/bin/env bash
# Steps of the papers' largest networks on one GPU, with JAX and with PyTorch, in at most eight
# minutes: `gpu.py --help` says what is printed.
#
#   bash benchmarks/gpu.sh --wheels wheels 3.12     where there is a network: fetches what to carry,
#                                                   for that version of Python on x86-64 Linux
#   bash benchmarks/gpu.sh --carried wheels         on the GPU's machine, which needs none
#   bash benchmarks/gpu.sh                          the same, where Keras is installed
#   bash benchmarks/gpu.sh --rehearse               all of it on the CPU, tiny
#
# The machine has Python (PYTHON, python3 unless told), JAX and PyTorch for its GPU; TensorFlow is
# not needed. Every other option goes to gpu.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

# What machines with JAX and PyTorch often lack, and what they often have.
carried=("keras>=3.15,<3.16" "keras-hub>=0.32,<0.33" namex optree)
present=(absl-py filelock h5py markdown-it-py mdurl packaging pygments regex rich tokenizers)

if [ "${1:-}" = --wheels ]; then
    folder=${2:?"name the folder for the wheels, then the version of Python there, such as 3.12"}
    version=${3:?"name the version of Python on the GPU's machine, such as 3.12"}
    platforms=()
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux_2_5 manylinux1; do
        platforms+=(--platform "${tag}_x86_64")
    done
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$version" \
        --implementation cp "${platforms[@]}" --dest "$folder" "${carried[@]}" "${present[@]}"
    ls -sh "$folder"
    exit
fi

if [ "${1:-}" = --carried ]; then
    wheels=${2:?"name the folder of the wheels"}
    shift 2
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export XLA_PYTHON_CLIENT_PREALLOCATE=false # so that the peak is what was needed
timeout --kill-after=10 480 "$python" benchmarks/gpu.py "$@"
