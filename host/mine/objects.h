/* The large shared objects of a node: model bytes, segments and block bytes, each in a pool taken
   at boot, read-only once published and shared between tiles by reference (base/pool.h). */
#ifndef QR_MINE_OBJECTS_H
#define QR_MINE_OBJECTS_H

#include "base/pool.h"
#include "chain/params.h"
#include "env/segment.h"
#include "wire/block.h"

/* The bytes of one model. */
typedef struct {
  qr_hash_t root;
  uint32_t task;
  uint32_t sz;
  _Alignas(QR_CACHE_LINE) uint8_t bytes[];
} qr_model_obj_t;

/* A segment together with its memory. */
typedef struct {
  qr_segment_t *seg;
  _Alignas(QR_CACHE_LINE) uint8_t mem[];
} qr_segment_obj_t;

/* The bytes of one block, header | body, with the header decoded. */
typedef struct {
  qr_hash_t hash;
  qr_header_t header;
  qr_body_t body; /* leads into bytes */
  uint32_t peer;  /* who sent it; 0: mined or loaded here */
  uint32_t sz;
  uint8_t bytes[QR_BLOCK_MAX_SZ];
} qr_block_obj_t;

typedef struct {
  const qr_chain_cfg_t *cfg;
  qr_pool_t *models;
  qr_pool_t *segments[QR_TASK_MAX_CNT];
  qr_pool_t *blocks;
} qr_objects_t;

/* How many of each a node keeps. */
typedef struct {
  uint32_t model_cnt, segment_cnt /* per task */, block_cnt;
} qr_objects_cfg_t;

/* What a node with these parameters needs: the replay windows, the witness window and side
 * branches. */
qr_objects_cfg_t qr_objects_default(const qr_chain_cfg_t *cfg);

/* Takes the pools. Returns 0 or QR_ERR_NOMEM. fini when nothing is out. */
int qr_objects_init(qr_objects_t *o, const qr_chain_cfg_t *cfg,
                    const qr_objects_cfg_t *sizes) QR_WARN_UNUSED;
void qr_objects_fini(qr_objects_t *o);

/* A fresh object with one reference, or NULL if the pool is empty. A segment has a key that no
   other one of the process ever has, and is to be filled once. */
qr_model_obj_t *qr_objects_model(qr_objects_t *o, uint32_t task);
qr_segment_obj_t *qr_objects_segment(qr_objects_t *o, uint32_t task);
qr_block_obj_t *qr_objects_block(qr_objects_t *o);

/* Copies sz bytes in and decodes them: OK, SIZE or SYNTAX. The object's hash and header are set
 * when sz covers a header. */
enum qr_verdict qr_block_obj_decode(qr_block_obj_t *b, const uint8_t *bytes,
                                    size_t sz) QR_WARN_UNUSED;

#endif
