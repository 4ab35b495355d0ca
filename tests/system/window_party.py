"""A party outside of the rack: an ordinary process that maps the file behind a [window] and talks to a guest's bpw.

    window_party.py FILE SELF PEER COMMON SECTION BYTES

receives what PEER sends (bpw poll send SELF N), sends BYTES to it (bpw poll recv SELF), and prints both sums as bpw does.
"""
import mmap
import sys
import time

PAGE, MARK = 4096, 64
PRODUCED, CONSUMED, END = 0, 8, 16
ONES = (1 << 64) - 1


class Window:
    def __init__(self, path, common, section):
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.common, self.section, self.ring = common, section, section - PAGE
        # Stores of whole words: a guest must not see half of a number.
        self.words = memoryview(self.memory).cast("Q")

    def word(self, peer, offset):
        return (self.common + peer * self.section + offset) // 8

    def mark(self, of, to, field):
        return self.word(of, MARK * to + field)

    def wait(self, index, wanted):
        while self.words[index] < wanted:
            time.sleep(0.001)
        return self.words[index]


def add(total, word):
    return ((total ^ word) * 0x9E3779B97F4A7C15 + (total >> 32)) & ONES


def receive(window, self_, peer):
    done = begin = window.words[window.mark(self_, peer, CONSUMED)]
    total = 0
    while True:
        produced = window.wait(window.mark(peer, self_, PRODUCED), done + 8)
        end = window.words[window.mark(peer, self_, END)]
        while done < produced:
            total = add(total, window.words[window.word(peer, PAGE + done % window.ring)])
            done += 8
        window.words[window.mark(self_, peer, CONSUMED)] = done
        if done == end:
            return done - begin, total


def send(window, self_, peer, count):
    done = window.words[window.mark(self_, peer, PRODUCED)]
    end, total, word = done + count, 0, 0xFEDCBA9876543210
    window.words[window.mark(self_, peer, END)] = end
    while done < end:
        part = min(end - done, PAGE)
        if done + part > window.ring:
            window.wait(window.mark(peer, self_, CONSUMED), done + part - window.ring)
        for at in range(done, done + part, 8):
            word ^= word << 13 & ONES
            word ^= word >> 7
            word ^= word << 17 & ONES
            window.words[window.word(self_, PAGE + at % window.ring)] = word
            total = add(total, word)
        done += part
        window.words[window.mark(self_, peer, PRODUCED)] = done
    window.wait(window.mark(peer, self_, CONSUMED), end)
    return count, total


def main():
    path, (self_, peer, common, section, count) = sys.argv[1], map(int, sys.argv[2:])
    window = Window(path, common, section)
    print("received %d bytes sum=%016x" % receive(window, self_, peer), flush=True)
    print("sent %d bytes sum=%016x" % send(window, self_, peer, count), flush=True)


main()
