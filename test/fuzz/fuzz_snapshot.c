/* A snapshot file of any bytes: its head, then its payload record by record into an empty store, as
   quarry snapshot import does it, but for the hashes of the chunks, which would let nothing in. */
#include "base/assert.h"
#include "base/err.h"
#include "crypto/hash.h"
#include "port/drivers.h"
#include "tile/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

#define WALL_MS UINT64_C(4102444800000)

/* The chain of test/vectors/store_1.tar.xz, whose networks are small. */
static const qr_chain_cfg_t *chain(void) {
  static qr_chain_cfg_t cfg;
  qr_params_t p;
  char why[256];
  if (cfg.p.task_cnt) return &cfg;
  QR_ASSERT(!qr_crypto_init() && qr_params_profile("regtest-catch", &p));
  memset(p.name, 0, sizeof p.name);
  memcpy(p.name, "schema-1", 8);
  p.chain_id = 91;
  p.genesis_time_ms = UINT64_C(1735689600000);
  p.step_cnt = p.warmup_segments = 1;
  p.segment_rows = p.eval_rows = 16;
  p.replay_rows = 64;
  p.target_window = 2;
  p.witness_window = p.reorg_limit = 4;
  p.tasks[0].net.batch = 16;
  p.tasks[0].net.layers[0].out = p.tasks[0].net.layers[1].out = 16;
  QR_ASSERT(!qr_params_init(&p, &cfg, why, sizeof why));
  return &cfg;
}

typedef struct {
  const qr_store_ops_t *ops;
  qr_store_t *store;
  qr_snapshot_import_t import;
  bool begun;
} target_t;

static int begin(target_t *t, const qr_snapshot_about_t *about) {
  char why[256] = "";
  QR_ASSERT(!t->ops->open("fuzz", "", &t->store, why, sizeof why));
  qr_snapshot_import_cfg_t cfg = {.ops = t->ops,
                                  .store = t->store,
                                  .chain = chain(),
                                  .accel = qr_accel_driver("cpu"),
                                  .wall_ms = WALL_MS};
  int err = qr_snapshot_import_init(&t->import, &cfg, about, why, sizeof why);
  QR_ASSERT(!err || why[0]);
  t->begun = true;
  return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  qr_snapshot_head_t head;
  qr_snapshot_reader_t r = {.segment_rows_sz = qr_snapshot_window_sz(chain())};
  target_t t = {.ops = qr_store_driver("mem")};
  if (sz < QR_SNAPSHOT_HEAD_SZ) return 0;
  if (!qr_snapshot_head_decode(data, &head)) {
    uint8_t again[QR_SNAPSHOT_HEAD_SZ];
    qr_snapshot_head_encode(&head, again);
    QR_ASSERT(!memcmp(again, data, sizeof again));
    QR_ASSERT(qr_snapshot_chunk_cnt(head.payload_sz) <= UINT32_MAX);
  }
  int err = 0;
  for (size_t at = QR_SNAPSHOT_HEAD_SZ; !err;) {
    qr_snapshot_record_t rec;
    char why[512] = "";
    int64_t n = qr_snapshot_next(&r, data + at, sz - at, &rec);
    if (n <= 0) break;
    QR_ASSERT((uint64_t)n <= sz - at && rec.bytes + rec.sz == data + at + n);
    at += (size_t)n;
    err = rec.type == QR_SNAPSHOT_ABOUT ? begin(&t, &r.about)
                                        : qr_snapshot_import_take(&t.import, &rec, why, sizeof why);
    QR_ASSERT(!err || rec.type == QR_SNAPSHOT_ABOUT || why[0]);
  }
  if (t.begun) qr_snapshot_import_fini(&t.import);
  if (t.store) t.ops->close(t.store);
  return 0;
}
