/* The block header: what it holds, its canonical encoding, and the hashes that hang on it. Integers
   little-endian, fields in the order of the struct, no padding. Pure: no allocation, no I/O. */
#ifndef QR_WIRE_HEADER_H
#define QR_WIRE_HEADER_H

#include "base/types.h"
#include "base/verdict.h"

#define QR_HEADER_VERSION 1u
#define QR_PREFIX_SZ 236u /* what the attempt commits to: version .. nonce */
#define QR_HEADER_SZ 432u

typedef struct {
  /* prefix: fixed before an attempt */
  uint32_t version;
  uint64_t chain_id;
  qr_hash_t rules; /* digest of the chain parameters and step programs */
  uint64_t height; /* genesis is 0 */
  qr_hash_t parent;
  uint64_t time_ms; /* Unix time */
  uint32_t target;  /* compact, see chain/target.h */
  uint32_t task;    /* index into the genesis tasks */
  qr_pubkey_t miner;
  qr_hash_t model_in; /* root of the incoming model */
  qr_hash_t tx_root;
  qr_hash_t state_root; /* state after the PARENT */
  uint64_t nonce;
  /* suffix: found by executing the attempt */
  qr_hash_t model_out;
  qr_hash_t trace_last;   /* c_(K-1) */
  qr_hash_t trace_root;   /* H("quarry.trace" | c_0 .. c_(K-1)) */
  qr_hash_t actions_root; /* H("quarry.actions" | L bytes) */
  uint32_t reward;        /* R in [0, 65536] */
  qr_hash_t env_root;     /* states of the environment after the block */
  qr_hash_t replay_root;  /* chain of segment hashes of the task after the block */
} qr_header_t;

void qr_header_encode(const qr_header_t *h, uint8_t out[QR_HEADER_SZ]);
/* Every byte string of the right size decodes (all fields are free-form); rules are checked
 * elsewhere. */
void qr_header_decode(const uint8_t in[QR_HEADER_SZ], qr_header_t *h);

qr_hash_t qr_header_hash(const qr_header_t *h);  /* H("quarry.block" | header) */
qr_hash_t qr_header_sigma(const qr_header_t *h); /* H("quarry.attempt" | prefix) */
/* ticket = H("quarry.ticket" | sigma | m | c_(K-1)), rho = H("quarry.act" | the same) */
qr_hash_t qr_header_ticket(const qr_hash_t *sigma, const qr_hash_t *model_out,
                           const qr_hash_t *trace_last);
qr_hash_t qr_header_rho(const qr_hash_t *sigma, const qr_hash_t *model_out,
                        const qr_hash_t *trace_last);

#endif
