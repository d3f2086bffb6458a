/* RocksDB's FileSystem on io.h. The C API of RocksDB has no word for a file system; it does take
   one by name, from the registry of objects, in an options string. */
#ifndef QR_STORE_ROCKS_FILESYSTEM_H
#define QR_STORE_ROCKS_FILESYSTEM_H

#include <rocksdb/c.h>
#include <stdbool.h>
#include <stddef.h>

#include "io.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rocks_fs rocks_fs_t;

/* Makes a file system whose files are io's (lent) and all else the stock one's, and registers it.
   NULL if out of memory. */
rocks_fs_t *rocks_fs_make(rocks_io_t *io);
void rocks_fs_free(rocks_fs_t *fs); /* no store uses it any more */

/* "env=..." for rocksdb_get_options_from_string. */
const char *rocks_fs_option(const rocks_fs_t *fs);

/* Lets iterators read ahead while they are being used, for which the C API has no setter either.
   False if this RocksDB keeps its options elsewhere than the headers say. */
bool rocks_fs_read_ahead(rocksdb_readoptions_t *o);

#ifdef __cplusplus
}
#endif

#endif
