/* BLAKE2b-256 with domain separation, and Merkle roots over fixed chunks. A thin layer over
 * libsodium. */
#ifndef QR_CRYPTO_HASH_H
#define QR_CRYPTO_HASH_H

#include <sodium.h>

#include "base/types.h"

typedef struct {
  crypto_generichash_state st;
} qr_hasher_t;

/* Prepares libsodium; call once per process before anything else here. Returns 0 or QR_ERR_IO. */
int qr_crypto_init(void) QR_WARN_UNUSED;

/* H(domain | data...) where domain is a NUL-terminated ASCII name: the hash of one byte
   strlen(domain), the name without its NUL, then the data. */
void qr_hash_init(qr_hasher_t *h, const char *domain);
void qr_hash_add(qr_hasher_t *h, const void *p, size_t sz);
void qr_hash_add_u32(qr_hasher_t *h, uint32_t v); /* little-endian */
void qr_hash_add_u64(qr_hasher_t *h, uint64_t v); /* little-endian */
void qr_hash_end(qr_hasher_t *h, qr_hash_t *out);

/* One-shot H(domain | p[0..sz)). */
qr_hash_t qr_hash(const char *domain, const void *p, size_t sz);

/* Merkle root over chunks of chunk_sz bytes (the last may be short; sz = 0 has one empty chunk).
   leaf i = H("quarry.leaf" | u32 i | chunk); node = H("quarry.node" | left | right); an odd node
   moves up unchanged; root = H("quarry.root" | u64 sz | u32 chunk_sz | top). Cost: one pass over
   the bytes. */
qr_hash_t qr_merkle_root(const void *p, size_t sz, uint32_t chunk_sz);
qr_hash_t qr_merkle_leaf(uint32_t idx, const void *chunk, size_t sz);
/* Root from ready leaves (cnt >= 1); scratch of cnt hashes is overwritten (leaves may be scratch).
 */
qr_hash_t qr_merkle_root_of_leaves(const qr_hash_t *leaves, uint32_t cnt, uint64_t sz,
                                   uint32_t chunk_sz, qr_hash_t *scratch);

#endif
