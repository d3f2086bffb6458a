#define _XOPEN_SOURCE 700 /* nftw */
#include "app/join.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/peers_cfg.h"
#include "app/snapshot_take.h"
#include "base/err.h"

#define SLEEP_US 1000u
#define TELL_NS UINT64_C(5000000000)
#define CHUNK_MAX_CNT (1u << 16) /* 64 GiB; 2 MiB of hashes */

typedef struct {
  const qr_join_t *j;
  qr_hash_t pin, root;               /* root: of what have is about */
  char path[QR_CONFIG_PATH_SZ + 32]; /* of the file that grows */
  char fresh[QR_CONFIG_PATH_SZ + 32];
  int fd;
  uint8_t *have; /* a byte for each chunk of the file; NULL: there is none yet */
  uint64_t chunk_cnt, payload_sz, told_ns;
  char *why;
  size_t why_sz;
} join_t;

static int fail(join_t *x, const char *what, const char *path) {
  snprintf(x->why, x->why_sz, "cannot %s %s: %s", what, path, strerror(errno));
  return QR_ERR_IO;
}

static bool stopped(const join_t *x) { return atomic_load(x->j->stop); }

bool qr_join_wanted(const qr_config_t *c, const char *store_dir) {
  struct stat st;
  return *c->sync_pin && lstat(store_dir, &st) && errno == ENOENT;
}

/* ---- the file: as quarry snapshot export writes it, chunks that have not come yet are zeros ----
 */

static off_t place_of(uint64_t idx) {
  return (off_t)(QR_SNAPSHOT_HEAD_SZ + idx * QR_SNAPSHOT_CHUNK_SZ);
}

static bool write_at(int fd, const void *p, size_t sz, off_t at) {
  const uint8_t *from = p;
  while (sz) {
    ssize_t n = pwrite(fd, from, sz, at);
    if (n < 0 && errno != EINTR) return false;
    if (n <= 0) continue;
    from += n;
    at += n;
    sz -= (size_t)n;
  }
  return true;
}

/* What an earlier run left: chunks that have their hash need not come again. */
static int look_at_left(join_t *x) {
  qr_snapshot_file_t f;
  char why[512];
  if (access(x->path, F_OK)) return QR_OK;
  int err = qr_snapshot_file_open(&f, x->path, why, sizeof why);
  if (err) return unlink(x->path) ? fail(x, "remove", x->path) : QR_OK;
  uint64_t cnt = 0;
  x->root = f.head.root;
  x->chunk_cnt = f.leaf_cnt;
  x->have = calloc(f.leaf_cnt, 1);
  for (uint64_t i = 0; x->have && i < f.leaf_cnt && !stopped(x); i++) {
    f.sz = 0; /* each chunk into the same place */
    err = qr_snapshot_file_read(&f, why, sizeof why);
    if (err == QR_ERR_CORRUPT) f.chunk_idx++;
    x->have[i] = !err;
    cnt += !err;
  }
  qr_snapshot_file_close(&f);
  if (!x->have) return QR_ERR_NOMEM;
  qr_log(QR_LOG_INFO, "main", "event=snapshot-resumed chunks=%" PRIu64 " of=%" PRIu64, cnt,
         x->chunk_cnt);
  x->fd = open(x->path, O_WRONLY | O_CLOEXEC);
  return x->fd < 0 ? fail(x, "open", x->path) : QR_OK;
}

/* Head and hashes are written first, so that the file can be gone on with. */
static int begin_file(join_t *x, const qr_peers_snapshot_t *s) {
  uint8_t head[QR_SNAPSHOT_HEAD_SZ];
  uint64_t cnt = qr_snapshot_chunk_cnt(s->payload_sz);
  qr_snapshot_head_t h = {.payload_sz = s->payload_sz, .root = s->root};
  x->fd = open(x->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (x->fd < 0) return fail(x, "make", x->path);
  qr_snapshot_head_encode(&h, head);
  off_t end = (off_t)(QR_SNAPSHOT_HEAD_SZ + s->payload_sz);
  if (!write_at(x->fd, s->leaves, cnt * QR_HASH_SZ, end) ||
      !write_at(x->fd, head, sizeof head, 0) || fsync(x->fd))
    return fail(x, "write", x->path);
  return QR_OK;
}

/* Forgets what is here: it is of another snapshot, or of a false one. */
static int drop_file(join_t *x) {
  if (x->fd >= 0) close(x->fd);
  x->fd = -1;
  free(x->have);
  x->have = NULL;
  return unlink(x->path) && errno != ENOENT ? fail(x, "remove", x->path) : QR_OK;
}

static bool on_begin(void *ctx, const qr_peers_snapshot_t *s, uint8_t *have) {
  join_t *x = ctx;
  bool kept = x->have && qr_hash_eq(&x->root, &s->root) &&
              x->chunk_cnt == qr_snapshot_chunk_cnt(s->payload_sz);
  qr_log(QR_LOG_INFO, "main", "event=snapshot-begins bytes=%" PRIu64, s->payload_sz);
  x->payload_sz = s->payload_sz;
  if (kept) memcpy(have, x->have, x->chunk_cnt);
  return kept || (!drop_file(x) && !begin_file(x, s));
}

/* What the first chunk says must make sense before more of it is fetched. */
static bool is_plausible(const join_t *x, const uint8_t *bytes, uint32_t sz) {
  qr_snapshot_reader_t r = {0};
  qr_snapshot_record_t about;
  return qr_snapshot_next(&r, bytes, sz, &about) > 0 && qr_hash_eq(&r.about.seal, &x->pin) &&
         qr_snapshot_plausible(x->j->chain, &r.about, x->payload_sz);
}

static int on_chunk(void *ctx, uint32_t idx, const uint8_t *bytes, uint32_t sz) {
  join_t *x = ctx;
  if (!idx && !is_plausible(x, bytes, sz)) {
    qr_log(QR_LOG_WARN, "main", "event=snapshot-false cause=\"it cannot be what the pin settles\"");
    return QR_ERR_CORRUPT;
  }
  return write_at(x->fd, bytes, sz, place_of(idx)) ? QR_OK : fail(x, "write", x->path);
}

/* ---- the network: nothing else is done in it ---- */

static bool no_block(void *ctx, qr_peer_id_t peer, const qr_hash_t *hash, const uint8_t *block,
                     size_t sz) {
  (void)ctx, (void)peer, (void)hash, (void)block, (void)sz;
  return false;
}
static enum qr_verdict no_header(void *ctx, const qr_header_t *parent, const qr_header_t *h) {
  (void)ctx, (void)parent, (void)h;
  return QR_VERDICT_OK;
}
static bool no_model(void *ctx, qr_peer_id_t peer, const qr_hash_t *block, const qr_hash_t *root,
                     const uint8_t *model, size_t sz) {
  (void)ctx, (void)peer, (void)block, (void)root, (void)model, (void)sz;
  return false;
}
static void no_model_failed(void *ctx, qr_peer_id_t peer, const qr_hash_t *block,
                            const qr_hash_t *root) {
  (void)ctx, (void)peer, (void)block, (void)root;
}
static bool no_tx(void *ctx, qr_peer_id_t peer, const uint8_t *tx) {
  (void)ctx, (void)peer, (void)tx;
  return false;
}
static bool no_want(void *ctx, const qr_peer_want_t *want) {
  (void)ctx, (void)want;
  return false;
}
static bool no_read(void *ctx, uint64_t offset, uint8_t *out, uint32_t sz) {
  (void)ctx, (void)offset, (void)out, (void)sz;
  return false;
}
static void on_up(void *ctx, qr_peer_id_t peer, const qr_peer_info_t *info) {
  (void)ctx, (void)peer, (void)info;
}
static void on_down(void *ctx, qr_peer_id_t peer, const char *reason) {
  (void)ctx, (void)peer, (void)reason;
}
static const qr_peer_app_t nothing = {no_block, no_header, no_model, no_model_failed, no_tx,
                                      no_want,  no_read,   on_up,    on_down};

static int run_peers(join_t *x, qr_peers_t *p) {
  qr_peers_snapshot_progress_t g = {0};
  const qr_clock_t *clock = x->j->clock;
  while (!stopped(x) && !g.done && !g.failed) {
    if (!qr_peers_poll(p, clock->mono_ns(clock->ctx))) usleep(SLEEP_US);
    qr_peers_snapshot_progress(p, &g);
  }
  if (g.failed) return QR_ERR_IO; /* why says it */
  return g.done ? QR_OK : QR_ERR_CANCELLED;
}

/* ---- the store ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)type, (void)ftw;
  return remove(path);
}

static bool remove_dir(const char *path) {
  return !nftw(path, remove_one, 4, FTW_DEPTH | FTW_PHYS) || errno == ENOENT;
}

static bool on_progress(void *ctx, uint64_t done, uint64_t total) {
  join_t *x = ctx;
  uint64_t now = x->j->clock->mono_ns(x->j->clock->ctx);
  if (now - x->told_ns >= TELL_NS) {
    x->told_ns = now;
    qr_log(QR_LOG_INFO, "main", "event=snapshot-taken mib=%" PRIu64 " of_mib=%" PRIu64, done >> 20,
           total >> 20);
  }
  return !stopped(x);
}

/* A node that is to give a snapshot and has none yet gives the one that it began with. */
static int put_away(join_t *x) {
  const char *keep = x->j->config->sync_serve;
  if (*keep && access(keep, F_OK))
    return rename(x->path, keep) ? fail(x, "rename the snapshot to", keep) : QR_OK;
  return unlink(x->path) ? fail(x, "remove", x->path) : QR_OK;
}

static int make_store(join_t *x, bool *refuted) {
  qr_snapshot_file_t f;
  if (!remove_dir(x->fresh)) return fail(x, "remove", x->fresh);
  int err = qr_snapshot_file_open(&f, x->path, x->why, x->why_sz);
  if (err) return err;
  qr_snapshot_take_t t = {.file = &f,
                          .ops = x->j->store_ops,
                          .accel = x->j->accel_ops,
                          .dir = x->fresh,
                          .pin = &x->pin,
                          .own = x->j->chain,
                          .own_name = x->j->config->genesis,
                          .progress = on_progress,
                          .ctx = x,
                          .why = x->why,
                          .why_sz = x->why_sz};
  err = qr_snapshot_take(&t);
  qr_snapshot_file_close(&f);
  uint64_t height = t.about.height;
  *refuted = t.refuted;
  qr_snapshot_take_fini(&t);
  if (*refuted) qr_log(QR_LOG_WARN, "main", "event=snapshot-false cause=\"%s\"", x->why);
  if (!err && rename(x->fresh, x->j->store_dir)) err = fail(x, "make", x->j->store_dir);
  if (err) {
    (void)remove_dir(x->fresh);
    return err;
  }
  qr_log(QR_LOG_INFO, "main", "event=snapshot-in height=%" PRIu64, height);
  return put_away(x);
}

/* ---- all of it ---- */

/* Until one holds what the pin commits to. */
static int take_one(join_t *x, qr_peers_t *p) {
  for (;;) {
    bool refuted = false;
    int err = run_peers(x, p);
    if (!err && fsync(x->fd)) err = fail(x, "write", x->path);
    if (!err) err = make_store(x, &refuted);
    if (!refuted) return err;
    err = drop_file(x);
    if (err) return err;
    qr_peers_snapshot_wrong(p);
  }
}

static int fetch(join_t *x) {
  const qr_join_t *j = x->j;
  const qr_config_t *c = j->config;
  qr_peers_begin_t begin = {
      .pin = x->pin, .chunk_max_cnt = CHUNK_MAX_CNT, .begin = on_begin, .chunk = on_chunk};
  if (x->have) begin.kept_root = x->root;
  qr_peers_cfg_t cfg = qr_peers_cfg_of(c, j->chain, &j->key->pk, j->clock);
  cfg.ops = j->link_ops;
  cfg.link = j->link;
  cfg.pruned = true;
  cfg.model_max_sz = 1;
  cfg.seed = j->seed;
  cfg.begin = &begin;
  cfg.app = &nothing;
  cfg.ctx = x;
  memcpy(cfg.book_key, &j->seed, sizeof j->seed);
  size_t sz = qr_peers_footprint(&cfg);
  void *mem = sz ? aligned_alloc(64, qr_align_up(sz, 64)) : NULL;
  if (!mem) {
    snprintf(x->why, x->why_sz, "cannot take the memory for %u peers: lower link.peer_max",
             c->peer_max_cnt);
    return QR_ERR_NOMEM;
  }
  qr_peers_t *p = qr_peers_init(mem, &cfg, j->clock->mono_ns(j->clock->ctx));
  int err = take_one(x, p);
  qr_peers_fini(p);
  free(mem);
  return err;
}

int qr_join_run(const qr_join_t *j, char *why, size_t why_sz) {
  join_t x = {.j = j, .fd = -1, .why = why, .why_sz = why_sz};
  const qr_config_t *c = j->config;
  bool is_hash = qr_unhex(&x.pin, sizeof x.pin, c->sync_pin);
  if (!is_hash || !j->link_ops || !j->accel_ops || !strcmp(c->store, "mem")) {
    snprintf(why, why_sz,
             !is_hash       ? "sync.pin must be the 64 hex digits of a block's hash, not '%.70s'"
             : !j->link_ops ? "sync.pin %.8s...: there is no network; set link.driver"
             : !j->accel_ops
                 ? "sync.pin %.8s...: this build has no accelerator driver cpu to check with"
                 : "sync.pin %.8s...: store.driver mem forgets it; use rocksdb",
             c->sync_pin);
    return QR_ERR_ARG;
  }
  snprintf(x.path, sizeof x.path, "%s/snapshot.partial", c->dir);
  snprintf(x.fresh, sizeof x.fresh, "%s/store.fresh", c->dir);
  int err = look_at_left(&x);
  uint64_t here = 0;
  bool refuted = false;
  for (uint64_t i = 0; x.have && i < x.chunk_cnt; i++) here += x.have[i];
  bool whole = x.have && here == x.chunk_cnt;
  if (!err && stopped(&x)) err = QR_ERR_CANCELLED;
  if (!err && whole) err = make_store(&x, &refuted);
  if (refuted) err = drop_file(&x);
  if (!err && (!whole || refuted)) err = fetch(&x);
  if (x.fd >= 0) close(x.fd);
  free(x.have);
  return err;
}
