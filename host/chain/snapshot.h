/* The bytes of a snapshot: all that a node needs to go on from a height, without the blocks before
   it. Pure; any bytes are safe to decode. A file is a head, a payload and the hashes of the
   payload's chunks; the root over these stands in the head, and whoever trusts the root can trust
   every chunk by its hash before looking at it. The payload is a sequence of records: u32 type |
   u32 size | bytes, in the order of the types. It goes one header further than its state: that one
   commits to the state, so whoever trusts its hash, the snapshot's seal, can check the rest.
   Layout: README.md. */
#ifndef QR_CHAIN_SNAPSHOT_H
#define QR_CHAIN_SNAPSHOT_H

#include "base/types.h"

#define QR_SNAPSHOT_VERSION 2u
#define QR_SNAPSHOT_CHUNK_SZ (1u << 20)
#define QR_SNAPSHOT_PAYLOAD_MAX_SZ (UINT64_C(1) << 42)
#define QR_SNAPSHOT_HEAD_SZ 64u
#define QR_SNAPSHOT_RECORD_HEAD_SZ 8u
#define QR_SNAPSHOT_RECORD_MAX_SZ ((1u << 20) + 4096u) /* without its head */

typedef struct {
  uint64_t payload_sz;
  qr_hash_t root; /* qr_merkle_root_of_leaves over the chunks */
} qr_snapshot_head_t;

void qr_snapshot_head_encode(const qr_snapshot_head_t *h, uint8_t out[QR_SNAPSHOT_HEAD_SZ]);
/* QR_OK, QR_ERR_FORMAT (no snapshot), or QR_ERR_UNSUPPORTED (of another version). */
int qr_snapshot_head_decode(const uint8_t in[QR_SNAPSHOT_HEAD_SZ],
                            qr_snapshot_head_t *h) QR_WARN_UNUSED;
static inline uint64_t qr_snapshot_chunk_cnt(uint64_t payload_sz) {
  return (payload_sz + QR_SNAPSHOT_CHUNK_SZ - 1) / QR_SNAPSHOT_CHUNK_SZ;
}

enum qr_snapshot_type {
  QR_SNAPSHOT_ABOUT = 1, /* once: qr_snapshot_about_t */
  QR_SNAPSHOT_HEADERS,   /* headers from height 1 to the seal's */
  QR_SNAPSHOT_ACCOUNTS,  /* accounts after the height, ascending by key */
  QR_SNAPSHOT_WINDOW,    /* a block of the replay or target window: place | exec | replay record */
  QR_SNAPSHOT_MODEL,     /* u64 height of the block that it comes out of | bytes */
  QR_SNAPSHOT_PROOF,     /* u64 height of the block that it goes into | bytes */
  QR_SNAPSHOT_END        /* once, empty */
};

typedef struct {
  uint64_t height;
  qr_hash_t hash, state_root, genesis; /* block at height, accounts after it */
  qr_hash_t seal;                      /* hash of the header at height + 1 */
  uint64_t header_cnt, account_cnt, window_cnt, model_cnt, proof_cnt;
  uint32_t params_sz;
  const char *params; /* as a genesis file; borrowed, not terminated */
} qr_snapshot_about_t;

#define QR_SNAPSHOT_ABOUT_SZ 180u                                          /* and the params */
void qr_snapshot_about_encode(const qr_snapshot_about_t *a, uint8_t *out); /* with the params */

typedef struct {
  enum qr_snapshot_type type;
  uint32_t sz;
  const uint8_t *bytes; /* borrowed */
} qr_snapshot_record_t;

void qr_snapshot_record_head(enum qr_snapshot_type type, uint32_t sz,
                             uint8_t out[QR_SNAPSHOT_RECORD_HEAD_SZ]);

/* Reads a payload record by record and holds it to its order and to the counts in its ABOUT. */
typedef struct {
  enum qr_snapshot_type last;
  uint32_t segment_rows_sz; /* size of the WINDOW records, set by the owner once it is known */
  uint64_t header_cnt, account_cnt, window_cnt, model_cnt, proof_cnt; /* still to come */
  qr_snapshot_about_t about; /* without params once the owner's buffer is gone */
} qr_snapshot_reader_t;

/* The next record of the sz bytes at p. Returns how many bytes it takes (out is set), 0 if it is
   not all there yet, or QR_ERR_FORMAT. r is all zero before the first. */
int64_t qr_snapshot_next(qr_snapshot_reader_t *r, const uint8_t *p, size_t sz,
                         qr_snapshot_record_t *out) QR_WARN_UNUSED;

#endif
