/* What lies in a store: the keys and values of every table, schema version 2. Pure. The table of
   all bytes: README.md. */
#ifndef QR_TILE_RECORD_H
#define QR_TILE_RECORD_H

#include "chain/ledger.h"
#include "mine/view.h"
#include "port/store.h"

/* Key of what belongs to one block, side branches included: u64 big-endian height | block hash. So
   a table is in order of height, and what is old lies together. */
#define QR_PLACE_SZ 40u
void qr_place_encode(uint64_t height, const qr_hash_t *hash, uint8_t out[QR_PLACE_SZ]);
bool qr_place_decode(const void *key, size_t sz, uint64_t *height, qr_hash_t *hash);
/* The first place of a height, and the key of the index. */
#define QR_HEIGHT_KEY_SZ 8u
void qr_height_key(uint64_t height, uint8_t out[QR_HEIGHT_KEY_SZ]);
uint64_t qr_height_of(const uint8_t key[QR_HEIGHT_KEY_SZ]);

/* INDEX: block hash | header. The whole chain of headers can be read without the blocks. */
#define QR_INDEX_RECORD_SZ (QR_HASH_SZ + QR_HEADER_SZ)
void qr_index_encode(const qr_hash_t *hash, const qr_header_t *h, uint8_t out[QR_INDEX_RECORD_SZ]);
/* False unless the size is right and the hash is the header's. */
bool qr_index_decode(const void *value, size_t sz, qr_hash_t *hash, qr_header_t *h);

/* EXEC: u32 task | u64 sum of absolute TD errors | u8 eligible | i64 return of the model | i64 of
   the rule. */
#define QR_EXEC_RECORD_SZ 29u
void qr_exec_encode(const qr_exec_facts_t *f, uint8_t out[QR_EXEC_RECORD_SZ]);
bool qr_exec_decode(const void *value, size_t sz, qr_exec_facts_t *f);

/* REPLAY: states that the block's segment starts from | its actions. With the header of the block
   they give the segment, without the network and without the block. */
#define QR_REPLAY_STATES_SZ (QR_SEGMENT_INSTANCE_CNT * QR_ENV_STATE_SZ)
#define QR_REPLAY_RECORD_MAX_SZ (QR_REPLAY_STATES_SZ + QR_BLOCK_ACTION_MAX_CNT)
/* Returns the record's size. */
size_t qr_replay_encode(const uint8_t *states, const uint8_t *actions, uint32_t action_cnt,
                        uint8_t out[QR_REPLAY_RECORD_MAX_SZ]);
/* Borrows from value. False unless it holds just action_cnt actions. */
bool qr_replay_decode(const void *value, size_t sz, uint32_t action_cnt, const uint8_t **states,
                      const uint8_t **actions);

/* UNDO: for each account that the block touched, as it was and as it became. */
#define QR_UNDO_RECORD_SZ (2u * QR_ACCOUNT_SZ)
#define QR_UNDO_RECORD_MAX_SZ ((size_t)QR_LEDGER_CHANGE_MAX_CNT * QR_UNDO_RECORD_SZ)
_Static_assert(QR_UNDO_RECORD_MAX_SZ <= QR_STORE_VALUE_MAX_SZ, "undo of the fullest block");
size_t qr_undo_encode(const qr_ledger_change_t *c, uint32_t cnt, uint8_t *out);
/* out: room for QR_LEDGER_CHANGE_MAX_CNT. Returns how many, 0 if the record is not one. */
uint32_t qr_undo_decode(const void *value, size_t sz, qr_ledger_change_t *out);

/* STATE: an account under its public key. */
bool qr_state_decode(const void *key, size_t key_sz, const void *value, size_t sz, qr_account_t *a);

/* MODEL: the bytes under the model's root, and under the root with a zero byte behind it the height
   of the newest stored block that it goes into or comes out of: with that block it may go. */
#define QR_MODEL_USE_KEY_SZ (QR_HASH_SZ + 1u)
#define QR_MODEL_USE_SZ 8u
void qr_model_use_key(const qr_hash_t *root, uint8_t out[QR_MODEL_USE_KEY_SZ]);
bool qr_model_use_decode(const void *value, size_t sz, uint64_t *height);

/* META, by key. */
#define QR_META_SCHEMA "schema"   /* u32, the driver's */
#define QR_META_GENESIS "genesis" /* genesis hash */
#define QR_META_PARAMS "params"   /* the chain's parameters as a genesis file */
#define QR_META_TIP "tip"         /* hash | u64 height | state root after it */
#define QR_META_HELD "held"       /* u64 | u64, see below; absent: everything from block 1 on */
#define QR_META_TIP_SZ 72u
#define QR_META_HELD_SZ 16u

typedef struct {
  qr_hash_t hash;
  uint64_t height;
  qr_hash_t state_root;
} qr_tip_record_t;
void qr_tip_encode(const qr_tip_record_t *t, uint8_t out[QR_META_TIP_SZ]);
bool qr_tip_decode(const void *value, size_t sz, qr_tip_record_t *t);

typedef struct {
  uint64_t
      from; /* lowest height of which blocks, undo and models are held; 1: nothing was pruned */
  uint64_t base; /* the chain began here with a snapshot: no reorganisation goes below; 0: none */
} qr_held_t;
void qr_held_encode(const qr_held_t *h, uint8_t out[QR_META_HELD_SZ]);
bool qr_held_decode(const void *value, size_t sz, qr_held_t *h);

#endif
