/* CRC-32C with the processor's own instruction. Debian's RocksDB is built without it, and then
   takes longer over the checksum of a block's log record than the disk over the record. */
#ifndef QR_STORE_ROCKS_CRC32C_H
#define QR_STORE_ROCKS_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* False if this processor has none. */
bool rocks_crc32c_usable(void);
/* The checksum of what crc is the checksum of (0: nothing) and sz bytes more. Only if usable.
   Cost: 8 bytes a cycle. Source: RFC 3720, appendix B.4. */
uint32_t rocks_crc32c(uint32_t crc, const void *data, size_t sz);

#ifdef __cplusplus
}
#endif

#endif
