#!/bin/bash
# Debian in a code buffer so small that all translated code is thrown away thousands of times: the same run as in the
# interpreter, and the report says how often and how long.
. "$(dirname "$0")/asserts"

debian=(--kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" --append "quiet panic=-1 bp.role=off" --memory 128M --timeout 300)
expect_exit 0 "$backplane" boot "${debian[@]}" --tier interpreter --report interpreter.json
expect_exit 0 "$backplane" boot "${debian[@]}" --code-buffer 64K --report small.json
python3 - <<'EOP' || die "the report"
import json
interpreter, small = (json.load(open(name)) for name in ("interpreter.json", "small.json"))
assert small["rack"]["trace_hash"] == interpreter["rack"]["trace_hash"], "another run"
assert small["machines"] == interpreter["machines"]
translator = small["host"]["translators"][0]
print(translator["flushes"], "flushes, the longest", translator["longest_flush_ns"], "ns,", translator["blocks"], "blocks")
assert translator["flushes"] > 100 and translator["longest_flush_ns"] > 0
assert translator["share"] > 0.5, "the interpreter did it"
EOP
expect_exit 0 "$backplane" boot "${debian[@]}" --code-buffer 256K --verify

for size in 63K 2G 0 many; do
    expect_exit 2 "$backplane" boot "${debian[@]}" --code-buffer $size
    expect_line err "^backplane: --code-buffer: \"$size\"; expected"
    [ "$(wc -l <err)" = 1 ] || die "not one line"
done
