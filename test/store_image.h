/* What a disk holds when the power is cut: an image of the durable state of one directory, kept
   from what the RocksDB driver's tap sees. Bytes count as durable when a sync of their file has
   ended well, names when a sync of their directory has. After the cut each thing that was not
   durable is there, or not, or in parts, by lot. */
#ifndef QR_TEST_STORE_IMAGE_H
#define QR_TEST_STORE_IMAGE_H

#include "../drivers/store/rocksdb/tap.h"
#include "base/types.h"

typedef struct store_image store_image_t;

typedef struct {
  uint32_t file_sync_lies, dir_sync_lies; /* one in so many does nothing and says it did; 0: none */
  /* Syncs are spared the real disk, for what counts is the image; then none is linked behind a
     write. Else they are done, and linked as ever. */
  bool quick;
} store_image_disk_t;

/* What the lots made of it. */
typedef struct {
  uint64_t op_cnt, sync_cnt;            /* before the cut; reads do not count */
  uint32_t dropped, torn, zeroed, kept; /* writes */
  uint32_t names_dropped, names_kept;
  uint32_t sizes_changed;
} store_image_stats_t;

store_image_t *store_image_init(uint64_t seed);
void store_image_fini(store_image_t *img);

/* For rocks_tap_set. */
const rocks_tap_t *store_image_tap(store_image_t *img);

/* Forgets all; what lies in dir now is durable. at_cut is called at the cut, from any thread, while
   no operation goes on. Only while no store is open. */
void store_image_begin(store_image_t *img, const char *dir, store_image_disk_t disk,
                       void (*at_cut)(void *ctx), void *ctx);
/* Cuts the power at the nth operation from now, which is then under way; 1 is the next one. */
void store_image_arm(store_image_t *img, uint64_t nth);
void store_image_cut_now(store_image_t *img);
/* True after the cut. The store does not notice and goes on; nothing of that is in the image. */
bool store_image_is_cut(store_image_t *img);
/* Draws the lots and writes what is left into dir, which is made. */
void store_image_write(store_image_t *img, const char *dir, store_image_stats_t *out);

/* The nth sync of a file from now fails with EIO, and what it was to make durable is lost for good,
   as a kernel does it that drops dirty pages after an error. 0: none. */
void store_image_fail_sync(store_image_t *img, uint64_t nth);

#endif
