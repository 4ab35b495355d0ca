/* bpw: moves bytes between machines of a rack through their shared window (docs/design/window.md), which nobody copies.
 *
 *   bpw info                this machine's peer number, and how the memory is divided
 *   bpw send PEER BYTES     makes bytes up in its own output section, as fast as PEER reads them there
 *   bpw recv PEER           sums what PEER sends, where it lies
 *   bpw poke PEER           tries to write into PEER's section, and fails if it could
 *   bpw meet PEER           both leave a mark in the common part and read the other's
 *   bpw vectors PEER        both ring each vector of the other, V + 1 times vector V; the interrupts must be exactly these
 *   bpw masked PEER         both mask a vector that the other then rings: it is pending, and comes once when it is let through
 *
 * In front of these words:
 *
 *   poll                            waits by looking again and again, for a peer outside of the rack, who cannot ring
 *   as SELF PEERS COMMON SECTION    polls too, and says what the device of another monitor (QEMU's ivshmem-plain) does not
 *
 * Each prints one line on standard error. What was rung for is waited for by an interrupt: of the stock uio_pci_generic, or of
 * guest/kernel/bpwindow.c, which the last two need.
 *
 * An output section begins with a page of marks, one for each peer; what follows is a ring for the peer that is sent to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pci/device.h"

enum { VENDOR = 0x1AF4, DEVICE = 0x1110, REGISTERS_BAR = 0, MEMORY_BAR = 2 };
enum { MASK = 0, STATUS = 1, POSITION = 2, DOORBELL = 3 }; /* dwords */
enum { CAPABILITIES = 0x34, OURS = 0x09, VERSION = 1 };
enum { PAGE = 4096, WAIT_MS = 60000, MOST_VECTORS = 32 };

/* What the owner of a section says to one peer. */
struct mark {
    uint64_t produced; /* bytes of the ring that are valid, ever */
    uint64_t consumed; /* bytes of that peer's ring that were read, ever */
    uint64_t end;      /* where the present message ends, set before its first byte is valid */
    uint64_t met;      /* how often the two were at the same place */
    uint64_t counted;  /* that peer's doorbells, ever, by vectors */
    uint64_t unused[3];
};

/* What bpwindow says of a vector. */
struct vector {
    unsigned count, masked, pending;
};

static struct pci_device device;
static volatile uint32_t *registers;
static char *memory;
static uint32_t self, peers;
static uint64_t common_bytes, section_bytes;
static int polls, is_told; /* nobody rings; the layout was among the words */

static _Noreturn void fail(char const *what) {
    fprintf(stderr, "bpw: %s\n", what);
    exit(1);
}
static _Noreturn void fail_system(char const *what) {
    fprintf(stderr, "bpw: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void read_config(void *into, size_t bytes, unsigned offset) {
    if (pread(device.config, into, bytes, offset) != (ssize_t)bytes) fail_system("configuration space");
}

static void read_layout(void) {
    uint8_t head[4] = {0, 0, 0, 0}, at = 0;
    read_config(&at, 1, CAPABILITIES);
    while (at != 0) {
        read_config(head, sizeof head, at);
        if (head[0] == OURS && head[3] == VERSION) break;
        at = head[1];
    }
    if (at == 0) fail("the device does not say how its memory is divided");
    read_config(&peers, sizeof peers, at + 4U);
    read_config(&common_bytes, sizeof common_bytes, at + 8U);
    read_config(&section_bytes, sizeof section_bytes, at + 16U);
}

static void open_device(void) {
    size_t register_bytes, memory_bytes;
    if (pci_open(&device, VENDOR, DEVICE) != 0) fail_system("the device");
    registers = pci_map(&device, REGISTERS_BAR, &register_bytes);
    memory = pci_map(&device, MEMORY_BAR, &memory_bytes);
    if (registers == NULL || memory == NULL) fail_system("mapping the device");
    if (device.interrupts < 0 && !polls) fail("no interrupts: is uio_pci_generic loaded?");
    registers[MASK] = 1;
    if (is_told) return;
    read_layout();
    self = registers[POSITION];
}

static char *section(uint32_t peer) { return memory + common_bytes + peer * section_bytes; }
static struct mark *mark(uint32_t of, uint32_t to) { return (struct mark *)(void *)section(of) + to; }
static uint64_t get(uint64_t const *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static void set(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static void ring_vector(uint32_t peer, unsigned vector) { registers[DOORBELL] = peer << 16 | vector; }
static void ring(uint32_t peer) { ring_vector(peer, 0); }

/* Until the word has reached a value. The status is read first, so what is rung afterwards interrupts. */
static void wait_for(uint64_t const *word, uint64_t wanted) {
    for (;;) {
        (void)registers[STATUS];
        if (get(word) >= wanted) return;
        if (polls) {
            usleep(1000); /* however long: time may pass differently there */
            continue;
        }
        int const got = pci_wait(&device, WAIT_MS);
        if (got < 0) fail_system("waiting");
        if (got == 0) fail("the peer says nothing");
    }
}

static uint64_t add(uint64_t sum, uint64_t word) { return (sum ^ word) * 0x9e3779b97f4a7c15 + (sum >> 32); }

static void check_ring(void) {
    if (section_bytes < 2 * PAGE) fail("a section of 4K has no room for a ring; expected section = \"8K\" or more");
}

static void send_bytes(uint32_t peer, uint64_t bytes) {
    check_ring();
    uint64_t *const words = (uint64_t *)(void *)(section(self) + PAGE);
    uint64_t const size = section_bytes - PAGE, chunk = size / 4 / PAGE == 0 ? size : size / 4 / PAGE * PAGE;
    struct mark *const mine = mark(self, peer);
    uint64_t sum = 0, word = 0x0123456789abcdef;
    bytes = bytes / 8 * 8;
    uint64_t done = get(&mine->produced);
    uint64_t const end = done + bytes;
    set(&mine->end, end);
    while (done != end) {
        uint64_t const part = end - done < chunk ? end - done : chunk;
        if (done + part > size) wait_for(&mark(peer, self)->consumed, done + part - size);
        for (uint64_t i = 0; i < part / 8; ++i) {
            word ^= word << 13, word ^= word >> 7, word ^= word << 17;
            words[(done + i * 8) % size / 8] = word;
            sum = add(sum, word);
        }
        set(&mine->produced, done += part);
        ring(peer);
    }
    wait_for(&mark(peer, self)->consumed, end);
    fprintf(stderr, "bpw: sent %" PRIu64 " bytes sum=%016" PRIx64 "\n", bytes, sum);
}

static void receive(uint32_t peer) {
    check_ring();
    uint64_t const *const words = (uint64_t const *)(void const *)(section(peer) + PAGE);
    uint64_t const size = section_bytes - PAGE;
    struct mark const *const theirs = mark(peer, self);
    uint64_t const begin = get(&mark(self, peer)->consumed);
    uint64_t sum = 0, done = begin, end = 0;
    do {
        wait_for(&theirs->produced, done + 8);
        end = get(&theirs->end);
        uint64_t const produced = get(&theirs->produced);
        for (; done < produced; done += 8) sum = add(sum, words[done % size / 8]);
        set(&mark(self, peer)->consumed, done);
        ring(peer);
    } while (done != end);
    fprintf(stderr, "bpw: received %" PRIu64 " bytes sum=%016" PRIx64 "\n", done - begin, sum);
}

static void poke(uint32_t peer) {
    volatile uint64_t *const words = (uint64_t *)(void *)(section(peer) + section_bytes - PAGE);
    unsigned refused = 0;
    for (unsigned i = 0; i < PAGE / 8; ++i) {
        uint64_t const before = words[i];
        words[i] = ~before;
        refused += words[i] == before;
    }
    fprintf(stderr, "bpw: %u of %u stores refused\n", refused, PAGE / 8);
    if (refused != PAGE / 8) exit(1);
}

static void meet(uint32_t peer) {
    if (common_bytes == 0) fail("nothing in common; expected common = \"4K\" or more");
    uint64_t *const words = (uint64_t *)(void *)memory;
    set(&words[self * 8], self + 1);
    ring(peer);
    wait_for(&words[peer * 8], peer + 1);
    fprintf(stderr, "bpw: met %" PRIu32 "\n", peer);
}

static unsigned read_vectors(struct vector *vectors) {
    char path[300];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vectors", device.name);
    FILE *const file = fopen(path, "r");
    if (file == NULL) fail_system("the vectors: is bpwindow loaded?");
    unsigned count = 0, number;
    struct vector *next = vectors;
    while (count < MOST_VECTORS && fscanf(file, "%u irq=%*d count=%u masked=%u pending=%u", &number, &next->count, &next->masked, &next->pending) == 4)
        ++count, ++next;
    fclose(file);
    return count;
}

/* All counts are those of before, but for one vector, which has interrupted once more. MOST_VECTORS: none has. */
static void expect_one(struct vector const *before, struct vector const *now, unsigned count, unsigned vector) {
    for (unsigned i = 0; i < count; ++i) {
        unsigned const wanted = before[i].count + (i == vector);
        if (now[i].count == wanted) continue;
        fprintf(stderr, "bpw: vector %u has interrupted %u times instead of %u\n", i, now[i].count, wanted);
        exit(1);
    }
}

static void rest(unsigned *patience) {
    if (++*patience > WAIT_MS) fail("the peer says nothing");
    usleep(1000);
}

/* Both have come to the same call. */
static void sync_with(uint32_t peer) {
    uint64_t const here = get(&mark(self, peer)->met) + 1;
    set(&mark(self, peer)->met, here);
    for (unsigned patience = 0; get(&mark(peer, self)->met) < here;) rest(&patience);
}

/* 0, 1, 1, 2, 2, 2, ... */
static unsigned vector_of_turn(unsigned turn) {
    unsigned vector = 0;
    while (turn > vector) turn -= ++vector;
    return vector;
}

/* Rings are counted by the peer before the next, since those of one quantum are the same. */
static void exchange_vectors(uint32_t peer) {
    struct vector before[MOST_VECTORS], now[MOST_VECTORS];
    unsigned const count = read_vectors(before), turns = count * (count + 1) / 2;
    uint64_t const theirs = get(&mark(peer, self)->counted), mine = get(&mark(self, peer)->counted);
    unsigned rung = 0, heard = 0;
    sync_with(peer);
    for (unsigned patience = 0; heard < turns || get(&mark(peer, self)->counted) < theirs + turns;) {
        if (rung < turns && get(&mark(peer, self)->counted) == theirs + rung) ring_vector(peer, vector_of_turn(rung++));
        int const got = pci_wait(&device, 1);
        if (got < 0) fail_system("waiting");
        if (got == 0) {
            rest(&patience);
            continue;
        }
        if (heard == turns) fail("an interrupt too many");
        read_vectors(now);
        expect_one(before, now, count, vector_of_turn(heard));
        memcpy(before, now, sizeof before);
        set(&mark(self, peer)->counted, mine + ++heard);
    }
    sync_with(peer);
    read_vectors(now);
    expect_one(before, now, count, MOST_VECTORS);
    fprintf(stderr, "bpw: %u interrupts of %u vectors\n", heard, count);
}

static void let_through(unsigned vector, int open) {
    int32_t const word = (int32_t)(vector << 1) | open;
    if (write(device.interrupts, &word, sizeof word) != sizeof word) fail_system("masking a vector");
}

static void wait_for_count(unsigned vector, unsigned wanted, struct vector *now) {
    for (read_vectors(now); now[vector].count != wanted; read_vectors(now))
        if (pci_wait(&device, WAIT_MS) <= 0) fail("the peer says nothing");
}

/* The last vector is masked. Doorbells are heard in the order in which they were rung, so when vector 0 interrupts, the
 * others have been heard. */
static void exchange_masked(uint32_t peer) {
    struct vector before[MOST_VECTORS], now[MOST_VECTORS];
    unsigned const count = read_vectors(before), last = count - 1;
    if (count < 2) fail("one vector only; expected vectors = 2 or more");
    let_through(last, 0);
    sync_with(peer);
    for (int i = 0; i < 2; ++i) {
        ring_vector(peer, last);
        usleep(10000); /* another quantum */
    }
    ring_vector(peer, 0);
    wait_for_count(0, before[0].count + 1, now);
    expect_one(before, now, count, 0);
    if (now[last].masked != 1 || now[last].pending != 1) fail("a masked vector that was rung is not pending");
    memcpy(before, now, sizeof before);
    let_through(last, 1);
    wait_for_count(last, before[last].count + 1, now);
    sync_with(peer);
    read_vectors(now);
    expect_one(before, now, count, last);
    if (now[last].masked != 0 || now[last].pending != 0) fail("a vector is still pending");
    fprintf(stderr, "bpw: vector %u was pending and came once\n", last);
}

static uint32_t peer_in(char const *text) {
    char *end;
    unsigned long const number = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || number >= peers || number == self) fail("expected another peer's number");
    return (uint32_t)number;
}

static uint64_t number_in(char const *text) {
    char *end;
    unsigned long long const number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') fail("expected a number");
    return number;
}

static uint64_t bytes_in(char const *text) {
    uint64_t const number = number_in(text);
    if (number < 8) fail("expected 8 bytes or more");
    return number;
}

/* What stands in front of the words that say what to do; how many words it were. */
static int read_manner(int count, char **words) {
    if (count > 1 && strcmp(words[1], "poll") == 0) {
        polls = 1;
        return 1;
    }
    if (count < 6 || strcmp(words[1], "as") != 0) return 0;
    polls = is_told = 1;
    self = (uint32_t)number_in(words[2]);
    peers = (uint32_t)number_in(words[3]);
    common_bytes = number_in(words[4]);
    section_bytes = number_in(words[5]);
    return 5;
}

int main(int count, char **words) {
    int const manner = read_manner(count, words);
    count -= manner, words += manner;
    char const *const what = count > 1 ? words[1] : "";
    open_device();
    if (strcmp(what, "info") == 0 && count == 2)
        fprintf(stderr, "bpw: peer %" PRIu32 " of %" PRIu32 ", common %" PRIu64 ", section %" PRIu64 "\n", self, peers, common_bytes, section_bytes);
    else if (strcmp(what, "send") == 0 && count == 4)
        send_bytes(peer_in(words[2]), bytes_in(words[3]));
    else if (strcmp(what, "recv") == 0 && count == 3)
        receive(peer_in(words[2]));
    else if (strcmp(what, "poke") == 0 && count == 3)
        poke(peer_in(words[2]));
    else if (strcmp(what, "meet") == 0 && count == 3)
        meet(peer_in(words[2]));
    else if (strcmp(what, "vectors") == 0 && count == 3)
        exchange_vectors(peer_in(words[2]));
    else if (strcmp(what, "masked") == 0 && count == 3)
        exchange_masked(peer_in(words[2]));
    else
        fail("expected info, send PEER BYTES, or recv, poke, meet, vectors or masked, and PEER");
    return 0;
}
