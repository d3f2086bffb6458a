/* The emulated card: memory, and compute units, each with a window of registers and a thread that
   runs its kernel when the host sets ap_start. Used by one thread, that of the host's messages. */
#ifndef QR_EMU_CARD_H
#define QR_EMU_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qr_emu_card qr_emu_card_t;

/* fault: "wrong:N", "hang:N" or "die:N" makes every Nth run of a unit write a wrong bit, never end,
   or kill the process, so that hosts can be tested; NULL: none. NULL if that is not understood. */
qr_emu_card_t *qr_emu_card_make(const char *fault);
/* Memory of sz bytes from address 0, once; later calls only compare. */
bool qr_emu_card_memory(qr_emu_card_t *c, uint64_t sz);
/* sz bytes at addr, or NULL if they are not all in memory. */
void *qr_emu_card_at(qr_emu_card_t *c, uint64_t addr, uint64_t sz);
/* Ends the units there are and makes those of the XML file with the kernels of a shared object. */
bool qr_emu_card_load(qr_emu_card_t *c, const char *xml_path, const char *so_path);
/* Ends all units; waits for runs in progress. */
void qr_emu_card_clear(qr_emu_card_t *c);
/* Registers; false if addr .. addr + sz is not within one unit's window. A read of the control word
   of a unit that runs waits a moment for it to end, so that a host that asks again and again costs
   little. */
bool qr_emu_card_write(qr_emu_card_t *c, uint64_t addr, const uint8_t *p, size_t sz);
bool qr_emu_card_read(qr_emu_card_t *c, uint64_t addr, uint8_t *p, size_t sz);

#endif
