#!/bin/bash
# The translator against the interpreter over whole machines: every register, flag, instruction count and clock at each barrier,
# all memory at every 64th and at the end. A boot of Debian; four processors with the program that depends on them; the demo's
# rack with 1 MiB files (./test --long: with all of its 16 MiB).
. "$(dirname "$0")/asserts"

expect_exit 0 "$backplane" boot --verify --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" \
    --append "quiet panic=-1 bp.role=off" --timeout 300
expect_line out '@@OFF'
expect_line err 'powered off'

cat >smp.toml <<EOP
[machine.many]
cpus = 4
threads-per-core = 2
memory = "128M"
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=smp"
EOP
expect_exit 0 "$backplane" run smp.toml --verify --timeout 600
expect_line out '^many +\| @@SMPTEST 4 processors;.*;0 failed;'

ln -s "$images/full" full
demo=$tests/../../examples/01-two-machines/rack.toml
if [ -n "${BACKPLANE_LONG:-}" ]; then
    cp "$demo" rack.toml
else
    sed 's/bp.bytes=16777216/bp.bytes=1048576/; s/bp.secs=30/bp.secs=10/' "$demo" >rack.toml
fi
expect_exit 0 "$backplane" run rack.toml --verify --report report.json --timeout 3000
grep -a '@@OK' out
[ "$(grep -acE '\| @@OK received (1048576|16777216) bytes' out)" = 2 ] || die "the files did not arrive"
python3 - <<'EOP' || die "the report"
import json
translators = json.load(open("report.json"))["host"]["translators"]
assert len(translators) == 3, translators
for translator in translators:
    print(translator["processor"], translator["share"], "of its instructions translated")
    assert translator["share"] > 0.5, "it is the interpreter that was compared with itself"
EOP
