/* RocksDB's log as bytes: whether what recovery will read of it is whole. */
#ifndef QR_STORE_ROCKS_LOG_CHECK_H
#define QR_STORE_ROCKS_LOG_CHECK_H

#include "io.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ROCKS_LOG_BLOCK_SZ 32768u

/* QR_ERR_CORRUPT with a sentence if a log in dir is damaged and durable commits lie behind. io:
   reads on its rings; NULL: by system calls. */
int rocks_log_check(rocks_io_t *io, const char *dir, char *why, size_t why_sz);

/* True if block, all of a log's block, holds records up to its end and each bears out its checksum.
   False where this processor has no instruction to tell. */
bool rocks_log_block_whole(const void *block);

#ifdef __cplusplus
}
#endif

#endif
