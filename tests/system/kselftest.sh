#!/bin/bash
# The kernel's own tests of x86 (tools/testing/selftests/x86 of Debian's linux-source-6.1), static, in a guest with
# Debian's kernel. What passes there must be what docs/kselftest.md says, which also says why the others do not.
. "$(dirname "$0")/asserts"

package=linux-source-6.1
archive=/usr/src/$package.tar.xz
[ -s "$archive" ] || { echo "the package $package is not installed"; exit 77; }
echo 'int main(void) { return 0; }' >nothing.c
cc -m32 -static -o nothing nothing.c 2>/dev/null || { echo "the compiler makes no static 32-bit programs (gcc-multilib)"; exit 77; }
list=$tests/../../docs/kselftest.md

# The programs are kept in the cache, under what they are made from.
key=$({ dpkg-query -W "$package" gcc libc6-dev; cat "$0"; } | sha256sum | cut -c 1-12)
programs=${BACKPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/backplane}/kselftest/$key
if [ ! -d "$programs" ]; then
    echo "unpacking $archive"
    tar -xJf "$archive" --wildcards '*/tools/testing/selftests/x86/*' '*/tools/testing/selftests/kselftest.h' '*/arch/x86/include/asm/*' || die "unpacking"
    cd "$package/tools/testing/selftests/x86" || die "no self-tests in $archive"
    mkdir made
    # words NAME: the words behind "NAME :=" or "NAME +=" in the Makefile, where a backslash continues a line
    words() { sed -e ':a' -e '/\\$/N; s/\\\n//; ta' Makefile | sed -n "s/^$1 *[:+]= *//p" | head -n 1; }
    build() { # build NAME BITS
        local sources=("$1.c") options=(-O2 -std=gnu99 -pthread -no-pie -static -w -I..)
        case $1_$2 in
            sysret_ss_attrs_64) sources+=(thunks.S) ;;
            ptrace_syscall_32) sources+=(raw_syscall_helper_32.S) ;;
            test_syscall_vdso_32) sources+=(thunks_32.S) ;;
            check_initial_reg_state_*) options+=(-Wl,-ereal_start) ;;
        esac
        cc "-m$2" "${options[@]}" -o "made/$1_$2" "${sources[@]}" -lm -lrt -ldl && strip "made/$1_$2"
    }
    for name in $(words TARGETS_C_BOTHBITS) $(words TARGETS_C_64BIT_ONLY) $(words TARGETS_C_32BIT_NEEDED); do build "$name" 64 || echo "not built: ${name}_64"; done
    for name in $(words TARGETS_C_BOTHBITS) $(words TARGETS_C_32BIT_ONLY) $(words TARGETS_C_32BIT_NEEDED); do build "$name" 32 || echo "not built: ${name}_32"; done
    mkdir -p "$(dirname "$programs")"
    mv made "$programs" || die "no room in the cache"
    cd "$work" || exit 2
fi

mkdir -p root/bin root/proc root/sys root/dev root/tmp
(cd root && cpio --quiet -id bin/busybox <"$images/full/initrd.img") || die "no busybox in the image"
cp -r "$programs" root/tests
cat >root/init <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
cd /tests
for test in *; do
    echo "@@BEGIN $test"
    timeout 20 "./$test"
    echo "@@END $test $?"
done
poweroff -f
END
chmod 755 root/init
(cd root && find . | cpio --quiet -H newc -o) >initrd.img

expect_exit 0 "$backplane" boot --kernel "$images/full/vmlinuz" --initrd initrd.img --memory 512M --timeout 280 \
    --append "console=ttyS0 quiet panic=-1"
tr -d '\r' <out | sed -n 's/^@@END \([^ ]*\) 0$/\1/p' | sort >passed
tr -d '\r' <out | sed -n 's/^@@END \([^ ]*\) .*$/\1/p' | sort >ran
sed -n 's/^| `\([^`]*\)` | passes |.*$/\1/p' "$list" | sort >expected
[ -s expected ] || die "no test is listed as passing in $list"
if ! diff expected passed >difference; then
    for name in $(sed -n 's/^< //p' difference); do tr -d '\r' <out | sed -n "/^@@BEGIN $name\$/,/^@@END $name /p" | grep -av '^\[OK\]' | tail -n 15; done
    cat difference
    die "what passes is not what $list says (<: should pass, >: should not)"
fi
[ "$(comm -23 ran passed | wc -l)" = "$(grep -c '^| `[^`]*` | fails |' "$list")" ] || { comm -23 ran passed; die "$list does not list what fails"; }
echo "$(wc -l <passed) of $(wc -l <ran) pass"
