#!/bin/bash
# Two machines over a link with latency, loss, duplicates, reordering and a cut, recorded: files still arrive whole,
# and twice the same run gives the same figures and the same capture, byte by byte.
. "$(dirname "$0")/asserts"

ln -s "$images/full" full
python3 - "$tests/../../examples/01-two-machines/rack.toml" >rack.toml <<'EOP'
import re, sys
text = open(sys.argv[1]).read()
text = re.sub(r"\[machine\.idle\].*?(?=\[link)", "", text, flags=re.S)
text = text.replace("bp.bytes=16777216", "bp.bytes=131072")
print(text + """
capture = "lan.pcapng"
latency = "2ms"
loss = "5%"
duplicate = "2%"
reorder = "5%"
spoofing = "refuse"
cut = "1500ms"
heal = "2s"
[link.lan.from.alpha]
latency = "0ms"
""")
EOP
for run in first second; do
    expect_exit 0 "$backplane" run rack.toml --report $run.json --timeout 600
    mv lan.pcapng $run.pcapng
    mv out $run.txt
done
[ "$(grep -ac '@@OK received 131072 bytes' first.txt)" = 2 ] || die "a file did not arrive"
cmp first.pcapng second.pcapng || die "the captures of two runs differ"
"$tests/../../tools/compare-runs" first second || die "the two runs differ"

python3 - <<'EOP' || die "the capture or the report"
import json, struct
link, = json.load(open("first.json"))["links"]
for count in ("delayed_frames", "doubled_frames", "peak_stored_bytes"):
    assert link[count] > 0, (count, link)
assert link["cuts"] == 1 and link["drops"]["lost_on_purpose"] > 0, link
assert link["drops"]["spoofed_source"] == 0, link

data, at, names, comments, last = open("first.pcapng", "rb").read(), 0, [], [], 0
def options(body):
    found = {}
    while body:
        code, length = struct.unpack_from("<HH", body)
        found[code] = body[4:4 + length]
        body = body[4 + (length + 3) // 4 * 4:]
    return found
while at < len(data):
    kind, length = struct.unpack_from("<II", data, at)
    assert struct.unpack_from("<I", data, at + length - 4)[0] == length
    body = data[at + 8:at + length - 4]
    if kind == 1:
        names.append(options(body[8:])[2].decode())
    elif kind == 6:
        size = struct.unpack_from("<I", body, 12)[0]
        comments.append(options(body[20 + (size + 3) // 4 * 4:])[1].decode())
    at += length
assert names == ["alpha.nic0", "beta.nic0", "services"], names
assert len(comments) == link["capture"]["frames"] == link["frames"], (len(comments), link)
assert sum("(lost on purpose)" in comment for comment in comments) == link["drops"]["lost_on_purpose"]
assert "beta.nic0 -> alpha.nic0 (delayed)" in comments and "alpha.nic0 -> beta.nic0" in comments, set(comments)
assert "alpha.nic0 -> all" in comments, set(comments)
EOP
