/* A PCI function from user space of Linux: found and mapped by sysfs, its interrupts by UIO: the stock uio_pci_generic, or
 * whatever UIO driver has it (guest/kernel). Needs root. */
#ifndef BACKPLANE_PCI_DEVICE_H
#define BACKPLANE_PCI_DEVICE_H

#include <stddef.h>
#include <stdint.h>

struct pci_device {
    char name[64];
    int interrupts; /* /dev/uioN, open to read and write, or -1 */
    int config;     /* the function's configuration space */
};

/* Finds the first such function, lets it decode its addresses, and gives it to uio_pci_generic when that module is loaded and no
 * driver has it. 0, or -1 and errno; ENODEV: there is none. Afterwards pci_close() is due. */
int pci_open(struct pci_device *device, unsigned vendor, unsigned id);
void pci_close(struct pci_device *device);

/* Maps a BAR, from its first byte on, however small it is. NULL and errno when it cannot. */
void *pci_map(struct pci_device const *device, int bar, size_t *bytes);
void pci_unmap(void *mapped, size_t bytes);

/* Lets the pin through, which UIO's handler holds back after each interrupt, and waits for it. Who has found nothing to do before
 * misses nothing: a pin that has risen meanwhile interrupts at once.
 * 1: there was one, 0: none in time or a signal, -1 and errno. */
int pci_wait(struct pci_device const *device, int timeout_ms);

#endif
