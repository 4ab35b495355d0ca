#!/usr/bin/env python3
"""Each check of check.py finds what it is for, in small trees made here, and is silent on a good one."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import check  # noqa: E402

MAP = """# Architecture
| `src/base/` | Words. | – |
| `src/bus/` | Where. | base |
| `src/device/` | What. | base bus |
| `docs/` | Pages. | |
"""
SOURCES = "| `[SDM3A]` | a manual |\n"
BLOCK = """// A UART.
//
// State:    stable
// Features: two
//           lines
// Missing:  none
// Differs from the hardware: no
// Source:   [SDM3A] 6
#pragma once
"""
GOOD = {
    "ARCHITECTURE.md": MAP + "[sources](docs/sources.md)\n",
    "docs/sources.md": SOURCES,
    "docs/claims.md": "| S1.1 | a queue | *pending* |\n| S2.1 | hits | `src/base/a_test.cc A.Hits` |\n",
    "src/base/a.h": "#pragma once\n#include <cstdint>\ninline std::uint32_t a() { return 1; }\n",
    "src/base/a_test.cc": '#include "base/a.h"\nTEST(A, Hits) {}\n',
    "src/bus/b.h": '#pragma once\n#include "base/a.h"\n',
    "src/device/uart/uart.h": BLOCK,
}


class CheckTest(unittest.TestCase):
    def found(self, name, changes=None):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in {**GOOD, **(changes or {})}.items():
                file = pathlib.Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text if isinstance(text, bytes) else text.encode())
            return list(check.CHECKS[name](check.Tree(folder)))

    def test_good_tree(self):
        for name in check.CHECKS:
            if name != "devices_page":
                self.assertEqual(self.found(name), [], name)

    def finds(self, name, changes, *parts):
        lines = self.found(name, changes)
        self.assertEqual(len(lines), 1, f"{name}: {lines}")
        for part in parts:
            self.assertIn(part, lines[0])

    def test_layers(self):
        self.finds("layers", {"src/base/a.h": '#include "bus/b.h"\n'}, "src/base/a.h:1", "may not include bus/")
        self.finds("layers", {"src/bus/b.h": '#include "b.h"\n'}, "rooted at src/")

    def test_folders(self):
        self.finds("folders", {"src/new/a.h": ""}, "src/new", "needs a sentence")
        self.finds("folders", {"ARCHITECTURE.md": MAP + "| `src/gone/` | Not. | base |\n"}, "src/gone", "holds no file")

    def test_headers(self):
        self.finds("headers", {"src/base/c.h": "#pragma once\nstd::string s();\n"}, "src/base/c.h", "does not compile alone")

    def test_links(self):
        self.finds("links", {"README.md": "see [this](docs/none.md)\n"}, "README.md:1", "docs/none.md")

    def test_source_keys(self):
        self.finds("source_keys", {"src/base/a.h": "// as [8254x] 13.4 says, bits [15:0], ring[N], [RIP]\n"}, "[8254x]")

    def test_plain_text(self):
        self.finds("plain_text", {"a.bin": b"\0\1"}, "binary")
        self.finds("plain_text", {"src/base/c.cc": "int i; // TO" + "DO\n"}, "src/base/c.cc:1", "unfinished")
        self.finds("plain_text", {"src/base/c.cc": "int i; \n"}, "blank at the end")

    def test_device_blocks(self):
        self.finds("device_blocks", {"src/device/uart/uart.h": BLOCK.replace("// Missing:  none\n", "")}, "Missing")
        self.finds("device_blocks", {"src/device/uart/uart.h": BLOCK.replace("State: ", "Mood: ")}, "src/device/uart", "no header")

    def test_claims(self):
        self.finds("claims", {"docs/claims.md": "| S1.1 | a queue |  |\n"}, "S1.1", "names no test")
        self.finds("claims", {"docs/claims.md": "| S1.1 | a queue | `src/none.cc` |\n"}, "src/none.cc")
        self.finds("claims", {"docs/claims.md": "| S1.1 | x | `src/base/a_test.cc A.Gone` |\n"}, "no test A.Gone")

    def test_guest_init(self):
        self.finds("guest_init", {"guest/init": "#!/bin/busybox sh\nif true\n"}, "guest/init")

    def test_commit_titles(self):
        with tempfile.TemporaryDirectory() as folder:
            def git(*words):
                subprocess.run(["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=e@x", *words], check=True,
                               capture_output=True)
            git("init", "-q")
            for title in ("bus: split accesses", "No area here", "bus: " + "x" * 80):
                git("commit", "-q", "--allow-empty", "-m", title)
            lines = list(check.commit_titles(check.Tree(folder)))
        self.assertEqual(len(lines), 2, lines)


if __name__ == "__main__":
    unittest.main()
