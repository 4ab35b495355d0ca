/* libbpqueue on Linux: finds and maps the device by sysfs, and waits for it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bpqueue.h"

#define FOLDER "/sys/bus/pci/devices"
#define DRIVER "/sys/bus/pci/drivers/uio_pci_generic"

enum { REGISTER_BYTES = 0x1000, COMMAND = 4, INTX_DISABLE = 1 << 10, MOMENT_NS = 50000 };

struct opened {
    struct bpq queue; /* first, so that one is the other */
    size_t pages_bytes;
    int interrupts; /* /dev/uioN, or -1 */
    int config;     /* the function's configuration space, for the bit that UIO's handler sets */
};

static struct opened *opened_of(struct bpq const *q) { return (struct opened *)(uintptr_t)q; }

static void rest(void) {
    struct timespec const moment = {0, MOMENT_NS};
    nanosleep(&moment, NULL);
}

static int is_ours(char const *name) {
    char path[300];
    unsigned found[2] = {0, 0};
    char const *const files[2] = {"vendor", "device"};
    for (int i = 0; i < 2; ++i) {
        snprintf(path, sizeof path, FOLDER "/%s/%s", name, files[i]);
        FILE *const file = fopen(path, "r");
        if (file == NULL) return 0;
        if (fscanf(file, "%x", &found[i]) != 1) found[i] = 0;
        fclose(file);
    }
    return found[0] == 0xBAC0 && found[1] == 0x0001;
}

static int find_device(char *name, size_t bytes) {
    DIR *const folder = opendir(FOLDER);
    if (folder == NULL) return -BPQ_SYSTEM;
    int result = -BPQ_NO_DEVICE;
    for (struct dirent const *entry; result != BPQ_OK && (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= bytes || !is_ours(entry->d_name)) continue;
        strcpy(name, entry->d_name);
        result = BPQ_OK;
    }
    closedir(folder);
    return result;
}

static void *map_resource(char const *device, int number, size_t *bytes) {
    char path[300];
    snprintf(path, sizeof path, FOLDER "/%s/resource%d", device, number);
    int const file = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
    if (file < 0) return NULL;
    struct stat status;
    void *mapped = MAP_FAILED;
    if (fstat(file, &status) == 0) {
        *bytes = (size_t)status.st_size;
        mapped = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    close(file);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static int enable_decoding(char const *device) {
    char path[300];
    snprintf(path, sizeof path, FOLDER "/%s/enable", device);
    FILE *const file = fopen(path, "w");
    if (file == NULL) return -BPQ_SYSTEM;
    int const ok = fputs("1", file) >= 0;
    return fclose(file) == 0 && ok ? BPQ_OK : -BPQ_SYSTEM;
}

static int write_text(char const *path, char const *text) {
    int const file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t const done = write(file, text, strlen(text));
    close(file);
    return done == (ssize_t)strlen(text) ? 0 : -1;
}

/* The device's /dev/uioN, after giving the device to uio_pci_generic when no driver has it; -1: there is none. */
static int open_uio(char const *device) {
    char path[300];
    (void)write_text(DRIVER "/new_id", "bac0 0001"); /* fails when the driver knows it already */
    snprintf(path, sizeof path, FOLDER "/%s/uio", device);
    DIR *const folder = opendir(path);
    if (folder == NULL) return -1;
    int file = -1;
    for (struct dirent const *entry; file < 0 && (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, "uio", 3) != 0 || strlen(entry->d_name) > 16) continue;
        snprintf(path, sizeof path, "/dev/%.16s", entry->d_name);
        file = open(path, O_RDONLY | O_CLOEXEC);
    }
    closedir(folder);
    return file;
}

/* UIO's handler holds back the pin ([PCI3] 6.2.2, Command bit 10); this lets it through again. */
static int let_interrupt(struct opened const *o) {
    uint16_t command;
    if (pread(o->config, &command, sizeof command, COMMAND) != sizeof command) return -BPQ_SYSTEM;
    command = (uint16_t)(command & ~INTX_DISABLE);
    return pwrite(o->config, &command, sizeof command, COMMAND) == sizeof command ? BPQ_OK : -BPQ_SYSTEM;
}

static int begin(struct bpq *q) {
    int status;
    while ((status = bpq_begin(q)) == -BPQ_BUSY) rest();
    return status;
}

int bpq_open(struct bpq **queue) {
    char name[64];
    int status = find_device(name, sizeof name);
    if (status == BPQ_OK) status = enable_decoding(name);
    if (status != BPQ_OK) return status;
    struct opened *const o = calloc(1, sizeof *o);
    if (o == NULL) return -BPQ_SYSTEM;
    o->interrupts = open_uio(name);
    char path[300];
    snprintf(path, sizeof path, FOLDER "/%s/config", name);
    o->config = open(path, O_RDWR | O_CLOEXEC);
    size_t register_bytes = 0;
    void *const registers = map_resource(name, 0, &register_bytes);
    void *const pages = map_resource(name, 2, &o->pages_bytes);
    if (registers != NULL && pages != NULL && o->config >= 0) {
        bpq_attach(&o->queue, registers, pages);
        status = begin(&o->queue);
    } else {
        o->queue.registers = registers, o->queue.pages = pages;
        status = -BPQ_SYSTEM;
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
    if (q->pages != NULL) munmap(q->pages, o->pages_bytes);
    if (q->registers != NULL) munmap((void *)(uintptr_t)q->registers, REGISTER_BYTES);
    if (o->interrupts >= 0) close(o->interrupts);
    if (o->config >= 0) close(o->config);
    free(o);
}

int bpq_has_interrupts(struct bpq const *q) { return opened_of(q)->interrupts >= 0; }

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
    if (o->interrupts < 0) return sleep_until_ready(q, what, timeout_ms);
    bpq_arm(q, what);
    if (bpq_is_ready(q, what)) return 1; /* it came before the causes were forgotten */
    if (let_interrupt(o) != BPQ_OK) return -BPQ_SYSTEM;
    struct pollfd wanted = {.fd = o->interrupts, .events = POLLIN};
    int const got = poll(&wanted, 1, timeout_ms);
    if (got < 0) return errno == EINTR ? 0 : -BPQ_SYSTEM;
    uint32_t count;
    if (got > 0 && read(o->interrupts, &count, sizeof count) != sizeof count) return -BPQ_SYSTEM;
    return bpq_is_ready(q, what);
}
