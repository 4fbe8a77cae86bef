#!/bin/sh
# The device side on another architecture: install from the wheel, parity and predict on emulated aarch64.
#
#     benchmarks/aarch64.sh student.onnx clip.wav [FOLDER]
#
# student.golden.npz must lie beside student.onnx. FOLDER (default: build/aarch64) keeps the Debian root and the wheels
# for the next time, about 600 MB. Latencies under emulation mean nothing; parity and labels do.
#
# Needs debootstrap, qemu-aarch64-static (under 7.2, of Debian 12, importing onnxruntime 1.31 crashes; 10.0, of
# Debian 13, loads it), dpkg-deb, a Python with pip, a Debian mirror and a package index. debootstrap must run as root;
# the rest need not: packages are only unpacked, and QEMU is started by its name, without binfmt_misc. Taken from the
# environment, where set:
#     PYTHON      makes the wheel and downloads the others       (python3)
#     QEMU        user-mode emulator                             (qemu-aarch64-static)
#     DEBOOTSTRAP                                                (debootstrap)
#     MIRROR      of Debian                                      (http://deb.debian.org/debian)
set -eu
[ $# -ge 2 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2; }
source=$(cd "$(dirname "$0")/.." && pwd)
model=$(realpath "$1")
sound=$(realpath "$2")
mkdir -p "${3:-build/aarch64}"
folder=$(realpath "${3:-build/aarch64}")
qemu=$(command -v "${QEMU:-qemu-aarch64-static}") || { echo "QEMU's user-mode emulator is missing" >&2; exit 3; }
python=${PYTHON:-python3}
root=$folder/root

step() { echo "== $*" >&2; }

if [ ! -e "$root/usr/bin/python3.11" ]; then
    step "Debian bookworm for arm64, with Python 3.11"
    "${DEBOOTSTRAP:-debootstrap}" --foreign --arch=arm64 --variant=minbase --include=python3 \
        bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" >&2
    for package in "$root"/var/cache/apt/archives/*.deb; do
        dpkg-deb --extract "$package" "$root"
    done
fi

step "wheels: this package, and for aarch64 what it needs on a device"
rm -rf "$folder/site" "$folder"/wheels/frami_edge-*
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder/wheels" "$source" >&2
"$python" -m pip download --quiet --dest "$folder/wheels" --find-links "$folder/wheels" --only-binary=:all: \
    --implementation cp --python-version 3.11 --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 pip "$folder"/wheels/frami_edge-*.whl >&2

# What the emulated Python runs as. It starts new processes by this name, so the host needs no binfmt_misc.
cat > "$folder/python" <<EOF
#!/bin/sh
export PYTHONHOME='$root/usr' PYTHONPATH='$folder/site' PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
exec '$qemu' -L '$root' -0 '$folder/python' '$root/usr/bin/python3.11' "\$@"
EOF
chmod +x "$folder/python"
cd "$folder"

step "pip install, by the emulated Python"
env -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null ./python "$(ls wheels/pip-*.whl)"/pip install --quiet --no-index \
    --find-links wheels --target site --no-compile wheels/frami_edge-*.whl >&2

step "what it runs on"
./python -c 'import platform, numpy, onnxruntime, soundfile
print(platform.machine(), "Python", platform.python_version(), "numpy", numpy.__version__,
      "onnxruntime", onnxruntime.__version__, "soundfile", soundfile.__version__)'

step "parity, and the benchmark's way through (emulated: its times are not the device's)"
./python -m frami_edge.runtime "$model" --runs 3 --warmup 1

step "predict"
./python -m frami_edge predict "$model" "$sound"

step "listen: the same sound, in windows"
./python -m frami_edge listen "$model" "$sound" | tail -n 3
