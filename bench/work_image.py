"""An initramfs whose /work is guest/work.c, behind the one of tools/guest-images."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


def make_initrd(folder, image):
    program = pathlib.Path(folder) / "work"
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-static", "-o", program, ROOT / "guest/work.c", "-lm"], check=True)
    archive = subprocess.run(["cpio", "--quiet", "-H", "newc", "-o"], input=b"work\n", cwd=folder, stdout=subprocess.PIPE, check=True)
    initrd = pathlib.Path(folder) / "initrd.img"
    # The kernel unpacks archives that follow each other; the second begins at a multiple of 4.
    first = (pathlib.Path(image) / "initrd.img").read_bytes()
    initrd.write_bytes(first + b"\0" * (-len(first) % 4) + archive.stdout)
    return initrd
