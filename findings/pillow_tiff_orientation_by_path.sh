#!/usr/bin/env bash
# Pillow 13.0.0 scrambles an uncompressed TIFF with an orientation of 90 degrees if it is opened by its path.
#
# Expected: Image.open gives the same pixels for a path, an open file and the bytes of a file. Of TIFF files, it applies
#   the orientation itself and removes the tag; of PNG and JPEG files, it leaves both to ImageOps.exif_transpose.
# Happens: for the open file, the rotated image is returned. For the path of the same file, the rows are cut at the
#   height instead of the width and then rotated: another size and scrambled pixels, without an error. A compressed
#   file is read correctly in both ways. For a square image the size is right, and the image is not scrambled.
# Workaround: Image.open(io.BytesIO(path.read_bytes())).
#
# Output (stored rows: 0 1 2 3 / 4 5 6 7 / 8 9 10 11, orientation 6):
#   uncompressed, open file  [[8, 4, 0], [9, 5, 1], [10, 6, 2], [11, 7, 3]]
#   uncompressed, path       [[9, 6, 3, 0], [10, 7, 4, 1], [11, 8, 5, 2]]
#   LZW, open file           [[8, 4, 0], [9, 5, 1], [10, 6, 2], [11, 7, 3]]
#   LZW, path                [[8, 4, 0], [9, 5, 1], [10, 6, 2], [11, 7, 3]]
#
# Exits with 1 if the behavior differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0
cd "$folder"
venv/bin/python - <<'EOF'
import numpy as np
from PIL import Image

stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
rotated = np.rot90(stored, -1).tolist()
scrambled = np.rot90(stored.reshape(4, 3), -1).tolist()
exif = Image.Exif()
exif[0x0112] = 6
found = []
for name, compression in (("uncompressed", None), ("LZW", "tiff_lzw")):
    Image.fromarray(stored).save("image.tif", exif=exif, compression=compression)
    with open("image.tif", "rb") as file, Image.open(file) as image:
        found.append(np.asarray(image).tolist())
    with Image.open("image.tif") as image:
        found.append(np.asarray(image).tolist())
    print(f"{name}, open file", found[-2])
    print(f"{name}, path", found[-1])
raise SystemExit(0 if found == [rotated, scrambled, rotated, rotated] else "The behavior has changed.")
EOF
