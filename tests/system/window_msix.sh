#!/bin/bash
# The shared window by MSI-X, with a driver of ours (guest/kernel) in Debian's kernel, since no stock one uses it: two machines ring
# each vector of the other, and each interrupt is the one that is due and no other; a vector that is masked in the device's table stays
# pending there and comes once; all of it again with the vectors spread over two processors, and with the driver bound anew. The
# transfer and the refusals of window.sh work as they do by the pin. The second run is the first one again.
. "$(dirname "$0")/asserts"

module=$("$tests/../../tools/guest-images" --module 2>images.log)
case $? in
    0) ;;
    3) tail -n 1 images.log; exit 77 ;;
    *) cat images.log; die "no image with the module" ;;
esac
ln -s "$module/module" module

vectors=5
cat >rack.toml <<EOP
[window]
section = "64K"
common = "4K"
vectors = $vectors

[machine.alpha]
memory = "128M"
kernel = "module/vmlinuz"
initrd = "module/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=window bp.driver=bpwindow bp.words=info+irqs+vectors,1+irqs+masked,1+irqs+spread+vectors,1+irqs+rebind+irqs+vectors,1+irqs+poke,1+meet,1+send,1,4194304"

[machine.beta]
memory = "128M"
cpus = 2
kernel = "module/vmlinuz"
initrd = "module/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=window bp.driver=bpwindow bp.words=info+irqs+vectors,0+irqs+masked,0+irqs+spread+vectors,0+irqs+rebind+irqs+vectors,0+irqs+poke,0+meet,0+recv,0"
EOP
for run in first second; do
    expect_exit 0 "$backplane" run rack.toml --report $run.json --timeout 600
    mv out $run.txt
done
"$tests/../../tools/compare-runs" first second || die "the two runs differ"

python3 - $vectors <<'EOP' || die "what interrupted"
import json
import re
import sys

vectors = int(sys.argv[1])
turns = vectors * (vectors + 1) // 2
once = [v + 1 for v in range(vectors)]  # what `bpw vectors` rings
none = [0] * vectors
held = [a + b for a, b in zip(once, [1] + [0] * (vectors - 2) + [1])]  # and `bpw masked` behind it
wanted = [none, once, held, [a + b for a, b in zip(held, once)], none, once]

text = open("first.txt").read()
for name, cpus in ("alpha", 1), ("beta", 2):
    lines = [line.strip() for line in re.findall(rf"^{name} +\| (.*)$", text, re.M)]
    said = [line for line in lines if line.startswith("@@bpw:")]
    assert said.count(f"@@bpw: {turns} interrupts of {vectors} vectors") == 3, said
    assert said.count(f"@@bpw: vector {vectors - 1} was pending and came once") == 1, said
    assert "@@bpw: 512 of 512 stores refused" in said, said
    # What Linux says of it: MSI-X, an edge each, named after its vector.
    irqs = [re.fullmatch(r"@@IRQ msix +\d+:((?: \d+)+) PCI-MSI \d+-edge bpwindow-(\d+)", line) for line in lines if line.startswith("@@IRQ")]
    assert all(irqs) and len(irqs) == len(wanted) * vectors, [line for line in lines if "IRQ" in line]
    assert [int(irq[2]) for irq in irqs] == list(range(vectors)) * len(wanted)
    counts = [[int(n) for n in irq[1].split()] for irq in irqs]
    assert all(len(count) == cpus for count in counts), counts
    found = [[sum(count) for count in counts[i:i + vectors]] for i in range(0, len(counts), vectors)]
    assert found == wanted, found
    # A vector that was told to move does so when it interrupts next, so that at most one interrupt is still of the old processor.
    before, after = (counts[i * vectors:(i + 1) * vectors] for i in (2, 3))
    on_chosen = [b[v % cpus] - a[v % cpus] for v, (a, b) in enumerate(zip(before, after))]
    assert all(n >= v for v, n in enumerate(on_chosen)), (before, after)
    print(name, "by vector and processor:", before, after)

sums = set(re.findall(r"@@bpw: (?:sent|received) 4194304 bytes (sum=[0-9a-f]{16})", text))
assert len(sums) == 1, sums
report = json.load(open("first.json"))["window"]
for peer in report["peers"]:
    assert peer["refused_stores"] == 512 and peer["doorbells_rung"] > 3 * turns, peer
EOP
