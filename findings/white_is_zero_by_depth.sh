#!/usr/bin/env bash
# Pillow 13.0.0 and OpenCV 5.0.0.93 invert a gray TIFF whose value 0 is white at 8 bits, but not at 16 bits.
#
# Expected: PhotometricInterpretation 0 (WhiteIsZero) means the same at every depth. A reader inverts both files, or
#   neither, as tifffile 2026.3.3 does. If the same image is saved with 8 and with 16 bits, it looks the same.
# Happens: the 8-bit file is read as black on white, and the 16-bit file as its negative. Neither library reports which
#   of the two it returned: the mode is "I;16", the dtype uint16, in both cases.
# Effect: a camera changed from 8 to 16 bits delivers negatives.
#
# Output (the stored values are white, 20 % black, black):
#   8 bits   Pillow L    [255, 204, 0]      OpenCV [255, 204, 0]
#   16 bits  Pillow I;16 [0, 13107, 65535]  OpenCV [0, 13107, 65535]
#
# Exits with 1 if the behavior differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 tifffile==2026.3.3 pillow==13.0.0 opencv-python-headless==5.0.0.93
cd "$folder"
venv/bin/python - <<'EOF'
import cv2
import numpy as np
import tifffile
from PIL import Image

found = {}
for dtype, full in ((np.uint8, 255), (np.uint16, 65535)):
    stored = np.array([[0, full // 5, full]] * 4, dtype)
    tifffile.imwrite("image.tif", stored, photometric="miniswhite")
    with Image.open("image.tif") as image:
        pillow = np.asarray(image)[0].tolist()
        mode = image.mode
    opencv = cv2.imread("image.tif", cv2.IMREAD_UNCHANGED)[0].tolist()
    print(np.dtype(dtype), "Pillow", mode, pillow, "OpenCV", opencv)
    found[full] = pillow, opencv
inverted, as_stored = [255, 204, 0], [0, 13107, 65535]
unchanged = found == {255: (inverted, inverted), 65535: (as_stored, as_stored)}
raise SystemExit(0 if unchanged else "The behavior has changed.")
EOF
