/* Targets, work and difficulty. Integer only. */
#ifndef QR_CHAIN_TARGET_H
#define QR_CHAIN_TARGET_H

#include "base/u256.h"

/* Compact form: exponent e in the top byte, 23-bit mantissa m; value = m * 256^(e-3). Canonical: m
   in [2^15, 2^23) unless e <= 3 cannot hold it; non-canonical, zero and overflowing forms are
   refused. */
bool qr_target_expand(uint32_t compact, qr_u256_t *out) QR_WARN_UNUSED;
uint32_t qr_target_compact(const qr_u256_t *t); /* rounds down; canonical */

/* floor(2^256 / (target + 1)), saturating at 2^256-1. */
qr_u256_t qr_target_work(const qr_u256_t *target);

/* ticket (little-endian number) < target * work_q16 / 65536, saturating. */
bool qr_target_met(const qr_hash_t *ticket, const qr_u256_t *target, uint32_t work_q16);

/* ASERT: the target of the block after a parent, from the parent's data and the anchor (genesis)
   alone. anchor * 2^(((parent_time - anchor_time) - block_ms * parent_height) / halflife_ms), cubic
   approximation of 2^x with 16 fraction bits, clamped to [1, max]. */
uint32_t qr_target_next(uint32_t max_target, uint64_t anchor_time_ms, uint64_t parent_time_ms,
                        uint64_t parent_height, uint32_t block_ms, uint32_t halflife_ms);

#endif
