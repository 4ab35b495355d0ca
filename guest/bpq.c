/* bpq: moves a stream of bytes to another machine of the rack by the queue device, like netcat by a network.
 *
 *   bpq send PEER                 standard input
 *   bpq send PEER --generate N    N bytes that it makes up
 *   bpq recv                      to standard output, until the sender's end
 *   bpq recv --discard            only counts and sums
 *   bpq relay PEER                hands on to PEER what it receives, the pages themselves (transfer = "remap")
 *   bpq peers                     the machines of the rack
 *   bpq ping PEER COUNT [FORM]    COUNT short messages that come back; FORM: natural, immediate (default) or registers
 *   bpq echo                      sends short messages back until the sender's end
 *   bpq race PEER COUNT           sends COUNT messages and goes on writing into them while they are parsed
 *   bpq parse                     parses such messages where they lie, twice, and counts those that changed meanwhile
 *
 * Sender and receiver print one line on standard error with the number of bytes and a sum of 64 bits over them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libbpqueue/bpqueue.h"

enum { SLOTS = 8, CHUNK = BPQ_MESSAGE_PAGES * BPQ_PAGE_BYTES, POSTED_MESSAGES = 12 };
enum cookie { HELLO = 1, READY, DATA, END };
enum { LONG_MS = 60000 };

static struct bpq *q;

static void fail(char const *what, int status) {
    fprintf(stderr, "bpq: %s: %s%s%s\n", what, bpq_status_text(status), status == -BPQ_SYSTEM ? ": " : "",
            status == -BPQ_SYSTEM ? strerror(errno) : "");
    exit(1);
}
static void must(char const *what, int status) {
    if (status < 0) fail(what, status);
}

static void wait_for(unsigned what) {
    int const got = bpq_wait(q, what, LONG_MS);
    must("waiting", got);
    if (got == 0) fail("waiting", BPQ_EXPIRED);
}
/* The device forgets us when we are gone, and with us what has not landed yet. */
static void linger(void) {
    struct timespec const pause = {0, 5000000};
    nanosleep(&pause, NULL);
}

/* Any stream cut anywhere gives the same sum: bytes are gathered into words first. */
struct sum {
    uint64_t value, bytes, word;
};
static void add_word(struct sum *sum, uint64_t word) { sum->value = (sum->value ^ word) * UINT64_C(0x9E3779B97F4A7C15) + 1; }
static void add(struct sum *sum, void const *data, size_t bytes) {
    uint8_t const *at = data;
    for (; bytes >= 8 && sum->bytes % 8 == 0; bytes -= 8, at += 8, sum->bytes += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        add_word(sum, word);
    }
    for (; bytes != 0; --bytes, ++at) {
        sum->word |= (uint64_t)*at << 8 * (sum->bytes % 8);
        if (++sum->bytes % 8 != 0) continue;
        add_word(sum, sum->word);
        sum->word = 0;
        if (bytes > 8) {
            add(sum, at + 1, bytes - 1);
            return;
        }
    }
}
static uint64_t result(struct sum sum) {
    add_word(&sum, sum.word);
    return sum.value;
}

static size_t fill(uint64_t *generate, uint64_t *state, uint8_t *into) {
    if (generate != NULL) {
        size_t const bytes = *generate < CHUNK ? (size_t)*generate : CHUNK;
        for (size_t i = 0; i < bytes; i += 8) {
            *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
            memcpy(into + i, state, 8);
        }
        *generate -= bytes;
        return bytes;
    }
    size_t bytes = 0;
    while (bytes < CHUNK) {
        ssize_t const got = read(STDIN_FILENO, into + bytes, CHUNK - bytes);
        if (got < 0) fail("standard input", -BPQ_SYSTEM);
        if (got == 0) break;
        bytes += (size_t)got;
    }
    return bytes;
}

/* The next completion of what was sent; posts and releases have none that matters, unless they failed. */
static struct bpq_completion wait_for_completion(void) {
    struct bpq_completion completion;
    for (;;) {
        int const got = bpq_next_completion(q, &completion);
        must("completions", got);
        if (got == 0) {
            wait_for(BPQ_COMPLETIONS);
        } else if (completion.operation == BPQ_SEND) {
            return completion;
        } else if (completion.status != BPQ_OK) {
            fail("a page operation", completion.status);
        }
    }
}

static void send_inline(uint16_t peer, uint64_t value, enum cookie cookie) {
    must("sending", bpq_submit_inline(q, peer, &value, sizeof value, cookie));
    bpq_ring(q);
}

/* The receiver may start later than the sender. */
static void shake_hands(uint16_t peer) {
    for (int tries = 0; tries < 60; ++tries) {
        send_inline(peer, 0, HELLO);
        struct bpq_completion const answer = wait_for_completion();
        if (answer.status == BPQ_EXPIRED || answer.status == BPQ_GONE) continue;
        if (answer.status != BPQ_OK) fail("greeting the receiver", answer.status);
        for (;;) {
            struct bpq_message message;
            int const got = bpq_receive(q, &message);
            must("receiving", got);
            if (got == 1 && message.sender == peer && message.cookie == READY) return;
            if (got == 0 && bpq_wait(q, BPQ_MESSAGES, 1000) <= 0) break;
        }
    }
    fail("greeting the receiver", BPQ_EXPIRED);
}

static int send_stream(char const *peer_name, uint64_t *generate) {
    int const peer = bpq_find(q, peer_name);
    must(peer_name, peer);
    shake_hands((uint16_t)peer);
    struct sum sum = {0, 0, 0};
    uint64_t state = 88172645463325252u;
    uint32_t const first = bpq_first_page(q);
    unsigned on_their_way = 0;
    for (uint64_t chunk = 0;; ++chunk) {
        if (on_their_way == SLOTS) {
            struct bpq_completion const done = wait_for_completion();
            if (done.status != BPQ_OK) fail("sending", done.status);
            --on_their_way;
        }
        uint32_t const page = first + (uint32_t)(chunk % SLOTS) * BPQ_MESSAGE_PAGES;
        size_t const bytes = fill(generate, &state, bpq_page(q, page));
        if (bytes == 0) break;
        add(&sum, bpq_page(q, page), bytes);
        uint32_t const pages = (uint32_t)((bytes + BPQ_PAGE_BYTES - 1) / BPQ_PAGE_BYTES);
        must("sending",
             bpq_submit_pages(q, BPQ_SEND, BPQ_EXCHANGE, (uint16_t)peer, page, pages, (uint32_t)bytes, DATA));
        if (chunk % 2 == 0) bpq_ring(q); /* the others are found at the next exit */
        ++on_their_way;
    }
    for (; on_their_way != 0; --on_their_way) {
        struct bpq_completion const done = wait_for_completion();
        if (done.status != BPQ_OK) fail("sending", done.status);
    }
    must("sending", bpq_send_registers(q, (uint16_t)peer, &sum.bytes, sizeof sum.bytes, END));
    fprintf(stderr, "bpq: sent %" PRIu64 " bytes sum=%016" PRIx64 "\n", sum.bytes, result(sum));
    linger();
    return 0;
}

static void put(void const *data, size_t bytes) {
    uint8_t const *at = data;
    while (bytes != 0) {
        ssize_t const done = write(STDOUT_FILENO, at, bytes);
        if (done < 0) fail("standard output", -BPQ_SYSTEM);
        at += done;
        bytes -= (size_t)done;
    }
}

static void take(struct bpq_message const *message, struct sum *sum, int discard) {
    uint32_t left = message->bytes;
    for (uint32_t i = 0; i < message->page_count && left != 0; ++i) {
        uint32_t const bytes = left < BPQ_PAGE_BYTES ? left : BPQ_PAGE_BYTES;
        add(sum, bpq_page(q, message->pages[i]), bytes);
        if (!discard) put(bpq_page(q, message->pages[i]), bytes);
        left -= bytes;
    }
    must("giving pages back", bpq_release(q, message));
    bpq_ring(q);
}

static void post_pages(void) {
    uint32_t const first = bpq_first_page(q);
    for (uint32_t i = 0; i < POSTED_MESSAGES; ++i)
        must("posting pages", bpq_submit_pages(q, BPQ_POST, 0, 0, first + i * BPQ_MESSAGE_PAGES, BPQ_MESSAGE_PAGES, 0, 0));
    bpq_ring(q);
}

static int receive_stream(int discard) {
    post_pages();
    struct sum sum = {0, 0, 0};
    int sender = -1;
    for (;;) {
        struct bpq_completion completion;
        int done;
        while ((done = bpq_next_completion(q, &completion)) == 1)
            if (completion.status != BPQ_OK) fail("a page operation", completion.status);
        must("completions", done);
        struct bpq_message message;
        int const got = bpq_receive(q, &message);
        must("receiving", got);
        if (got == 0) {
            wait_for(BPQ_MESSAGES);
        } else if (message.cookie == HELLO && (sender == -1 || sender == message.sender)) {
            sender = message.sender;
            send_inline(message.sender, 0, READY);
        } else if (message.sender != sender) {
            must("giving pages back", bpq_release(q, &message));
        } else if (message.cookie == END) {
            uint64_t expected;
            memcpy(&expected, message.inline_data, sizeof expected);
            fprintf(stderr, "bpq: received %" PRIu64 " bytes sum=%016" PRIx64 " from %s\n", sum.bytes, result(sum),
                    bpq_name(q, message.sender));
            return sum.bytes == expected ? 0 : 1;
        } else {
            take(&message, &sum, discard);
        }
    }
}

/* Messages that were handed on, in order; their pages are holes until others land there. */
static struct bpq_message handed_on[POSTED_MESSAGES];
static uint64_t handed_on_count, landed_count;

static void take_completions(void) {
    struct bpq_completion completion;
    int got;
    while ((got = bpq_next_completion(q, &completion)) == 1) {
        if (completion.status != BPQ_OK) fail("handing on", completion.status);
        if (completion.operation != BPQ_SEND || completion.cookie != DATA) continue;
        must("posting pages", bpq_release(q, &handed_on[landed_count++ % POSTED_MESSAGES]));
    }
    must("completions", got);
}

static int relay_stream(char const *peer_name) {
    int const peer = bpq_find(q, peer_name);
    must(peer_name, peer);
    shake_hands((uint16_t)peer);
    post_pages();
    uint64_t bytes = 0;
    for (int sender = -1;;) {
        take_completions();
        struct bpq_message *const message = &handed_on[handed_on_count % POSTED_MESSAGES];
        int const got = handed_on_count - landed_count == POSTED_MESSAGES ? 0 : bpq_receive(q, message);
        must("receiving", got);
        if (got == 0) {
            wait_for(BPQ_MESSAGES | BPQ_COMPLETIONS);
        } else if (message->cookie == HELLO && (sender == -1 || sender == message->sender)) {
            sender = message->sender;
            send_inline(message->sender, 0, READY);
        } else if (message->sender == sender && message->cookie == DATA) {
            bytes += message->bytes;
            must("handing on", bpq_forward(q, message, 0, (uint16_t)peer, DATA));
            ++handed_on_count;
        } else if (message->sender == sender && message->cookie == END) {
            struct bpq_message const end = *message;
            for (take_completions(); landed_count != handed_on_count; take_completions()) wait_for(BPQ_COMPLETIONS);
            must("sending", bpq_send_registers(q, (uint16_t)peer, end.inline_data, 8, END));
            fprintf(stderr, "bpq: handed on %" PRIu64 " bytes from %s\n", bytes, bpq_name(q, end.sender));
            linger();
            return 0;
        }
    }
}

enum form { NATURAL, IMMEDIATE, REGISTERS, FORMS };
static char const *const form_names[FORMS] = {"natural", "immediate", "registers"};

static void send_short(uint16_t peer, uint64_t value, enum form form, enum cookie cookie) {
    if (form == REGISTERS) {
        must("sending", bpq_send_registers(q, peer, &value, sizeof value, cookie));
        return;
    }
    must("sending", bpq_submit_inline(q, peer, &value, sizeof value, cookie));
    if (form == IMMEDIATE) bpq_ring(q);
}

/* The next message; completions meanwhile only count when they say that something went wrong. */
static struct bpq_message wait_for_message(void) {
    struct bpq_message message;
    struct bpq_completion completion;
    for (int got; (got = bpq_receive(q, &message)) != 1; wait_for(BPQ_MESSAGES)) must("receiving", got);
    while (bpq_next_completion(q, &completion) == 1)
        if (completion.status != BPQ_OK) fail("sending", completion.status);
    return message;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int ping(char const *peer_name, uint64_t count, enum form form) {
    int const peer = bpq_find(q, peer_name);
    must(peer_name, peer);
    shake_hands((uint16_t)peer);
    double const begin = seconds();
    for (uint64_t i = 0; i < count; ++i) {
        send_short((uint16_t)peer, i, form, DATA);
        struct bpq_message const answer = wait_for_message();
        uint64_t value;
        memcpy(&value, answer.inline_data, sizeof value);
        if (answer.sender != peer || value != i) fail("an answer", BPQ_INVALID);
    }
    double const each_us = count == 0 ? 0 : (seconds() - begin) * 1e6 / (double)count;
    send_short((uint16_t)peer, 0, REGISTERS, END);
    fprintf(stderr, "bpq: %" PRIu64 " %s messages came back, %.1f us each, by %s\n", count, form_names[form], each_us,
            bpq_has_interrupts(q) ? "interrupts" : "sleeping");
    linger();
    return 0;
}

static int echo(void) {
    uint64_t count = 0;
    for (;;) {
        struct bpq_message const message = wait_for_message();
        if (message.cookie == END) break;
        if (message.cookie == HELLO) {
            send_short(message.sender, 0, IMMEDIATE, READY);
            continue;
        }
        uint64_t value;
        memcpy(&value, message.inline_data, sizeof value);
        send_short(message.sender, value, IMMEDIATE, DATA);
        ++count;
    }
    fprintf(stderr, "bpq: sent %" PRIu64 " messages back\n", count);
    return 0;
}

/* A message of records: a length in bytes, then as many bytes; 0 ends it. The parser trusts nobody, so it checks the
 * lengths first and then uses them, and between the two nobody may change them. */
enum { RECORDS = 400, RECORD_MOST = 120 };

static void make_records(uint8_t *into) {
    uint8_t *at = into;
    for (unsigned i = 0; i < RECORDS; ++i) {
        uint8_t const bytes = (uint8_t)(1 + (i * 37) % RECORD_MOST);
        *at++ = bytes;
        memset(at, (int)('a' + i % 26), bytes);
        at += bytes;
    }
    *at = 0;
}

/* Sends and, while the parser is at it, overwrites every length with one that leads beyond the message. */
static int race(char const *peer_name, uint64_t count) {
    int const peer = bpq_find(q, peer_name);
    must(peer_name, peer);
    shake_hands((uint16_t)peer);
    uint32_t const page = bpq_first_page(q);
    uint32_t const bytes = 8 * BPQ_PAGE_BYTES;
    for (uint64_t i = 0; i < count; ++i) {
        uint8_t *const records = bpq_page(q, page);
        make_records(records);
        must("sending", bpq_submit_pages(q, BPQ_SEND, BPQ_EXCHANGE, (uint16_t)peer, page, 8, bytes, DATA));
        bpq_ring(q);
        struct bpq_message message;
        while (bpq_receive(q, &message) == 0) { /* until the parser says that it is done */
            for (uint32_t at = 0; at < bytes; at += 64) ((volatile uint8_t *)records)[at] = 255;
            (void)bpq_wait(q, BPQ_MESSAGES, 1);
        }
        struct bpq_completion const done = wait_for_completion();
        if (done.status != BPQ_OK) fail("sending", done.status);
    }
    send_short((uint16_t)peer, 0, REGISTERS, END);
    fprintf(stderr, "bpq: raced %" PRIu64 " messages\n", count);
    linger();
    return 0;
}

/* The contiguous bytes of a message whose pages lie side by side. */
static uint64_t sum_of_records(uint8_t const *records, uint32_t bytes, unsigned *count) {
    struct sum sum = {0, 0, 0};
    uint32_t at = 0;
    for (*count = 0; at < bytes && records[at] != 0 && records[at] < bytes - at; ++*count) {
        add(&sum, records + at, (size_t)records[at] + 1);
        at += records[at] + 1u;
    }
    return result(sum);
}

static int parse(void) {
    uint32_t const first = bpq_first_page(q);
    must("posting pages", bpq_submit_pages(q, BPQ_POST, 0, 0, first, 8, 0, 0));
    bpq_ring(q);
    uint64_t parsed = 0, changed = 0;
    for (;;) {
        struct bpq_message const message = wait_for_message();
        if (message.cookie == END) break;
        if (message.cookie == HELLO) {
            send_short(message.sender, 0, IMMEDIATE, READY);
            continue;
        }
        uint8_t const *const records = bpq_page(q, message.pages[0]);
        unsigned checked_count, used_count;
        uint64_t const checked = sum_of_records(records, message.bytes, &checked_count);
        linger(); /* time for the sender */
        uint64_t const used = sum_of_records(records, message.bytes, &used_count);
        ++parsed;
        if (checked_count != RECORDS || checked != used || checked_count != used_count) ++changed;
        must("giving pages back", bpq_release(q, &message));
        bpq_ring(q);
        send_short(message.sender, parsed, IMMEDIATE, READY);
    }
    fprintf(stderr, "bpq: parsed %" PRIu64 " messages in place, %" PRIu64 " changed meanwhile\n", parsed, changed);
    return 0;
}

static int list_peers(void) {
    for (uint16_t i = 0; bpq_name(q, i) != NULL; ++i)
        printf("%u %s%s\n", i, bpq_name(q, i), i == bpq_self(q) ? " (this machine)" : "");
    return 0;
}

static enum form form_of(char const *name) {
    enum form form = NATURAL;
    while (form < FORMS && strcmp(name, form_names[form]) != 0) ++form;
    return form;
}

static int usage(void) {
    fprintf(stderr, "bpq: expected send PEER [--generate BYTES], recv [--discard], relay PEER, peers, ping PEER COUNT "
                    "[natural|immediate|registers], echo, race PEER COUNT or parse\n");
    return 2;
}

static int run_send(int count, char **words) {
    if (count == 3) return send_stream(words[2], NULL);
    if (count != 5 || strcmp(words[3], "--generate") != 0) return usage();
    uint64_t bytes = strtoull(words[4], NULL, 10);
    return send_stream(words[2], &bytes);
}
static int run_recv(int count, char **words) {
    return count == 3 && strcmp(words[2], "--discard") != 0 ? usage() : receive_stream(count == 3);
}
static int run_ping(int count, char **words) {
    enum form const form = count == 5 ? form_of(words[4]) : IMMEDIATE;
    return form == FORMS ? usage() : ping(words[2], strtoull(words[3], NULL, 10), form);
}
static int run_relay(int count, char **words) { return (void)count, relay_stream(words[2]); }
static int run_race(int count, char **words) { return (void)count, race(words[2], strtoull(words[3], NULL, 10)); }
static int run_peers(int count, char **words) { return (void)count, (void)words, list_peers(); }
static int run_echo(int count, char **words) { return (void)count, (void)words, echo(); }
static int run_parse(int count, char **words) { return (void)count, (void)words, parse(); }

struct verb {
    char const *name;
    int least, most; /* words, the program's name among them */
    int (*run)(int count, char **words);
};
static struct verb const verbs[] = {{"send", 3, 5, run_send}, {"recv", 2, 3, run_recv},   {"relay", 3, 3, run_relay},
                                    {"peers", 2, 2, run_peers}, {"ping", 4, 5, run_ping}, {"echo", 2, 2, run_echo},
                                    {"race", 4, 4, run_race}, {"parse", 2, 2, run_parse}};

int main(int count, char **words) {
    for (size_t i = 0; count >= 2 && i < sizeof verbs / sizeof verbs[0]; ++i) {
        if (strcmp(words[1], verbs[i].name) != 0 || count < verbs[i].least || count > verbs[i].most) continue;
        must("opening the queue device", bpq_open(&q));
        int const code = verbs[i].run(count, words);
        bpq_close(q);
        return code;
    }
    return usage();
}
