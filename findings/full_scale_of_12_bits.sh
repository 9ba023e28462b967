#!/usr/bin/env bash
# Which value is white in an image of 12 bits depends on the pair of library and format, in opposite ways.
#
# Versions: Pillow 13.0.0, OpenCV 5.0.0.93.
# Expected: a library treats the full scale of 12-bit gray (0..4095) in one way. It returns the values as stored, or it
#   scales all of them to 16 bits.
# Happens: of a packed 12-bit TIFF, Pillow returns the values as stored (white is 4095) and OpenCV returns them times 16
#   (white is 65520, not 65535). Of a PGM with the largest value 4095, Pillow scales to 65535 and OpenCV returns the
#   values as stored. No attribute of the result states the full scale.
# Effect: a threshold or divisor that is right for one library or format is wrong by a factor of 16 for the other.
#
# Output (stored: 0, 1, 2048, 4095):
#   packed TIFF  Pillow I;16 [0, 1, 2048, 4095]    OpenCV [0, 16, 32768, 65520]
#   PGM          Pillow I    [0, 16, 32776, 65535] OpenCV [0, 1, 2048, 4095]
#
# Exits with 1 if the behavior differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6 pillow==13.0.0 \
    opencv-python-headless==5.0.0.93
cd "$folder"
venv/bin/python - <<'EOF'
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

stored = np.array([[0, 1, 2048, 4095]] * 4, np.uint16)
tifffile.imwrite("packed.tif", stored, bitspersample=12, photometric="minisblack")
Path("image.pgm").write_bytes(b"P5\n4 4\n4095\n" + stored.astype(">u2").tobytes())
found = {}
for name in ("packed.tif", "image.pgm"):
    with Image.open(name) as image:
        pillow = np.asarray(image)[0].tolist()
        mode = image.mode
    opencv = cv2.imread(name, cv2.IMREAD_UNCHANGED)[0].tolist()
    print(name, "Pillow", mode, pillow, "OpenCV", opencv)
    found[name] = pillow, opencv
unchanged = found == {
    "packed.tif": ([0, 1, 2048, 4095], [0, 16, 32768, 65520]),
    "image.pgm": ([0, 16, 32776, 65535], [0, 1, 2048, 4095]),
}
raise SystemExit(0 if unchanged else "The behavior has changed.")
EOF
