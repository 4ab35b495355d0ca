/* libbpqueue on Linux: finds and maps the device by sysfs, and waits for it. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "bpqueue.h"
#include "pci/device.h"

enum { VENDOR = 0xBAC0, DEVICE = 0x0001, REGISTERS_BAR = 0, PAGES_BAR = 2, MOMENT_NS = 50000 };

struct opened {
    struct bpq queue; /* first, so that one is the other */
    struct pci_device device;
    size_t register_bytes, pages_bytes;
};

static struct opened *opened_of(struct bpq const *q) { return (struct opened *)(uintptr_t)q; }

static void rest(void) {
    struct timespec const moment = {0, MOMENT_NS};
    nanosleep(&moment, NULL);
}

static int begin(struct bpq *q) {
    int status;
    while ((status = bpq_begin(q)) == -BPQ_BUSY) rest();
    return status;
}

int bpq_open(struct bpq **queue) {
    struct opened *const o = calloc(1, sizeof *o);
    if (o == NULL) return -BPQ_SYSTEM;
    int status = -BPQ_SYSTEM;
    if (pci_open(&o->device, VENDOR, DEVICE) == 0) {
        void *const registers = pci_map(&o->device, REGISTERS_BAR, &o->register_bytes);
        void *const pages = pci_map(&o->device, PAGES_BAR, &o->pages_bytes);
        if (registers != NULL && pages != NULL) {
            bpq_attach(&o->queue, registers, pages);
            status = begin(&o->queue);
        } else {
            o->queue.registers = registers, o->queue.pages = pages;
        }
    } else if (errno == ENODEV) {
        status = -BPQ_NO_DEVICE;
    }
    if (status != BPQ_OK) {
        bpq_close(&o->queue);
        return status;
    }
    *queue = &o->queue;
    return BPQ_OK;
}

void bpq_close(struct bpq *q) {
    if (q == NULL) return;
    struct opened *const o = opened_of(q);
    pci_unmap(q->pages, o->pages_bytes);
    pci_unmap((void *)(uintptr_t)q->registers, o->register_bytes);
    pci_close(&o->device);
    free(o);
}

int bpq_has_interrupts(struct bpq const *q) { return opened_of(q)->device.interrupts >= 0; }

static int sleep_until_ready(struct bpq const *q, unsigned what, int timeout_ms) {
    for (int64_t left = (int64_t)timeout_ms * 1000000 / MOMENT_NS; !bpq_is_ready(q, what); --left) {
        if (left <= 0) return 0;
        rest();
    }
    return 1;
}

int bpq_wait(struct bpq *q, unsigned what, int timeout_ms) {
    struct opened const *const o = opened_of(q);
    if (bpq_is_ready(q, what)) return 1;
    if (o->device.interrupts < 0) return sleep_until_ready(q, what, timeout_ms);
    bpq_arm(q, what);
    if (bpq_is_ready(q, what)) return 1; /* it came before the causes were forgotten */
    if (pci_wait(&o->device, timeout_ms) < 0) return -BPQ_SYSTEM;
    return bpq_is_ready(q, what);
}
