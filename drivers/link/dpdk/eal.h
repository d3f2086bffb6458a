/* DPDK's environment: once in a process, and as long as it lives. */
#ifndef QR_LINK_DPDK_EAL_H
#define QR_LINK_DPDK_EAL_H

#include "base/types.h"

typedef struct {
  const char *args; /* extra EAL arguments, separated by blanks; may be empty */
  const char *pci;  /* address of a physical port, or empty */
  bool huge;        /* use huge pages */
  bool telemetry;   /* with the socket of dpdk-telemetry.py */
  uint32_t mem_mib; /* without huge pages: memory for packet buffers */
} qr_eal_cfg_t;

/* Starts DPDK; does nothing if it runs. On failure a sentence with cause and cure goes to why. The
   caller's CPU affinity and signal mask are as before, and no signal is delivered to DPDK's
   threads. Returns 0 or a negative code. */
int qr_eal_start(const qr_eal_cfg_t *cfg, char *why, size_t why_sz) QR_WARN_UNUSED;

#endif
