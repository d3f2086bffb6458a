/* The audit of a store that nobody writes to: every record against its own hash, the chain of
   headers by its rules, every held block, undo record, model and segment against the headers, and
   the accounts, taken back block by block and connected again, against every state root on the way.
   It changes nothing, goes on after damage as far as it can, and tells of each find. What it cannot
   know without executing blocks is whether their training was right: nodes did that. */
#ifndef QR_TILE_AUDIT_H
#define QR_TILE_AUDIT_H

#include "tile/record.h"

enum qr_audit_phase {
  QR_AUDIT_RECORDS, /* of bytes */
  QR_AUDIT_LEDGER,  /* of blocks */
  QR_AUDIT_REPLAY,  /* of segments */
  QR_AUDIT_PHASE_CNT
};

typedef struct {
  enum qr_audit_phase phase;
  uint64_t done, total; /* total 0: not known */
} qr_audit_progress_t;

/* What was found wrong. Texts are lent for the call. */
typedef struct {
  const char *table;
  const char *key; /* hex, or a height; "" if no single record is to blame */
  const char *what;
} qr_audit_find_t;

typedef struct {
  const qr_store_ops_t *ops; /* with an audit */
  qr_store_t *store;
  const qr_chain_cfg_t *chain; /* NULL: only records against their own hashes */
  uint64_t byte_sz;            /* of the store, roughly: for progress; 0: not known */
  bool (*progress)(void *ctx, const qr_audit_progress_t *p); /* often; false: stop */
  void (*found)(void *ctx, const qr_audit_find_t *f);
  void *ctx;
} qr_audit_cfg_t;

typedef struct {
  uint64_t record_cnt, byte_sz;
  uint64_t block_cnt, side_cnt, model_cnt, account_cnt, segment_cnt; /* held and read */
  uint64_t undone_cnt; /* blocks whose effect on the accounts was taken back and made again */
  uint64_t find_cnt;   /* what is wrong */
  qr_held_t held;
  qr_tip_record_t tip;
  bool stopped; /* progress said so; nothing is known of the rest */
} qr_audit_result_t;

/* Takes its memory itself. Returns 0 when it came to its end, whatever it found; QR_ERR_NOMEM,
   QR_ERR_UNSUPPORTED (the driver has no audit), or QR_ERR_CANCELLED (stopped). */
int qr_audit_run(const qr_audit_cfg_t *cfg, qr_audit_result_t *out) QR_WARN_UNUSED;

#endif
