#include "chain/snapshot.h"

#include "base/err.h"
#include "chain/ledger.h"
#include "wire/header.h"

/* Sixteen bytes, the last a newline: what was sent as text shows. */
static const char magic[16] = "quarry-snapshot\n";

void qr_snapshot_head_encode(const qr_snapshot_head_t *h, uint8_t out[QR_SNAPSHOT_HEAD_SZ]) {
  memcpy(out, magic, sizeof magic);
  qr_st32(out + 16, QR_SNAPSHOT_VERSION);
  qr_st32(out + 20, QR_SNAPSHOT_CHUNK_SZ);
  qr_st64(out + 24, h->payload_sz);
  memcpy(out + 32, &h->root, QR_HASH_SZ);
}

int qr_snapshot_head_decode(const uint8_t in[QR_SNAPSHOT_HEAD_SZ], qr_snapshot_head_t *h) {
  if (memcmp(in, magic, sizeof magic) != 0) return QR_ERR_FORMAT;
  if (qr_ld32(in + 16) != QR_SNAPSHOT_VERSION) return QR_ERR_UNSUPPORTED;
  h->payload_sz = qr_ld64(in + 24);
  memcpy(&h->root, in + 32, QR_HASH_SZ);
  bool ok = qr_ld32(in + 20) == QR_SNAPSHOT_CHUNK_SZ;
  return ok && h->payload_sz && h->payload_sz <= QR_SNAPSHOT_PAYLOAD_MAX_SZ ? QR_OK : QR_ERR_FORMAT;
}

void qr_snapshot_about_encode(const qr_snapshot_about_t *a, uint8_t *out) {
  qr_st64(out, a->height);
  memcpy(out + 8, &a->hash, QR_HASH_SZ);
  memcpy(out + 40, &a->state_root, QR_HASH_SZ);
  memcpy(out + 72, &a->genesis, QR_HASH_SZ);
  memcpy(out + 104, &a->seal, QR_HASH_SZ);
  qr_st64(out + 136, a->header_cnt);
  qr_st64(out + 144, a->account_cnt);
  qr_st64(out + 152, a->window_cnt);
  qr_st64(out + 160, a->model_cnt);
  qr_st64(out + 168, a->proof_cnt);
  qr_st32(out + 176, a->params_sz);
  memcpy(out + QR_SNAPSHOT_ABOUT_SZ, a->params, a->params_sz);
}

static bool about_decode(const uint8_t *in, uint32_t sz, qr_snapshot_about_t *a) {
  if (sz < QR_SNAPSHOT_ABOUT_SZ) return false;
  a->height = qr_ld64(in);
  memcpy(&a->hash, in + 8, QR_HASH_SZ);
  memcpy(&a->state_root, in + 40, QR_HASH_SZ);
  memcpy(&a->genesis, in + 72, QR_HASH_SZ);
  memcpy(&a->seal, in + 104, QR_HASH_SZ);
  a->header_cnt = qr_ld64(in + 136);
  a->account_cnt = qr_ld64(in + 144);
  a->window_cnt = qr_ld64(in + 152);
  a->model_cnt = qr_ld64(in + 160);
  a->proof_cnt = qr_ld64(in + 168);
  a->params_sz = qr_ld32(in + 176);
  a->params = (const char *)in + QR_SNAPSHOT_ABOUT_SZ;
  return a->params_sz == sz - QR_SNAPSHOT_ABOUT_SZ && a->height && a->header_cnt &&
         a->header_cnt - 1 == a->height;
}

void qr_snapshot_record_head(enum qr_snapshot_type type, uint32_t sz,
                             uint8_t out[QR_SNAPSHOT_RECORD_HEAD_SZ]) {
  qr_st32(out, type);
  qr_st32(out + 4, sz);
}

/* Takes sz / unit items from what is still to come. */
static bool take(uint64_t *left, uint32_t sz, uint32_t unit) {
  uint64_t cnt = sz / unit;
  if (!sz || sz % unit || cnt > *left) return false;
  *left -= cnt;
  return true;
}

static bool take_record(qr_snapshot_reader_t *r, const qr_snapshot_record_t *x) {
  switch (x->type) {
  case QR_SNAPSHOT_ABOUT:
    if (r->last || !about_decode(x->bytes, x->sz, &r->about)) return false;
    r->header_cnt = r->about.header_cnt;
    r->account_cnt = r->about.account_cnt;
    r->window_cnt = r->about.window_cnt;
    r->model_cnt = r->about.model_cnt;
    r->proof_cnt = r->about.proof_cnt;
    return true;
  case QR_SNAPSHOT_HEADERS: return take(&r->header_cnt, x->sz, QR_HEADER_SZ);
  case QR_SNAPSHOT_ACCOUNTS: return !r->header_cnt && take(&r->account_cnt, x->sz, QR_ACCOUNT_SZ);
  case QR_SNAPSHOT_WINDOW:
    return !r->header_cnt && !r->account_cnt && r->window_cnt-- && x->sz == r->segment_rows_sz;
  case QR_SNAPSHOT_MODEL:
    return !r->header_cnt && !r->account_cnt && !r->window_cnt && r->model_cnt-- && x->sz > 8;
  case QR_SNAPSHOT_PROOF:
    return !r->header_cnt && !r->account_cnt && !r->window_cnt && !r->model_cnt && r->proof_cnt-- &&
           x->sz > 8;
  default:
    return !x->sz && !r->header_cnt && !r->account_cnt && !r->window_cnt && !r->model_cnt &&
           !r->proof_cnt;
  }
}

int64_t qr_snapshot_next(qr_snapshot_reader_t *r, const uint8_t *p, size_t sz,
                         qr_snapshot_record_t *out) {
  if (sz < QR_SNAPSHOT_RECORD_HEAD_SZ) return 0;
  uint32_t type = qr_ld32(p), record_sz = qr_ld32(p + 4);
  bool known = type >= QR_SNAPSHOT_ABOUT && type <= QR_SNAPSHOT_END;
  /* ABOUT is first, nothing goes back, and nothing follows the end. */
  if (!known || record_sz > QR_SNAPSHOT_RECORD_MAX_SZ || type < r->last ||
      (!r->last && type != QR_SNAPSHOT_ABOUT) || r->last == QR_SNAPSHOT_END)
    return QR_ERR_FORMAT;
  if (sz - QR_SNAPSHOT_RECORD_HEAD_SZ < record_sz) return 0;
  *out = (qr_snapshot_record_t){(enum qr_snapshot_type)type, record_sz,
                                p + QR_SNAPSHOT_RECORD_HEAD_SZ};
  if (!take_record(r, out)) return QR_ERR_FORMAT;
  r->last = out->type;
  return (int64_t)(QR_SNAPSHOT_RECORD_HEAD_SZ + record_sz);
}
