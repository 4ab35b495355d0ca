#!/bin/bash
# The translator against the interpreter over a whole Debian boot: every register, flag, instruction count and clock at
# each barrier, all memory at the end.    lockstep.sh BACKPLANE IMAGES
set -euo pipefail
backplane=$1 images=$2
out=$("$backplane" boot --verify --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" \
    --append "quiet panic=-1 bp.role=off" --timeout 300 </dev/null 2>&1) || { echo "$out"; exit 1; }
echo "$out"
grep -q '@@OFF' <<<"$out" && grep -q 'powered off' <<<"$out"
