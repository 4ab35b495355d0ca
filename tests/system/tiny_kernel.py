#!/usr/bin/env python3
"""Writes the smallest kernel there is: tiny_kernel.py FILE HEX puts the code bytes HEX at 1 MiB, in an ELF image with
a PVH note ([XenPVH]), so that they run in 32-bit protected mode without paging."""
import struct
import sys

path, code = sys.argv[1], bytes.fromhex(sys.argv[2])
ENTRY, HEADERS = 0x100000, 64 + 2 * 56
XEN_ELFNOTE_PHYS32_ENTRY = 18
note = struct.pack("<III4sQ", 4, 8, XEN_ELFNOTE_PHYS32_ENTRY, b"Xen\0", ENTRY)
code_at, note_at = HEADERS, HEADERS + len(code)
note_at += -note_at % 4
elf = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 2, 0, 0, 0)
load = struct.pack("<IIQQQQQQ", 1, 5, code_at, ENTRY, ENTRY, len(code), len(code), 1)
notes = struct.pack("<IIQQQQQQ", 4, 4, note_at, 0, 0, len(note), len(note), 4)
with open(path, "wb") as file:
    file.write((elf + load + notes + code).ljust(note_at, b"\0") + note)
