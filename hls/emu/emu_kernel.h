/* What the emulated card asks of a shared object that stands in for a bitstream: a table of kernels
   named qr_emu_kernels, ended by a NULL name. Register windows are as Vitis HLS lays them out. */
#ifndef QR_EMU_KERNEL_H
#define QR_EMU_KERNEL_H

#include <stdint.h>

#define QR_EMU_WINDOW_SZ 4096u /* of a kernel's registers */
#define QR_EMU_KERNELS "qr_emu_kernels"

/* The card's memory: sz bytes at a card address, or NULL if they are not all there. */
typedef struct {
  void *ctx;
  void *(*at)(void *ctx, uint64_t addr, uint64_t sz);
} qr_emu_mem_t;

typedef struct {
  const char *name;
  /* One run with the registers as the host wrote them. Returns 0, or -1 if the kernel would have
     left the card's memory: then nothing was run. */
  int (*run)(const qr_emu_mem_t *mem, const uint8_t regs[QR_EMU_WINDOW_SZ]);
} qr_emu_kernel_t;

#endif
