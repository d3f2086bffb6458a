#include "app/offer.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define LOOK_NS UINT64_C(2000000000)

void qr_offer_init(qr_offer_t *o, const char *path) { *o = (qr_offer_t){.path = path}; }

void qr_offer_fini(qr_offer_t *o) {
  if (o->open) qr_snapshot_file_close(&o->file);
  o->open = false;
}

/* True if it is not what it was at the last look. */
static bool changed(qr_offer_t *o, bool *there) {
  struct stat st = {0};
  *there = !stat(o->path, &st);
  uint64_t mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
  if (o->dev == st.st_dev && o->ino == st.st_ino && o->mtime_ns == mtime_ns) return false;
  o->dev = st.st_dev;
  o->ino = st.st_ino;
  o->mtime_ns = mtime_ns;
  return true;
}

static bool look(void *ctx, uint64_t now_ns, qr_peers_snapshot_t *out) {
  qr_offer_t *o = ctx;
  char why[512], hex[65];
  bool there;
  if (now_ns < o->look_ns) return false;
  o->look_ns = now_ns + LOOK_NS;
  if (!changed(o, &there)) return false;
  qr_offer_fini(o);
  *out = (qr_peers_snapshot_t){.payload_sz = 0};
  if (!there) {
    qr_log(QR_LOG_INFO, "net", "event=snapshot-offer file=%s result=\"not there\"", o->path);
    return true;
  }
  qr_snapshot_about_t about;
  o->open = !qr_snapshot_file_open(&o->file, o->path, why, sizeof why);
  if (o->open && qr_snapshot_file_about(&o->file, &about, why, sizeof why)) qr_offer_fini(o);
  if (o->open && o->file.leaf_cnt > QR_PEERS_CHUNK_MAX_CNT) {
    snprintf(why, sizeof why, "too large");
    qr_offer_fini(o);
  }
  if (!o->open) {
    qr_log(QR_LOG_WARN, "net", "event=snapshot-offer file=%s result=\"%s\"", o->path, why);
    return true;
  }
  *out =
      (qr_peers_snapshot_t){about.seal, o->file.head.root, o->file.head.payload_sz, o->file.leaves};
  qr_log(QR_LOG_INFO, "net", "event=snapshot-offer file=%s bytes=%llu height=%llu pin=%s", o->path,
         (unsigned long long)o->file.file_sz, (unsigned long long)about.height,
         qr_hex(hex, &about.seal, 32));
  return true;
}

static bool read_at(void *ctx, uint64_t offset, uint8_t *out, uint32_t sz) {
  const qr_offer_t *o = ctx;
  if (!o->open) return false;
  ssize_t n = pread(fileno(o->file.f), out, sz, (off_t)(QR_SNAPSHOT_HEAD_SZ + offset));
  return n == (ssize_t)sz;
}

qr_net_offer_t qr_offer_ops(qr_offer_t *o) {
  return (qr_net_offer_t){.look = look, .read = read_at, .ctx = o};
}
