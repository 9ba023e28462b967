"""Recognition of a file's format by its first bytes, and the suffixes of image files."""

from __future__ import annotations

import re
import struct

from reconpatch.exceptions import ImageError

# Format that is read → regular expression for the first bytes of its files.
_READ = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "DIB": rb"[\x28\x34\x38\x40\x6c\x7c]\0\0\0.{8}\x01\0[\x01\x04\x08\x10\x18\x20]\0",
    "WebP": rb"RIFF....WEBP",
    "GIF": rb"GIF8",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "AVIF": rb"....ftypavi[fs]",
    "PNM": rb"P[1-6][\s#]|P7\s",
}
# Format that is not read → regular expression for the first bytes of its files, for the error message.
_FOREIGN = {
    "ICO": rb"\0\0[\x01\x02]\0[^\0]",
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "PSD": rb"8BPS",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*<svg|(?:\xef\xbb\xbf)?\s*<\?xml.{0,600}<svg",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "PFM": rb"P[Ff]\s",
    "DICOM": rb".{128}DICM",
    "FITS": rb"SIMPLE  =",
    "NumPy": rb"\x93NUMPY",
    "HEIF": rb"....ftyp(?:hei|hev|mif|msf)",
    "Canon raw": rb"....ftypcrx|(?:II\*\0|MM\0\*)....CR|II\x1a\0\0\0HEAPCCDR",
    "Olympus raw": rb"IIR[OS]|MMOR",
    "Panasonic raw": rb"IIU\0",
    "Fujifilm raw": rb"FUJIFILMCCD-RAW",
    "Sigma raw": rb"FOVb",
    "Minolta raw": rb"\0MRM",
    "JPEG XR": rb"II\xbc",
    "DDS": rb"DDS ",
    "PCX": rb"\x0a[\0\x02\x03\x04\x05][\0\x01][\x01\x02\x04\x08]",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "QOI": rb"qoif",
    "ICNS": rb"icns",
    "XPM": rb"/\* XPM \*/",
    "MNG": rb"\x8aMNG",
    "JNG": rb"\x8bJNG",
    "JBIG2": rb"\x97JB2",
    "DjVu": rb"AT&TFORM",
    "BPG": rb"BPG\xfb",
    "FLIF": rb"FLIF",
    "HDF5": rb"\x89HDF",
    "NRRD": rb"NRRD0",
    "MP4": rb"....ftyp",
    "AVI": rb"RIFF....AVI ",
}

_NAMES = tuple(_READ)
_ANY_READ = re.compile(b"|".join(b"(" + start + b")" for start in _READ.values()), re.DOTALL)

_READ_SUFFIXES = """
    .png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .dib .tif .tiff .btf .tf8 .webp .gif .tga .jp2 .j2k .j2c .jpc .jpx .jxl
    .jls .avif .pnm .pgm .ppm .pbm .pam
"""
_OTHER_SUFFIXES = """
    .svg .svgz .eps .ps .pdf .ai .psd .psb .xcf .ico .cur .icns .exr .hdr .pfm .heic .heif .hif .jxr .wdp .hdp .dds
    .pcx .sgi .ras .qoi .xpm .xbm .mng .jng .jbig2 .jb2 .djvu .bpg .flif .wmf .emf .dng .raw .cr2 .cr3 .crw .nef .nrw
    .arw .srf .sr2 .orf .rw2 .raf .pef .srw .x3f .mrw .3fr .fff .iiq .erf .kdc .dcr .rwl .dcm .dicom .fits .fit .fts
    .nii .nrrd .czi .lif .nd2 .oib .oif .vsi .mrxs .mp4 .avi .mov
"""
SUFFIXES = frozenset(_READ_SUFFIXES.split())
IMAGE_SUFFIXES_NOT_READ = frozenset(_OTHER_SUFFIXES.split())
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_TGA_HEADER = struct.Struct("<BBBHHBHHHHBB")


def format_of(data: bytes) -> str:
    """Return the format of an image file that is read: "PNG", "JPEG", "TIFF", …

    Args:
        data: Content of the file.

    Raises:
        ImageError: The file is empty, of a known format that is not read, or of no known format.
    """
    if not data:
        raise ImageError("The file is empty; copy or export it again.")
    found = _ANY_READ.match(data)
    if found is not None:
        return _more_exactly(_NAMES[(found.lastindex or 1) - 1], data)
    if data[4:8] == b"ftyp" and _AVIF_BRANDS & {data[place : place + 4] for place in range(8, 64, 4)}:
        return "AVIF"
    kind = next((name for name, start in _FOREIGN.items() if re.match(start, data, re.DOTALL)), None)
    if kind is not None:
        raise ImageError(f"{kind} images are not supported; convert the file to PNG, JPEG, BMP, TIFF or WebP.")
    if _is_tga(data):
        return "TGA"
    raise ImageError(
        "The file is not an image of a known format, or its header is truncated; "
        "export it again as PNG, JPEG, BMP, TIFF or WebP."
    )


def _more_exactly(name: str, data: bytes) -> str:
    """Return the name of a format; raise ImageError for a camera's raw file that is built as a TIFF file."""
    if name == "TIFF" and data[8:10] == b"CR":
        raise ImageError("Canon raw images are not supported; convert the file to PNG, JPEG, BMP, TIFF or WebP.")
    return name


def _is_tga(data: bytes) -> bool:
    """Return whether the header is that of a TGA file, which starts with no fixed bytes."""
    if len(data) < _TGA_HEADER.size:
        return False
    _, has_map, kind, first, length, entry, _, _, width, height, depth, flags = _TGA_HEADER.unpack_from(data)
    if width == 0 or height == 0 or flags & 0xC0:
        return False
    if kind in (1, 9):
        return has_map == 1 and length > 0 and entry in (15, 16, 24, 32) and depth in (8, 16)
    known = depth in (15, 16, 24, 32) if kind in (2, 10) else kind in (3, 11) and depth in (8, 16)
    return has_map == 0 and (first, length, entry) == (0, 0, 0) and known
