#!/usr/bin/env bash
# tifffile 2026.3.3 writes wrong values when samples of 9 to 15 bits are packed into a big-endian file.
#
# Expected: imwrite(..., bitspersample=12, byteorder=">") stores the values that it was given. TIFF packs such samples
#   as one stream of bits, highest bit first, so the strip of a big-endian file equals that of a little-endian one.
# Happens: imwrite raises no error, and the strip of the big-endian file has other bits. tifffile reads other values
#   than it wrote. (imagecodecs 2026.3.6 packs the bits.)
# Workaround: byteorder="<", or a container of 16 bits.
#
# Output:
#   written                  [0, 1, 2048, 4095]
#   little-endian, tifffile  [0, 1, 2048, 4095]   strip 000001800fff
#   big-endian, tifffile     [0, 256, 8, 3855]    strip 000100008f0f
#
# Exits with 1 if the behavior differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$folder"
venv/bin/python - <<'EOF'
import numpy as np
import tifffile

values = np.array([[0, 1, 2048, 4095]], np.uint16)
found = {}
print("written", values[0].tolist())
for name, order in (("little-endian", "<"), ("big-endian", ">")):
    tifffile.imwrite(f"{name}.tif", values, bitspersample=12, byteorder=order, photometric="minisblack")
    with tifffile.TiffFile(f"{name}.tif") as file:
        page = file.pages[0]
        found[name] = page.asarray().ravel().tolist()
        file.filehandle.seek(page.dataoffsets[0])
        strip = file.filehandle.read(page.databytecounts[0]).hex()
    print(f"{name}, tifffile", found[name], "strip", strip)
unchanged = found["little-endian"] == values[0].tolist() and found["big-endian"] != values[0].tolist()
raise SystemExit(0 if unchanged else "The behavior has changed.")
EOF
