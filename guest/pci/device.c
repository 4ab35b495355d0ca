#include "device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/sys/bus/pci/devices"
#define DRIVER "/sys/bus/pci/drivers/uio_pci_generic"

enum { COMMAND = 4, INTX_DISABLE = 1 << 10, PAGE_MASK = 0xfff };

static int has_ids(char const *name, unsigned vendor, unsigned id) {
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
    return found[0] == vendor && found[1] == id;
}

static int find(struct pci_device *device, unsigned vendor, unsigned id) {
    DIR *const folder = opendir(FOLDER);
    if (folder == NULL) return -1;
    int found = 0;
    for (struct dirent const *entry; !found && (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof device->name) continue;
        if (!has_ids(entry->d_name, vendor, id)) continue;
        strcpy(device->name, entry->d_name);
        found = 1;
    }
    closedir(folder);
    if (!found) errno = ENODEV;
    return found ? 0 : -1;
}

static int write_text(char const *path, char const *text) {
    int const file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t const done = write(file, text, strlen(text));
    int const error = errno;
    close(file);
    errno = error;
    return done == (ssize_t)strlen(text) ? 0 : -1;
}

static int enable_decoding(struct pci_device const *device) {
    char path[300];
    snprintf(path, sizeof path, FOLDER "/%s/enable", device->name);
    return write_text(path, "1") == 0 || errno == EBUSY ? 0 : -1; /* busy: a driver has it, and has enabled it */
}

/* The device's /dev/uioN; -1: there is none. */
static int open_uio(struct pci_device const *device, unsigned vendor, unsigned id) {
    char path[300], ids[32];
    snprintf(ids, sizeof ids, "%04x %04x", vendor, id);
    (void)write_text(DRIVER "/new_id", ids); /* fails when the driver knows it already */
    snprintf(path, sizeof path, FOLDER "/%s/uio", device->name);
    DIR *const folder = opendir(path);
    if (folder == NULL) return -1;
    int file = -1;
    for (struct dirent const *entry; file < 0 && (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, "uio", 3) != 0 || strlen(entry->d_name) > 16) continue;
        snprintf(path, sizeof path, "/dev/%.16s", entry->d_name);
        file = open(path, O_RDWR | O_CLOEXEC);
    }
    closedir(folder);
    return file;
}

int pci_open(struct pci_device *device, unsigned vendor, unsigned id) {
    device->interrupts = device->config = -1;
    if (find(device, vendor, id) != 0 || enable_decoding(device) != 0) return -1;
    device->interrupts = open_uio(device, vendor, id);
    char path[300];
    snprintf(path, sizeof path, FOLDER "/%s/config", device->name);
    device->config = open(path, O_RDWR | O_CLOEXEC);
    return device->config >= 0 ? 0 : -1;
}

void pci_close(struct pci_device *device) {
    if (device->interrupts >= 0) close(device->interrupts);
    if (device->config >= 0) close(device->config);
    device->interrupts = device->config = -1;
}

/* Where in its first page a BAR begins: mappings begin with the page. */
static size_t offset_in_page(struct pci_device const *device, int bar) {
    char path[300];
    snprintf(path, sizeof path, FOLDER "/%s/resource", device->name);
    FILE *const file = fopen(path, "r");
    if (file == NULL) return 0;
    uint64_t start = 0;
    for (int i = 0; i <= bar; ++i)
        if (fscanf(file, "%" SCNx64 " %*x %*x", &start) != 1) start = 0;
    fclose(file);
    return start & PAGE_MASK;
}

void *pci_map(struct pci_device const *device, int bar, size_t *bytes) {
    char path[300];
    snprintf(path, sizeof path, FOLDER "/%s/resource%d", device->name, bar);
    int const file = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
    if (file < 0) return NULL;
    struct stat status;
    void *mapped = MAP_FAILED;
    if (fstat(file, &status) == 0) {
        *bytes = (size_t)status.st_size;
        mapped = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    close(file);
    return mapped == MAP_FAILED ? NULL : (char *)mapped + offset_in_page(device, bar);
}

void pci_unmap(void *mapped, size_t bytes) {
    if (mapped != NULL) munmap((void *)((uintptr_t)mapped & ~(uintptr_t)PAGE_MASK), bytes);
}

/* [PCI30] 6.2.2, Command bit 10. */
static int let_interrupt(struct pci_device const *device) {
    uint16_t command;
    if (pread(device->config, &command, sizeof command, COMMAND) != sizeof command) return -1;
    command = (uint16_t)(command & ~INTX_DISABLE);
    return pwrite(device->config, &command, sizeof command, COMMAND) == sizeof command ? 0 : -1;
}

int pci_wait(struct pci_device const *device, int timeout_ms) {
    if (let_interrupt(device) != 0) return -1;
    struct pollfd wanted = {.fd = device->interrupts, .events = POLLIN};
    int const got = poll(&wanted, 1, timeout_ms);
    if (got < 0) return errno == EINTR ? 0 : -1;
    uint32_t count;
    if (got > 0 && read(device->interrupts, &count, sizeof count) != sizeof count) return -1;
    return got;
}
