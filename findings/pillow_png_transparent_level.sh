#!/usr/bin/env bash
# Pillow 13.0.0 does not apply the transparent level of gray PNG files of 2 and 4 bits.
#
# Expected: a gray PNG can name one level as transparent (tRNS). convert("RGBA") makes its pixels transparent, whatever
#   the bit depth is.
# Happens: at 1, 8 and 16 bits it does. At 2 and 4 bits Pillow scales the levels to 0..255 when it decodes them, but not
#   the level in info["transparency"], and convert() compares the two. No pixel becomes transparent. If the file also
#   has pixels whose scaled level equals the number, those would become transparent instead.
# Workaround: multiply info["transparency"] by 85 (2 bits) or 17 (4 bits).
#
# Output (pixels of the transparent level, of 16 pixels):
#   1 bit    expected 8  Pillow 8
#   2 bits   expected 4  Pillow 0
#   4 bits   expected 1  Pillow 0
#   8 bits   expected 1  Pillow 1
#   16 bits  expected 1  Pillow 1
#
# Exits with 1 if the behavior differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0
cd "$folder"
venv/bin/python - <<'EOF'
import io
import struct
import zlib

import numpy as np
from PIL import Image


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


found = {}
for bits in (1, 2, 4, 8, 16):
    levels = np.arange(16) % 2**bits
    number = "".join(f"{level:0{bits}b}" for level in levels)  # one row
    row = int(number, 2).to_bytes(len(number) // 8, "big")
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 1, bits, 0, 0, 0, 0))
    png += chunk(b"tRNS", struct.pack(">H", 1)) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    opacity = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[:, :, 3]
    found[bits] = int((levels == 1).sum()), int((opacity == 0).sum())
    print(f"{bits} bits, expected {found[bits][0]}, Pillow {found[bits][1]}")
unchanged = found == {1: (8, 8), 2: (4, 0), 4: (1, 0), 8: (1, 1), 16: (1, 1)}
raise SystemExit(0 if unchanged else "The behavior has changed.")
EOF
