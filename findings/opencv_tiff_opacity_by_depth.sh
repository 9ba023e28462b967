#!/usr/bin/env bash
# OpenCV 5.0.0.93 multiplies the colors of an 8-bit TIFF by its opacity under IMREAD_UNCHANGED, but not at 16 bits.
#
# Expected: IMREAD_UNCHANGED returns the stored samples. The opacity is unassociated (ExtraSamples 2), so the colors are
#   not multiplied by it. At both depths, a color of 200/255 with an opacity of 100/255 is returned as stored.
# Happens: at 8 bits the color is returned as 78/255, which is 200 * 100 / 255. At 16 bits it is returned as stored.
# Effect: blending the 8-bit image with a background multiplies by the opacity twice. Where the opacity is 0, the colors
#   are lost. No flag and no value that is returned states which of the two forms it is.
#
# Output:
#   8 bits   stored [200, 200, 200, 100]          OpenCV [78, 78, 78, 100]
#   16 bits  stored [51400, 51400, 51400, 25700]  OpenCV [51400, 51400, 51400, 25700]
#
# Exits with 1 if the behavior differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 tifffile==2026.3.3 opencv-python-headless==5.0.0.93
cd "$folder"
venv/bin/python - <<'EOF'
import cv2
import numpy as np
import tifffile

found = []
for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
    stored = np.full((8, 8, 4), np.array([200, 200, 200, 100]) * factor, dtype)
    tifffile.imwrite("image.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    read = cv2.imread("image.tif", cv2.IMREAD_UNCHANGED)
    print(np.dtype(dtype), "stored", stored[0, 0].tolist(), "OpenCV", read[0, 0].tolist())
    found.append(read[0, 0].tolist())
unchanged = found == [[78, 78, 78, 100], [51400, 51400, 51400, 25700]]
raise SystemExit(0 if unchanged else "The behavior has changed.")
EOF
