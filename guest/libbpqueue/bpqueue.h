/* The queue device: messages whose pages change owner, from user space without a kernel module, or from bare metal.
 *
 *   bpqueue.c  all but finding the device and waiting; needs no library but memcpy() and strcmp()
 *   linux.c    bpq_open() and bpq_wait() on top of sysfs: maps /sys/bus/pci/devices/.../resource0 and resource2, so it
 *              needs root; waits for interrupts when the stock uio_pci_generic can be had, else sleeps for moments
 *
 * One process at a time can have the device. It is specified in docs/design/queue-device.md. A struct bpq is not safe
 * for use by several threads at once.
 *
 * Message pages are numbered; bpq_page() is where one is. Who sends pages has lost them until the completion says what
 * became of them (enum bpq_transfer). A page that one does not have reads as ones and drops stores.
 */
#ifndef BPQUEUE_H
#define BPQUEUE_H

#include <stddef.h>
#include <stdint.h>

#define BPQ_PAGE_BYTES 4096u
#define BPQ_MESSAGE_PAGES 64u /* the most in one message */
#define BPQ_INLINE_BYTES 48u

/* What a call or a completion says; calls return it negated. */
enum bpq_status {
    BPQ_OK,
    BPQ_INVALID,
    BPQ_DENIED,
    BPQ_BUSY,
    BPQ_NO_MEMORY,
    BPQ_NOT_FOUND,
    BPQ_EXPIRED,
    BPQ_GONE,
    BPQ_NO_DEVICE = 100, /* no such PCI device, or of another version */
    BPQ_SYSTEM,          /* the kernel refused; see errno */
    BPQ_BROKEN,          /* the device stopped: the rings are broken */
    BPQ_FULL             /* the submission ring has no room: take completions first */
};
char const *bpq_status_text(int status); /* either sign */

/* What becomes of pages that are sent with BPQ_SEND. */
enum bpq_transfer { BPQ_REMAP, BPQ_COPY_ON_WRITE, BPQ_SHARED, BPQ_COPY };

enum bpq_operation {
    BPQ_NONE,
    BPQ_SEND,
    BPQ_DONATE,
    BPQ_LEND,
    BPQ_SHARE,
    BPQ_POST,
    BPQ_POPULATE,
    BPQ_RELEASE,
    BPQ_RELINQUISH,
    BPQ_RECLAIM,
    BPQ_SWAP
};
#define BPQ_EXCHANGE 2u /* flags: the sender gets zeroed pages for those that it donated */
#define BPQ_WRITABLE 4u /* lend, share */
#define BPQ_WHOLE 8u    /* the receiver may see what lies behind the message in its last page */

enum bpq_kind { BPQ_INLINE = 1, BPQ_DONATED, BPQ_LENT, BPQ_IS_SHARED };

/* Its members are the library's own. */
struct bpq {
    volatile uint32_t *registers;
    uint8_t *pages;
    uint32_t submit_producer, complete_consumer, receive_consumer;
    uint32_t peer_count;
};

/* What can be waited for. */
#define BPQ_MESSAGES 1u
#define BPQ_COMPLETIONS 2u

struct bpq_completion {
    uint32_t cookie;
    uint16_t status, operation;
    uint64_t handle;
};

/* An arrival. Valid until it is released; `inline_data` and the first `page_count` of `pages` are copies, the pages' contents
 * are in place. */
struct bpq_message {
    uint64_t sequence, sent_ns, handle;
    uint16_t sender, receiver, kind, page_count;
    uint32_t bytes, cookie;
    uint8_t inline_data[BPQ_INLINE_BYTES];
    uint32_t pages[BPQ_MESSAGE_PAGES];
};

/* Linux: finds, resets and enables the device; NULL ends nothing. */
int bpq_open(struct bpq **queue);
void bpq_close(struct bpq *queue);
/* Linux: returns when something of `what` is there, or after `timeout_ms`; 1 or 0, or an error. */
int bpq_wait(struct bpq *queue, unsigned what, int timeout_ms);
/* Linux: 1 when bpq_wait() waits for interrupts, 0 when it sleeps for moments. */
int bpq_has_interrupts(struct bpq const *queue);

/* Bare metal: what BAR 0 and BAR 2 are mapped at. The device is reset at its machine's next exit from the processor's
 * quota, so call bpq_begin() until it says something else than -BPQ_BUSY. */
void bpq_attach(struct bpq *queue, volatile void *registers, void *pages);
int bpq_begin(struct bpq *queue);
/* Interrupts: forgets the causes so far and lets the next one of `what` interrupt. Look at bpq_is_ready() after that and
 * only then wait. */
void bpq_arm(struct bpq *queue, unsigned what);
/* Something of `what` is there. */
int bpq_is_ready(struct bpq const *queue, unsigned what);

enum bpq_transfer bpq_transfer_mode(struct bpq const *queue);
uint16_t bpq_self(struct bpq const *queue);
uint32_t bpq_first_page(struct bpq const *queue);
uint32_t bpq_page_count(struct bpq const *queue); /* message pages, from bpq_first_page() on */
void *bpq_page(struct bpq const *queue, uint32_t page);

/* The number of a machine, or -BPQ_NOT_FOUND. */
int bpq_find(struct bpq const *queue, char const *name);
/* Its name, or NULL. */
char const *bpq_name(struct bpq const *queue, uint16_t machine);

/* Places a submission: natural form. `count` pages from `first`. */
int bpq_submit_pages(struct bpq *queue, enum bpq_operation operation, uint32_t flags, uint16_t receiver,
                     uint32_t first, uint32_t count, uint32_t bytes, uint32_t cookie);
int bpq_submit_inline(struct bpq *queue, uint16_t receiver, void const *data, uint32_t bytes, uint32_t cookie);
int bpq_submit_handle(struct bpq *queue, enum bpq_operation operation, uint64_t handle, uint32_t cookie);
/* Pages `first` to `first + count - 1` change places with as many pages of RAM, from physical address
 * `ram_page` * BPQ_PAGE_BYTES on: for whoever knows physical addresses. */
int bpq_submit_swap(struct bpq *queue, uint32_t first, uint32_t count, uint64_t ram_page, uint32_t cookie);
/* Makes what was placed immediate. */
void bpq_ring(struct bpq *queue);
/* The third form: nothing is placed; answers at once. */
int bpq_send_registers(struct bpq *queue, uint16_t receiver, void const *data, uint32_t bytes, uint32_t cookie);

/* The next completion or message: 1, none: 0, or an error. */
int bpq_next_completion(struct bpq *queue, struct bpq_completion *completion);
int bpq_receive(struct bpq *queue, struct bpq_message *message);
/* SEND with the pages of an arrival, in place: the message goes on to the next machine. */
int bpq_forward(struct bpq *queue, struct bpq_message const *message, uint32_t flags, uint16_t receiver,
                uint32_t cookie);
/* Done with a message: its pages, after RELINQUISH if they were borrowed, are posted again. */
int bpq_release(struct bpq *queue, struct bpq_message const *message);

#endif
