#!/usr/bin/env python3
"""Writes the smallest multiboot kernel: tiny_multiboot.py FILE HEX puts a multiboot header and the code bytes HEX at
1 MiB; the code is entered in 32-bit protected mode with EAX and EBX as [Multiboot] 3.2 says."""
import struct
import sys

path, code = sys.argv[1], bytes.fromhex(sys.argv[2])
MAGIC, HAS_ADDRESSES, LOAD, HEADER_BYTES = 0x1BADB002, 1 << 16, 0x100000, 32
header = struct.pack("<8I", MAGIC, HAS_ADDRESSES, -(MAGIC + HAS_ADDRESSES) & 0xFFFFFFFF, LOAD, LOAD, 0, 0, LOAD + HEADER_BYTES)
with open(path, "wb") as file:
    file.write(header + code)
