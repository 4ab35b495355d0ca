// SPDX-License-Identifier: GPL-2.0-only
/*
 * bpwindow: the MSI-X vectors of Backplane's shared window, or of another ivshmem of version 1 (1AF4:1110), for user space.
 *
 * The stock uio_pci_generic knows the pin only. This driver allocates all MSI-X vectors of the function, and nothing but
 * MSI-X, and gives them out as UIO does:
 *
 *   read, poll of /dev/uioN   an interrupt of any vector
 *   write of an s32           vector << 1 | 1 lets a vector through, vector << 1 masks it in the table of the device
 *   DEVICE/vectors in sysfs   a line for each: "VECTOR irq=N count=N masked=0 pending=0"; the last is the device's own pending bit
 *
 * Registers and memory are mapped by sysfs (resource0, resource2). For that no BAR is requested here: with
 * CONFIG_IO_STRICT_DEVMEM sysfs maps nothing that a driver has requested.
 */
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sysfs.h>
#include <linux/uio_driver.h>

#define MAX_VECTORS 32 /* one dword of pending bits */

struct window;

struct window_vector {
	struct window *window;
	atomic_t count;
	bool is_masked;
};

struct window {
	struct pci_dev *pci;
	struct uio_info uio;
	void __iomem *pending_bits;
	struct mutex lock; /* guards is_masked of all vectors, and is_gone */
	bool is_gone;
	unsigned int vector_count;
	struct window_vector vectors[MAX_VECTORS];
};

static irqreturn_t bpwindow_interrupt(int irq, void *data)
{
	struct window_vector *vector = data;

	atomic_inc(&vector->count);
	uio_event_notify(&vector->window->uio);
	return IRQ_HANDLED;
}

/* Linux counts how often an interrupt was disabled, so nothing is done twice. Needs the lock. */
static void set_masked(struct window *window, unsigned int index, bool masked)
{
	struct window_vector *vector = &window->vectors[index];
	int irq = pci_irq_vector(window->pci, index);

	if (vector->is_masked == masked)
		return;
	vector->is_masked = masked;
	if (masked)
		disable_irq(irq);
	else
		enable_irq(irq);
}

static void set_all_masked(struct window *window, bool masked)
{
	unsigned int i;

	mutex_lock(&window->lock);
	window->is_gone = masked;
	for (i = 0; i < window->vector_count; ++i)
		set_masked(window, i, masked);
	mutex_unlock(&window->lock);
}

static int bpwindow_irqcontrol(struct uio_info *uio, s32 value)
{
	struct window *window = uio->priv;
	unsigned int index = (u32)value >> 1;
	int error = 0;

	if (index >= window->vector_count)
		return -EINVAL;
	mutex_lock(&window->lock);
	if (window->is_gone)
		error = -ENODEV;
	else
		set_masked(window, index, !(value & 1));
	mutex_unlock(&window->lock);
	return error;
}

static ssize_t vectors_show(struct device *device, struct device_attribute *attribute, char *text)
{
	struct window *window = dev_get_drvdata(device);
	u32 pending;
	unsigned int i;
	int length = 0;

	mutex_lock(&window->lock);
	pending = readl(window->pending_bits);
	for (i = 0; i < window->vector_count; ++i)
		length += sysfs_emit_at(text, length, "%u irq=%d count=%u masked=%d pending=%u\n", i,
					pci_irq_vector(window->pci, i), atomic_read(&window->vectors[i].count),
					window->vectors[i].is_masked, pending >> i & 1);
	mutex_unlock(&window->lock);
	return length;
}
static DEVICE_ATTR_RO(vectors);

static struct attribute *bpwindow_attrs[] = { &dev_attr_vectors.attr, NULL };
ATTRIBUTE_GROUPS(bpwindow);

/* The pending bits are behind the BAR and at the offset that the capability names. */
static int map_pending_bits(struct window *window)
{
	struct pci_dev *pci = window->pci;
	resource_size_t bar;
	u32 where;

	pci_read_config_dword(pci, pci->msix_cap + PCI_MSIX_PBA, &where);
	bar = pci_resource_start(pci, where & PCI_MSIX_PBA_BIR);
	window->pending_bits = devm_ioremap(&pci->dev, bar + (where & PCI_MSIX_PBA_OFFSET), sizeof(u64));
	return window->pending_bits ? 0 : -ENOMEM;
}

/* Vectors stay masked until there is an UIO device to tell. */
static int request_vector(struct window *window, unsigned int index)
{
	struct device *device = &window->pci->dev;
	struct window_vector *vector = &window->vectors[index];
	int irq = pci_irq_vector(window->pci, index);
	char *name = devm_kasprintf(device, GFP_KERNEL, "bpwindow-%u", index);

	if (!name)
		return -ENOMEM;
	vector->window = window;
	vector->is_masked = true;
	/* Without this Linux masks a disabled vector only when it interrupts, and keeps that interrupt itself. */
	irq_set_status_flags(irq, IRQ_DISABLE_UNLAZY);
	return devm_request_irq(device, irq, bpwindow_interrupt, IRQF_NO_AUTOEN, name, vector);
}

static int bpwindow_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct window *window = devm_kzalloc(&pci->dev, sizeof(*window), GFP_KERNEL);
	unsigned int i;
	int result;

	if (!window)
		return -ENOMEM;
	window->pci = pci;
	mutex_init(&window->lock);
	result = pcim_enable_device(pci);
	if (result)
		return result;
	pci_set_master(pci); /* a message is a store of the function */
	result = pci_alloc_irq_vectors(pci, 1, MAX_VECTORS, PCI_IRQ_MSIX);
	if (result < 0)
		return dev_err_probe(&pci->dev, result, "no MSI-X vectors\n");
	window->vector_count = result;
	result = map_pending_bits(window);
	for (i = 0; !result && i < window->vector_count; ++i)
		result = request_vector(window, i);
	if (result)
		return result;

	window->uio.name = "bpwindow";
	window->uio.version = "1";
	window->uio.irq = UIO_IRQ_CUSTOM;
	window->uio.irqcontrol = bpwindow_irqcontrol;
	window->uio.priv = window;
	pci_set_drvdata(pci, window);
	result = uio_register_device(&pci->dev, &window->uio);
	if (result)
		return result;
	set_all_masked(window, false);
	return 0;
}

/* What is devm's goes afterwards, the vectors before the function is disabled. */
static void bpwindow_remove(struct pci_dev *pci)
{
	struct window *window = pci_get_drvdata(pci);

	set_all_masked(window, true);
	uio_unregister_device(&window->uio);
}

static const struct pci_device_id bpwindow_ids[] = { { PCI_DEVICE(0x1AF4, 0x1110) }, {} };
MODULE_DEVICE_TABLE(pci, bpwindow_ids);

static struct pci_driver bpwindow_driver = {
	.name = "bpwindow",
	.id_table = bpwindow_ids,
	.probe = bpwindow_probe,
	.remove = bpwindow_remove,
	.dev_groups = bpwindow_groups,
};
module_pci_driver(bpwindow_driver);

MODULE_DESCRIPTION("MSI-X vectors of Backplane's shared window (ivshmem) for user space");
MODULE_LICENSE("GPL");
