/* The queue device from bare metal: no kernel, no paging, one interrupt. What to do is on the command line:
 *
 *   ping PEER COUNT   sends COUNT short messages (in place of each: natural, with "natural") that PEER sends back
 *   echo              sends short messages back until the end
 *   send PEER COUNT   donates COUNT times 16 pages of its RAM
 *   receive           takes such pages into its own RAM and looks at every word
 *
 * Before these: "late" waits for 20 ms; "crash N" and "hang N" end it badly before it takes its N-th message or completion.
 *
 * Its last line on the serial port starts with "@@"; then it switches the machine off (docs/quirks.md: the sleep port).
 */
#include <stdint.h>

#include "libbpqueue/bpqueue.h"

enum {
    SERIAL = 0x3F8, SERIAL_STATUS = 0x3FD, SLEEP_CONTROL = 0x600, SLEEP_S5 = 5 << 2 | 1 << 5,
    PCI_ADDRESS = 0xCF8, PCI_DATA = 0xCFC, PCI_COMMAND = 4, PCI_BAR0 = 0x10, PCI_CAPABILITIES = 0x34, MSIX = 0x11,
    VECTOR = 0x40, BATCH = 16, BATCHES = 4, WORDS = BATCH * BPQ_PAGE_BYTES / 4
};
#define RAM_PAGE 0x800u /* 8 MiB: RAM that nobody uses */
#define BOOT_COMMAND_LINE 4u /* bit of multiboot_info.flags */
enum cookie { HELLO = 1, READY, DATA, END };

static struct bpq queue;
static struct bpq *const q = &queue;

void *memcpy(void *into, void const *from, size_t bytes) {
    void *const result = into;
    size_t words = bytes / 4;
    bytes %= 4;
    __asm__ volatile("rep movsl" : "+D"(into), "+S"(from), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(into), "+S"(from), "+c"(bytes) : : "memory");
    return result;
}
void *memset(void *into, int value, size_t bytes) {
    void *const result = into;
    __asm__ volatile("rep stosb" : "+D"(into), "+c"(bytes) : "a"(value) : "memory");
    return result;
}
int strcmp(char const *a, char const *b) {
    while (*a != 0 && *a == *b) ++a, ++b;
    return (uint8_t)*a - (uint8_t)*b;
}

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static uint32_t in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void say(char const *text) {
    for (; *text != 0; ++text) {
        while ((in8(SERIAL_STATUS) & 0x20) == 0) {}
        out8(SERIAL, (uint8_t)*text);
    }
}
static void say_number(uint32_t value) {
    char digits[11];
    char *at = digits + sizeof digits - 1;
    *at = 0;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    say(at);
}
static void switch_off(void) {
    for (;;) out8(SLEEP_CONTROL, SLEEP_S5);
}
static void must(char const *what, int status) {
    if (status >= 0) return;
    say("@@FAIL "), say(what), say(": "), say(bpq_status_text(status)), say("\n");
    switch_off();
}

/* --- the machine ------------------------------------------------------------------------------------------------ */

static uint32_t config_address(uint32_t slot, uint32_t offset) { return 1u << 31 | slot << 11 | (offset & ~3u); }
static uint32_t read_config(uint32_t slot, uint32_t offset) {
    out32(PCI_ADDRESS, config_address(slot, offset));
    return in32(PCI_DATA);
}
static void write_config(uint32_t slot, uint32_t offset, uint32_t value) {
    out32(PCI_ADDRESS, config_address(slot, offset));
    out32(PCI_DATA, value);
}
static void *bar(uint32_t slot, unsigned number) {
    return (void *)(uintptr_t)(read_config(slot, PCI_BAR0 + 4 * number) & ~15u);
}

extern void message_handler(void);
static uint64_t idt[VECTOR + 1];

/* One gate, and the local APIC switched on ([SDM3A] 6.11, 10.4.7.2). */
static void prepare_interrupts(void) {
    uint32_t const handler = (uint32_t)(uintptr_t)message_handler;
    idt[VECTOR] = (uint64_t)(handler >> 16) << 48 | (uint64_t)0x8E00 << 32 | 8u << 16 | (handler & 0xFFFF);
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) const pointer = {sizeof idt - 1, (uint32_t)(uintptr_t)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer));
    *(volatile uint32_t *)0xFEE000F0 = 0x1FF;
}

/* Entry 0 of the function's MSI-X table sends VECTOR to this processor ([PCI3] 6.8.2). */
static void prepare_messages(uint32_t slot) {
    volatile uint32_t *const table = bar(slot, 4);
    table[0] = 0xFEE00000, table[1] = 0, table[2] = VECTOR, table[3] = 0;
    uint32_t capability = read_config(slot, PCI_CAPABILITIES) & 0xFC;
    while (capability != 0 && (read_config(slot, capability) & 0xFF) != MSIX)
        capability = read_config(slot, capability) >> 8 & 0xFC;
    if (capability == 0) must("MSI-X", -BPQ_NO_DEVICE);
    write_config(slot, capability, read_config(slot, capability) | 1u << 31);
}

static void open_queue(void) {
    uint32_t slot = 0;
    while (slot < 32 && read_config(slot, 0) != 0x0001BAC0) ++slot;
    if (slot == 32) must("the queue device", -BPQ_NO_DEVICE);
    write_config(slot, PCI_COMMAND, read_config(slot, PCI_COMMAND) | 6);
    prepare_messages(slot);
    bpq_attach(q, bar(slot, 0), bar(slot, 2));
    int status;
    while ((status = bpq_begin(q)) == -BPQ_BUSY) {}
    must("enabling the device", status);
}

/* Halts until something of `what` is there. Interrupts are on in HLT only, so none can come between look and halt. */
static void wait_for(unsigned what) {
    while (!bpq_is_ready(q, what)) {
        bpq_arm(q, what);
        if (!bpq_is_ready(q, what)) __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
}

/* --- what it does ------------------------------------------------------------------------------------------------ */

static uint32_t steps_left = UINT32_MAX;
static int is_to_hang;

/* Before each message and completion. A triple fault: #UD has no gate here. */
static void step(void) {
    if (--steps_left != 0) return;
    while (is_to_hang) {}
    __asm__ volatile("ud2");
}

static struct bpq_completion completion_of(enum bpq_operation operation) {
    struct bpq_completion completion;
    step();
    for (;;) {
        int const got = bpq_next_completion(q, &completion);
        must("completions", got);
        if (got == 0)
            wait_for(BPQ_COMPLETIONS);
        else if (completion.operation == operation || completion.status != BPQ_OK)
            return completion;
    }
}
static struct bpq_message *next_message(void) {
    static struct bpq_message message;
    step();
    for (int got; (got = bpq_receive(q, &message)) != 1; wait_for(BPQ_MESSAGES)) must("receiving", got);
    return &message;
}
static void send_short(uint16_t peer, uint32_t value, enum cookie cookie, int is_natural) {
    struct bpq_completion completion;
    while (bpq_next_completion(q, &completion) == 1) must("sending", -(int)completion.status);
    must("sending", bpq_submit_inline(q, peer, &value, sizeof value, cookie));
    if (!is_natural) bpq_ring(q);
}
static void greet(uint16_t peer) {
    for (;;) {
        send_short(peer, 0, HELLO, 0);
        struct bpq_completion const answer = completion_of(BPQ_SEND);
        if (answer.status == BPQ_OK) break;
        if (answer.status != BPQ_EXPIRED) must("greeting", -(int)answer.status);
    }
    while (next_message()->cookie != READY) {}
}

static void ping(uint16_t peer, uint32_t count, int is_natural) {
    greet(peer);
    for (uint32_t i = 0; i < count; ++i) {
        send_short(peer, i, DATA, is_natural);
        struct bpq_message const *const answer = next_message();
        uint32_t value;
        memcpy(&value, answer->inline_data, sizeof value);
        if (value != i || answer->sender != peer) must("an answer", -BPQ_INVALID);
    }
    send_short(peer, 0, END, 0);
    (void)completion_of(BPQ_SEND);
    say("@@PINGED count="), say_number(count), say("\n");
}

static void echo(void) {
    for (;;) {
        struct bpq_message const *const message = next_message();
        if (message->cookie == END) break;
        uint32_t value;
        memcpy(&value, message->inline_data, sizeof value);
        send_short(message->sender, value, message->cookie == HELLO ? READY : DATA, 0);
    }
    say("@@ECHOED\n");
}

static uint32_t *ram(uint32_t batch) { return (uint32_t *)(uintptr_t)((RAM_PAGE + batch * BATCH) * BPQ_PAGE_BYTES); }
static uint32_t pattern(uint32_t message, uint32_t word) { return message * 0x9E3779B9u + word; }

static void send_ram(uint16_t peer, uint32_t count) {
    greet(peer);
    for (uint32_t i = 0; i < count; ++i) {
        uint32_t const batch = i % BATCHES, first = bpq_first_page(q) + batch * BATCH;
        for (uint32_t w = 0; w < WORDS; ++w) ram(batch)[w] = pattern(i, w);
        must("swapping", bpq_submit_swap(q, first, BATCH, RAM_PAGE + batch * BATCH, 0));
        must("donating", bpq_submit_pages(q, BPQ_DONATE, BPQ_EXCHANGE, peer, first, BATCH, BATCH * BPQ_PAGE_BYTES, DATA));
        bpq_ring(q);
        must("donating", -(int)completion_of(BPQ_DONATE).status);
    }
    send_short(peer, count, END, 0);
    (void)completion_of(BPQ_SEND);
    say("@@SENT pages="), say_number(count * BATCH), say("\n");
}

static void receive_ram(void) {
    uint32_t const first = bpq_first_page(q);
    must("posting", bpq_submit_pages(q, BPQ_POST, 0, 0, first, BATCH * BATCHES, 0, 0));
    bpq_ring(q);
    uint32_t count = 0;
    for (;;) {
        struct bpq_message const *const message = next_message();
        if (message->cookie == END) break;
        if (message->cookie == HELLO) {
            send_short(message->sender, 0, READY, 0);
            continue;
        }
        if (message->page_count != BATCH) must("a message", -BPQ_INVALID);
        must("swapping", bpq_submit_swap(q, message->pages[0], BATCH, RAM_PAGE, 0));
        bpq_ring(q);
        must("swapping", -(int)completion_of(BPQ_SWAP).status);
        for (uint32_t w = 0; w < WORDS; ++w)
            if (ram(0)[w] != pattern(count, w)) must("a word", -BPQ_INVALID);
        must("posting", bpq_release(q, message));
        bpq_ring(q);
        ++count;
    }
    say("@@RECEIVED pages="), say_number(count * BATCH), say(" all words right\n");
}

struct boot_information {
    uint32_t flags, memory[2], boot_device;
    char const *command_line;
};

/* Cuts a line into words, in place. */
static unsigned cut(char const *line, char *words[], unsigned most) {
    static char copy[256];
    unsigned count = 0, length = 0;
    while (line[length] != 0 && length < sizeof copy - 1) copy[length] = line[length], ++length;
    for (unsigned i = 0; i < length; ++i) {
        if (copy[i] == ' ') copy[i] = 0;
        else if ((i == 0 || copy[i - 1] == 0) && count < most) words[count++] = copy + i;
    }
    return count;
}
static uint32_t number_in(char const *text) {
    uint32_t value = 0;
    for (; *text >= '0' && *text <= '9'; ++text) value = value * 10 + (uint32_t)(*text - '0');
    return value;
}

void metal_main(struct boot_information const *boot);
void metal_main(struct boot_information const *boot) {
    char *words[8] = {0};
    unsigned const count = (boot->flags & BOOT_COMMAND_LINE) != 0 ? cut(boot->command_line, words, 8) : 0;
    prepare_interrupts();
    open_queue();
    for (unsigned i = 0; i < count; ++i) {
        int const peer = i + 2 < count ? bpq_find(q, words[i + 1]) : 0;
        if (strcmp(words[i], "late") == 0)
            for (uint32_t volatile spins = 4000000; spins != 0; --spins) {}
        if (i + 1 < count && (strcmp(words[i], "crash") == 0 || strcmp(words[i], "hang") == 0))
            is_to_hang = words[i][0] == 'h', steps_left = number_in(words[i + 1]);
        if (strcmp(words[i], "echo") == 0) echo();
        if (strcmp(words[i], "receive") == 0) receive_ram();
        if (strcmp(words[i], "ping") != 0 && strcmp(words[i], "send") != 0) continue;
        if (i + 2 >= count) must("the command line", -BPQ_INVALID);
        must(words[i + 1], peer);
        if (strcmp(words[i], "send") == 0)
            send_ram((uint16_t)peer, number_in(words[i + 2]));
        else
            ping((uint16_t)peer, number_in(words[i + 2]), i + 3 < count && strcmp(words[i + 3], "natural") == 0);
        break;
    }
    switch_off();
}
