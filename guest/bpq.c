/* bpq: moves a stream of bytes to another machine of the rack by the queue device, like netcat by a network.
 *
 *   bpq send PEER                 standard input
 *   bpq send PEER --generate N    N bytes that it makes up
 *   bpq recv                      to standard output, until the sender's end
 *   bpq recv --discard            only counts and sums
 *   bpq relay PEER                hands on to PEER what it receives, the pages themselves (transfer = "remap")
 *   bpq peers                     the machines of the rack
 *
 * Both ends print one line on standard error with the number of bytes and a sum of 64 bits over them.
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

static struct bpq *q;

static void fail(char const *what, int status) {
    fprintf(stderr, "bpq: %s: %s%s%s\n", what, bpq_status_text(status), status == -BPQ_SYSTEM ? ": " : "",
            status == -BPQ_SYSTEM ? strerror(errno) : "");
    exit(1);
}
static void must(char const *what, int status) {
    if (status < 0) fail(what, status);
}

static void rest(void) {
    struct timespec const pause = {0, 50000};
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
            rest();
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
        for (int rests = 0; rests < 20000; ++rests) {
            struct bpq_message message;
            int const got = bpq_receive(q, &message);
            must("receiving", got);
            if (got == 1 && message.sender == peer && message.cookie == READY) return;
            if (got == 0) rest();
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
    for (int i = 0; i < 100; ++i) rest(); /* the device forgets us when we are gone */
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
            rest();
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
            rest();
        } else if (message->cookie == HELLO && (sender == -1 || sender == message->sender)) {
            sender = message->sender;
            send_inline(message->sender, 0, READY);
        } else if (message->sender == sender && message->cookie == DATA) {
            bytes += message->bytes;
            must("handing on", bpq_forward(q, message, 0, (uint16_t)peer, DATA));
            ++handed_on_count;
        } else if (message->sender == sender && message->cookie == END) {
            struct bpq_message const end = *message;
            for (; landed_count != handed_on_count; rest()) take_completions();
            must("sending", bpq_send_registers(q, (uint16_t)peer, end.inline_data, 8, END));
            fprintf(stderr, "bpq: handed on %" PRIu64 " bytes from %s\n", bytes, bpq_name(q, end.sender));
            for (int i = 0; i < 100; ++i) rest();
            return 0;
        }
    }
}

static int list_peers(void) {
    for (uint16_t i = 0; bpq_name(q, i) != NULL; ++i)
        printf("%u %s%s\n", i, bpq_name(q, i), i == bpq_self(q) ? " (this machine)" : "");
    return 0;
}

int main(int count, char **words) {
    int const is_send = count >= 3 && strcmp(words[1], "send") == 0;
    int const is_receive = count >= 2 && strcmp(words[1], "recv") == 0;
    int const is_relay = count == 3 && strcmp(words[1], "relay") == 0;
    int const is_peers = count == 2 && strcmp(words[1], "peers") == 0;
    uint64_t bytes = 0;
    int const generates = is_send && count == 5 && strcmp(words[3], "--generate") == 0;
    int const discards = is_receive && count == 3 && strcmp(words[2], "--discard") == 0;
    if (generates) bytes = strtoull(words[4], NULL, 10);
    if (!is_peers && !is_relay && !(is_send && (count == 3 || generates)) && !(is_receive && (count == 2 || discards))) {
        fprintf(stderr, "bpq: expected send PEER [--generate BYTES], recv [--discard], relay PEER or peers\n");
        return 2;
    }
    must("opening the queue device", bpq_open(&q));
    int const code = is_peers ? list_peers() : is_relay ? relay_stream(words[2]) : is_send ? send_stream(words[2], generates ? &bytes : NULL)
                                                       : receive_stream(discards);
    bpq_close(q);
    return code;
}
