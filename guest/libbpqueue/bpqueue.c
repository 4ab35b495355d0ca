#include "bpqueue.h"

#if __STDC_HOSTED__
#include <string.h>
#else
void *memcpy(void *into, void const *from, size_t bytes);
int strcmp(char const *a, char const *b);
#endif

enum {
    R_ID = 0x00, R_VERSION = 0x04, R_SELF = 0x08, R_PEERS = 0x0C, R_PAGES = 0x10, R_FIRST = 0x14, R_TRANSFER = 0x18,
    R_CONTROL = 0x20, R_STATUS = 0x24, R_CAUSE = 0x28, R_MASK = 0x2C, R_DOORBELL = 0x30, R_SHORT_DATA = 0x40, R_SHORT_SEND = 0x70,
    R_SHORT_STATUS = 0x74, R_SHORT_COOKIE = 0x78,
    ENABLE = 1, RESET = 2, ENABLED = 1, BROKEN = 2, CAUSES = 7,
    SUBMIT_PAGE = 1, COMPLETE_PAGE = 5, RECEIVE_PAGE = 6, DIRECTORY_PAGE = 16,
    SUBMIT_ENTRIES = 256, SUBMIT_BYTES = 64, COMPLETE_ENTRIES = 256, COMPLETE_BYTES = 16,
    RECEIVE_ENTRIES = 64, RECEIVE_BYTES = 512, ARRIVAL_DATA = 40, ARRIVAL_PAGES = 128,
    DIRECTORY_BYTES = 64, DIRECTORY_NAME = 8,
    FLAG_INLINE = 1, RANGES = 6, SWAP_RAM = 56
};
static uint32_t const magic = 0x31515042;

static uint32_t get(struct bpq const *q, unsigned offset) { return q->registers[offset / 4]; }
static void set(struct bpq const *q, unsigned offset, uint32_t value) { q->registers[offset / 4] = value; }

/* The indexes of the control structure. An entry is read after its producer index, written before it. */
static uint32_t *index_at(struct bpq const *q, unsigned offset) { return (uint32_t *)(void *)(q->pages + offset); }
static uint32_t load_index(struct bpq const *q, unsigned offset) {
    return __atomic_load_n(index_at(q, offset), __ATOMIC_ACQUIRE);
}
static void store_index(struct bpq const *q, unsigned offset, uint32_t value) {
    __atomic_store_n(index_at(q, offset), value, __ATOMIC_RELEASE);
}
enum { SUBMIT_PRODUCER = 0x000, SUBMIT_CONSUMER = 0x040, COMPLETE_PRODUCER = 0x080, COMPLETE_CONSUMER = 0x0C0,
       RECEIVE_PRODUCER = 0x100, RECEIVE_CONSUMER = 0x140 };

char const *bpq_status_text(int status) {
    switch (status < 0 ? -status : status) {
        case BPQ_OK: return "ok";
        case BPQ_INVALID: return "invalid: the request contradicts itself";
        case BPQ_DENIED: return "denied: by the rack's policy, or the pages are not yours to send";
        case BPQ_BUSY: return "busy: a quota is used up";
        case BPQ_NO_MEMORY: return "no memory";
        case BPQ_NOT_FOUND: return "no such machine or handle";
        case BPQ_EXPIRED: return "expired: the receiver took nothing in time";
        case BPQ_GONE: return "the receiver is gone";
        case BPQ_NO_DEVICE: return "no queue device: does the rack file have a [queue]?";
        case BPQ_SYSTEM: return "the kernel refused";
        case BPQ_BROKEN: return "the device has stopped";
        case BPQ_FULL: return "the submission ring is full";
        default: return "unknown status";
    }
}

void bpq_attach(struct bpq *q, volatile void *registers, void *pages) {
    struct bpq const fresh = {.registers = registers, .pages = pages};
    *q = fresh;
    if (get(q, R_ID) == magic) set(q, R_CONTROL, RESET);
}

int bpq_begin(struct bpq *q) {
    if (get(q, R_ID) != magic || get(q, R_VERSION) >> 16 != 1) return -BPQ_NO_DEVICE;
    if (get(q, R_STATUS) != 0) return -BPQ_BUSY;
    set(q, R_CONTROL, ENABLE);
    q->peer_count = get(q, R_PEERS);
    return get(q, R_STATUS) == ENABLED ? BPQ_OK : -BPQ_BROKEN;
}

void bpq_arm(struct bpq *q, unsigned what) {
    set(q, R_MASK, what);
    set(q, R_CAUSE, CAUSES);
}

int bpq_is_ready(struct bpq const *q, unsigned what) {
    int const has_message = load_index(q, RECEIVE_PRODUCER) != q->receive_consumer;
    int const has_completion = load_index(q, COMPLETE_PRODUCER) != q->complete_consumer;
    return (has_message && (what & BPQ_MESSAGES) != 0) || (has_completion && (what & BPQ_COMPLETIONS) != 0);
}

enum bpq_transfer bpq_transfer_mode(struct bpq const *q) { return (enum bpq_transfer)get(q, R_TRANSFER); }
uint16_t bpq_self(struct bpq const *q) { return (uint16_t)get(q, R_SELF); }
uint32_t bpq_first_page(struct bpq const *q) { return get(q, R_FIRST); }
uint32_t bpq_page_count(struct bpq const *q) { return get(q, R_PAGES) - get(q, R_FIRST); }
void *bpq_page(struct bpq const *q, uint32_t page) { return q->pages + (size_t)page * BPQ_PAGE_BYTES; }

char const *bpq_name(struct bpq const *q, uint16_t machine) {
    if (machine >= q->peer_count) return NULL;
    return (char const *)bpq_page(q, DIRECTORY_PAGE) + (size_t)machine * DIRECTORY_BYTES + DIRECTORY_NAME;
}

int bpq_find(struct bpq const *q, char const *name) {
    for (uint32_t i = 0; i < q->peer_count; ++i)
        if (strcmp(bpq_name(q, (uint16_t)i), name) == 0) return (int)i;
    return -BPQ_NOT_FOUND;
}

static void put16(uint8_t *at, uint16_t value) { memcpy(at, &value, sizeof value); }
static void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }

static int submit(struct bpq *q, uint8_t const entry[SUBMIT_BYTES]) {
    if (get(q, R_STATUS) != ENABLED) return -BPQ_BROKEN;
    if (q->submit_producer - load_index(q, SUBMIT_CONSUMER) >= SUBMIT_ENTRIES) return -BPQ_FULL;
    uint8_t *const ring = bpq_page(q, SUBMIT_PAGE);
    memcpy(ring + (size_t)(q->submit_producer % SUBMIT_ENTRIES) * SUBMIT_BYTES, entry, SUBMIT_BYTES);
    store_index(q, SUBMIT_PRODUCER, ++q->submit_producer);
    return BPQ_OK;
}

int bpq_submit_pages(struct bpq *q, enum bpq_operation operation, uint32_t flags, uint16_t receiver, uint32_t first,
                     uint32_t count, uint32_t bytes, uint32_t cookie) {
    uint8_t entry[SUBMIT_BYTES] = {0};
    put16(entry, (uint16_t)operation);
    put16(entry + 2, (uint16_t)flags);
    put16(entry + 4, receiver);
    put16(entry + 6, (uint16_t)count);
    put32(entry + 8, bytes);
    put32(entry + 12, cookie);
    put32(entry + 16, first);
    put32(entry + 20, count);
    return submit(q, entry);
}

int bpq_submit_inline(struct bpq *q, uint16_t receiver, void const *data, uint32_t bytes, uint32_t cookie) {
    if (bytes > BPQ_INLINE_BYTES) return -BPQ_INVALID;
    uint8_t entry[SUBMIT_BYTES] = {0};
    put16(entry, BPQ_SEND);
    put16(entry + 2, FLAG_INLINE);
    put16(entry + 4, receiver);
    put32(entry + 8, bytes);
    put32(entry + 12, cookie);
    memcpy(entry + 16, data, bytes);
    return submit(q, entry);
}

int bpq_submit_handle(struct bpq *q, enum bpq_operation operation, uint64_t handle, uint32_t cookie) {
    uint8_t entry[SUBMIT_BYTES] = {0};
    put16(entry, (uint16_t)operation);
    put32(entry + 12, cookie);
    memcpy(entry + 16, &handle, sizeof handle);
    return submit(q, entry);
}

int bpq_submit_swap(struct bpq *q, uint32_t first, uint32_t count, uint64_t ram_page, uint32_t cookie) {
    uint8_t entry[SUBMIT_BYTES] = {0};
    put16(entry, BPQ_SWAP);
    put16(entry + 6, (uint16_t)count);
    put32(entry + 12, cookie);
    put32(entry + 16, first);
    put32(entry + 20, count);
    memcpy(entry + SWAP_RAM, &ram_page, sizeof ram_page);
    return submit(q, entry);
}

void bpq_ring(struct bpq *q) { set(q, R_DOORBELL, 1); }

int bpq_send_registers(struct bpq *q, uint16_t receiver, void const *data, uint32_t bytes, uint32_t cookie) {
    if (bytes > BPQ_INLINE_BYTES) return -BPQ_INVALID;
    uint32_t words[BPQ_INLINE_BYTES / 4] = {0};
    memcpy(words, data, bytes);
    for (unsigned i = 0; i < (bytes + 3) / 4; ++i) set(q, R_SHORT_DATA + 4 * i, words[i]);
    set(q, R_SHORT_COOKIE, cookie);
    set(q, R_SHORT_SEND, bytes << 16 | receiver);
    return -(int)get(q, R_SHORT_STATUS);
}

int bpq_next_completion(struct bpq *q, struct bpq_completion *completion) {
    if (load_index(q, COMPLETE_PRODUCER) == q->complete_consumer)
        return (get(q, R_STATUS) & BROKEN) != 0 ? -BPQ_BROKEN : 0;
    uint8_t const *const at = (uint8_t const *)bpq_page(q, COMPLETE_PAGE) +
                              (size_t)(q->complete_consumer % COMPLETE_ENTRIES) * COMPLETE_BYTES;
    memcpy(completion, at, sizeof *completion); /* the structure is laid out as the entry is */
    store_index(q, COMPLETE_CONSUMER, ++q->complete_consumer);
    return 1;
}

int bpq_receive(struct bpq *q, struct bpq_message *message) {
    if (load_index(q, RECEIVE_PRODUCER) == q->receive_consumer)
        return (get(q, R_STATUS) & BROKEN) != 0 ? -BPQ_BROKEN : 0;
    uint8_t const *const at = (uint8_t const *)bpq_page(q, RECEIVE_PAGE) +
                              (size_t)(q->receive_consumer % RECEIVE_ENTRIES) * RECEIVE_BYTES;
    memcpy(message, at, ARRIVAL_DATA); /* likewise */
    memcpy(message->inline_data, at + ARRIVAL_DATA, sizeof message->inline_data);
    if (message->page_count > BPQ_MESSAGE_PAGES) return -BPQ_BROKEN;
    memcpy(message->pages, at + ARRIVAL_PAGES, message->page_count * sizeof message->pages[0]);
    store_index(q, RECEIVE_CONSUMER, ++q->receive_consumer);
    return 1;
}

/* Ranges for the pages from `done` on, runs of neighbours, as far as they fit. Returns how many pages they are. */
static uint32_t put_ranges(uint8_t entry[SUBMIT_BYTES], struct bpq_message const *message, uint32_t done) {
    uint32_t pages = 0;
    uint32_t const count = message->page_count;
    for (unsigned range = 0; range < RANGES && done < count; ++range) {
        uint32_t const first = message->pages[done];
        uint32_t run = 1;
        while (done + run < count && message->pages[done + run] == first + run) ++run;
        put32(entry + 16 + 8 * range, first);
        put32(entry + 20 + 8 * range, run);
        pages += run;
        done += run;
    }
    put16(entry + 6, (uint16_t)pages);
    return pages;
}

int bpq_forward(struct bpq *q, struct bpq_message const *message, uint32_t flags, uint16_t receiver, uint32_t cookie) {
    uint8_t entry[SUBMIT_BYTES] = {0};
    put16(entry, BPQ_SEND);
    put16(entry + 2, (uint16_t)flags);
    put16(entry + 4, receiver);
    put32(entry + 8, message->bytes);
    put32(entry + 12, cookie);
    if (put_ranges(entry, message, 0) != message->page_count) return -BPQ_INVALID;
    return submit(q, entry);
}

int bpq_release(struct bpq *q, struct bpq_message const *message) {
    if (message->kind == BPQ_LENT || message->kind == BPQ_IS_SHARED) {
        int const status = bpq_submit_handle(q, BPQ_RELINQUISH, message->handle, 0);
        if (status != BPQ_OK) return status;
    }
    uint32_t const count = message->kind == BPQ_INLINE ? 0 : message->page_count;
    for (uint32_t done = 0; done < count;) {
        uint8_t entry[SUBMIT_BYTES] = {0};
        put16(entry, BPQ_POST);
        done += put_ranges(entry, message, done);
        int const status = submit(q, entry);
        if (status != BPQ_OK) return status;
    }
    return BPQ_OK;
}
