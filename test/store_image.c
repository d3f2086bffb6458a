#include "store_image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/splitmix.h"

#define NAME_SZ 256
#define SECTOR_SZ 512u
#define PAGE_SZ 4096u

/* Something done to a file's bytes that is not durable yet. */
typedef struct change {
  struct change *next;
  bool truncate; /* to offset */
  bool ended;
  uint64_t offset, sz;
  uint64_t mark; /* the oldest sync under way that makes it durable; 0: none */
  const void *lent;
  uint8_t *data;
} change_t;

typedef struct file {
  struct file *next;
  uint8_t *bytes; /* durable */
  uint64_t sz, cap;
  change_t *changes; /* oldest first */
  struct {
    uint64_t number;
    bool lies;
  } syncs[8]; /* under way, oldest first */
  uint32_t sync_cnt;
} file_t;

typedef struct {
  char name[NAME_SZ]; /* below the directory */
  file_t *file;
} entry_t;

typedef struct {
  entry_t *entries;
  size_t cnt, cap;
} names_t;

/* Something done to a directory that is not durable yet. */
typedef struct {
  char from[NAME_SZ], to[NAME_SZ]; /* either may be empty: from goes, to comes */
  file_t *file;
  uint64_t number;
} move_t;

typedef struct {
  char dir[NAME_SZ];
  uint64_t moves_before; /* what came later is not its business */
  bool lies;
} dir_sync_t;

struct store_image {
  rocks_tap_t tap;
  pthread_mutex_t lock;
  uint64_t lot;
  char dir[512];
  file_t *files;
  names_t now, durable;
  move_t *moves;
  size_t move_cnt, move_cap;
  uint64_t move_number;
  dir_sync_t dir_syncs[8]; /* under way, oldest first */
  uint32_t dir_sync_cnt;
  store_image_disk_t disk;
  uint64_t cut_at, sync_number, fail_sync;
  bool is_cut;
  void (*at_cut)(void *ctx);
  void *ctx;
  store_image_stats_t stats;
};

static void *grow(void *p, size_t sz) {
  p = realloc(p, sz);
  QR_ASSERT(p);
  return p;
}

/* ---- lots ---- */

static uint64_t draw(store_image_t *img, uint64_t n) { return qr_splitmix_next(&img->lot) % n; }

static bool one_in(store_image_t *img, uint32_t n) { return n && !draw(img, n); }

/* ---- names ---- */

static file_t *names_find(const names_t *n, const char *name) {
  for (size_t i = 0; i < n->cnt; i++) {
    if (!strcmp(n->entries[i].name, name)) return n->entries[i].file;
  }
  return NULL;
}

static void names_erase(names_t *n, const char *name) {
  for (size_t i = 0; i < n->cnt; i++) {
    if (!strcmp(n->entries[i].name, name)) n->entries[i--] = n->entries[--n->cnt];
  }
}

static void names_set(names_t *n, const char *name, file_t *f) {
  names_erase(n, name);
  if (n->cnt == n->cap) {
    n->cap = 2 * n->cap + 32;
    n->entries = grow(n->entries, n->cap * sizeof *n->entries);
  }
  entry_t *e = &n->entries[n->cnt++];
  snprintf(e->name, sizeof e->name, "%s", name);
  e->file = f;
}

static void apply_move(names_t *n, const move_t *m) {
  if (*m->from) names_erase(n, m->from);
  if (*m->to) names_set(n, m->to, m->file);
}

static void move(store_image_t *img, const char *from, const char *to, file_t *f) {
  if (img->move_cnt == img->move_cap) {
    img->move_cap = 2 * img->move_cap + 32;
    img->moves = grow(img->moves, img->move_cap * sizeof *img->moves);
  }
  move_t *m = &img->moves[img->move_cnt++];
  snprintf(m->from, sizeof m->from, "%s", from);
  snprintf(m->to, sizeof m->to, "%s", to);
  m->file = f;
  m->number = ++img->move_number;
  apply_move(&img->now, m);
}

/* The name below the image's directory, without doubled slashes; false if it lies elsewhere. */
static bool name_of(const store_image_t *img, const char *path, char out[NAME_SZ]) {
  size_t n = strlen(img->dir), at = 0;
  if (strncmp(path, img->dir, n) || (path[n] && path[n] != '/')) return false;
  for (path += n; *path; path++) {
    bool slash = *path == '/' && (!at || out[at - 1] == '/' || !path[1]);
    QR_ASSERT(at < NAME_SZ - 1);
    if (!slash) out[at++] = *path;
  }
  out[at] = 0;
  return true;
}

static bool lies_in(const char *name, const char *dir) {
  const char *slash = strrchr(name, '/');
  size_t n = slash ? (size_t)(slash - name) : 0;
  return *name && strlen(dir) == n && !strncmp(name, dir, n);
}

static void dir_sync_begins(store_image_t *img, const char *dir, bool lies) {
  QR_ASSERT(img->dir_sync_cnt < QR_ARRAY_CNT(img->dir_syncs));
  dir_sync_t *d = &img->dir_syncs[img->dir_sync_cnt++];
  *d = (dir_sync_t){.moves_before = img->move_number, .lies = lies};
  snprintf(d->dir, sizeof d->dir, "%s", dir);
}

/* A move between two directories becomes durable half by half. */
static void dir_sync_ends(store_image_t *img, const char *dir, bool well) {
  uint32_t i = 0;
  while (i < img->dir_sync_cnt && strcmp(img->dir_syncs[i].dir, dir)) i++;
  if (i == img->dir_sync_cnt) return;
  dir_sync_t d = img->dir_syncs[i];
  memmove(&img->dir_syncs[i], &img->dir_syncs[i + 1],
          (--img->dir_sync_cnt - i) * sizeof img->dir_syncs[0]);
  size_t kept = 0;
  for (size_t k = 0; k < img->move_cnt && well && !d.lies; k++) {
    move_t rest = img->moves[k], done = rest;
    bool mine = rest.number <= d.moves_before;
    char *gone = mine && lies_in(rest.from, dir) ? rest.from : done.from;
    char *come = mine && lies_in(rest.to, dir) ? rest.to : done.to;
    *gone = *come = 0;
    apply_move(&img->durable, &done);
    if (*rest.from || *rest.to) img->moves[kept++] = rest;
  }
  if (well && !d.lies) img->move_cnt = kept;
}

/* ---- files ---- */

static file_t *add_file(store_image_t *img) {
  file_t *f = calloc(1, sizeof *f);
  QR_ASSERT(f);
  f->next = img->files;
  return img->files = f;
}

static void free_change(change_t *c) {
  free(c->data);
  free(c);
}

static change_t *add_change(file_t *f, bool truncate, uint64_t offset, uint64_t sz,
                            const void *data) {
  change_t **at = &f->changes, *c = calloc(1, sizeof *c);
  QR_ASSERT(c);
  while (*at) at = &(*at)->next;
  *at = c;
  c->truncate = truncate;
  c->offset = offset;
  c->sz = sz;
  c->lent = data;
  if (sz) c->data = memcpy(grow(NULL, sz), data, sz);
  return c;
}

static void resize(file_t *f, uint64_t sz) {
  if (sz > f->cap) {
    f->cap = 2 * f->cap > sz ? 2 * f->cap : sz;
    f->bytes = grow(f->bytes, f->cap);
  }
  if (sz > f->sz) memset(f->bytes + f->sz, 0, sz - f->sz);
  f->sz = sz;
}

static void apply(file_t *f, const change_t *c) {
  if (c->truncate) {
    resize(f, c->offset);
    return;
  }
  if (c->offset + c->sz > f->sz) resize(f, c->offset + c->sz);
  if (c->sz) memcpy(f->bytes + c->offset, c->data, c->sz);
}

static void sync_begins(store_image_t *img, file_t *f, bool lies) {
  QR_ASSERT(f->sync_cnt < QR_ARRAY_CNT(f->syncs));
  uint64_t number = ++img->sync_number;
  f->syncs[f->sync_cnt].number = number;
  f->syncs[f->sync_cnt++].lies = lies;
  for (change_t *c = f->changes; c; c = c->next)
    if (c->ended && !c->mark && !lies) c->mark = number;
}

/* The oldest sync of the file has ended. well: what it was for is durable now, else lost. */
static void sync_ends(file_t *f, bool well) {
  QR_ASSERT(f->sync_cnt);
  uint64_t number = f->syncs[0].number;
  bool lies = f->syncs[0].lies;
  memmove(f->syncs, f->syncs + 1, --f->sync_cnt * sizeof f->syncs[0]);
  for (change_t **at = &f->changes; *at && !lies;) {
    change_t *c = *at;
    if (!c->mark || c->mark > number) {
      at = &c->next;
      continue;
    }
    if (well) apply(f, c);
    *at = c->next;
    free_change(c);
  }
}

/* ---- the tap ---- */

static void cut(store_image_t *img) {
  if (img->is_cut) return;
  img->is_cut = true;
  if (img->at_cut) img->at_cut(img->ctx);
}

static int64_t begins(store_image_t *img, const rocks_tap_op_t *op) {
  char name[NAME_SZ];
  if (!name_of(img, op->path, name)) return ROCKS_TAP_GO;
  file_t *f = names_find(&img->now, name);
  bool lies = false;
  switch (op->kind) {
  case ROCKS_TAP_WRITE:
    if (f) add_change(f, false, op->offset, op->sz, op->data);
    break;
  case ROCKS_TAP_TRUNCATE:
    if (f) add_change(f, true, op->offset, 0, NULL);
    break;
  case ROCKS_TAP_SYNC:
    if (!f) break;
    img->stats.sync_cnt++;
    lies = one_in(img, img->disk.file_sync_lies);
    sync_begins(img, f, lies);
    if (img->fail_sync && !--img->fail_sync) return -EIO;
    return img->disk.quick ? ROCKS_TAP_PRETEND : ROCKS_TAP_GO;
  case ROCKS_TAP_DIR_SYNC:
    lies = one_in(img, img->disk.dir_sync_lies);
    dir_sync_begins(img, name, lies);
    return img->disk.quick ? ROCKS_TAP_PRETEND : ROCKS_TAP_GO;
  default: break;
  }
  return ROCKS_TAP_GO;
}

static void ends_write(file_t *f, const rocks_tap_op_t *op, int64_t result) {
  bool truncate = op->kind == ROCKS_TAP_TRUNCATE;
  change_t *c = f ? f->changes : NULL;
  while (c && (c->ended || c->truncate != truncate || c->offset != op->offset ||
               (!truncate && (c->lent != op->data || c->sz != op->sz))))
    c = c->next;
  if (!c) return;
  c->ended = true;
  if (!truncate) c->sz = result > 0 ? (uint64_t)result : 0;
  if (truncate && result) c->truncate = false; /* it did nothing */
}

static void ends_create(store_image_t *img, const char *name) {
  file_t *f = names_find(&img->now, name);
  if (f)
    add_change(f, true, 0, 0, NULL)->ended = true;
  else
    move(img, "", name, add_file(img));
}

static void ends(store_image_t *img, const rocks_tap_op_t *op, int64_t result) {
  char name[NAME_SZ], to[NAME_SZ];
  if (!name_of(img, op->path, name)) return;
  file_t *f = names_find(&img->now, name);
  bool both = op->to && name_of(img, op->to, to);
  switch (op->kind) {
  case ROCKS_TAP_WRITE:
  case ROCKS_TAP_TRUNCATE: ends_write(f, op, result); break;
  case ROCKS_TAP_SYNC:
    if (f && f->sync_cnt) sync_ends(f, !result);
    break;
  case ROCKS_TAP_DIR_SYNC: dir_sync_ends(img, name, !result); break;
  case ROCKS_TAP_CREATE:
    if (!result) ends_create(img, name);
    break;
  case ROCKS_TAP_RENAME:
    if (!result && f && both) move(img, name, to, f);
    break;
  case ROCKS_TAP_LINK:
    if (!result && f && both) move(img, "", to, f);
    break;
  case ROCKS_TAP_UNLINK:
    if (!result && f) move(img, name, "", NULL);
    break;
  default: break;
  }
}

static int64_t tap_before(void *ctx, const rocks_tap_op_t *op) {
  store_image_t *img = ctx;
  int64_t answer = ROCKS_TAP_GO;
  pthread_mutex_lock(&img->lock);
  if (!img->is_cut) {
    answer = begins(img, op);
    img->stats.op_cnt += op->kind != ROCKS_TAP_READ && op->kind != ROCKS_TAP_OPEN;
    if (img->cut_at && img->stats.op_cnt >= img->cut_at) cut(img);
  }
  pthread_mutex_unlock(&img->lock);
  return answer;
}

static int64_t tap_after(void *ctx, const rocks_tap_op_t *op, int64_t result) {
  store_image_t *img = ctx;
  pthread_mutex_lock(&img->lock);
  if (!img->is_cut) ends(img, op, result);
  pthread_mutex_unlock(&img->lock);
  return result;
}

/* ---- the caller's side ---- */

static void read_file(store_image_t *img, const char *name) {
  char path[sizeof img->dir + NAME_SZ];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", img->dir, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  QR_ASSERT(fd >= 0 && !fstat(fd, &st));
  file_t *f = add_file(img);
  resize(f, (uint64_t)st.st_size);
  for (uint64_t at = 0; at < f->sz;) {
    ssize_t n = read(fd, f->bytes + at, f->sz - at);
    QR_ASSERT(n > 0);
    at += (uint64_t)n;
  }
  close(fd);
  names_set(&img->now, name, f);
  names_set(&img->durable, name, f);
}

static void read_dir(store_image_t *img) {
  DIR *d = opendir(img->dir);
  if (!d) return; /* nothing there yet */
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_type == DT_REG && strcmp(e->d_name, "LOCK")) read_file(img, e->d_name);
  }
  closedir(d);
}

static void forget(store_image_t *img) {
  for (file_t *f = img->files, *next; f; f = next) {
    next = f->next;
    for (change_t *c = f->changes, *after; c; c = after) {
      after = c->next;
      free_change(c);
    }
    free(f->bytes);
    free(f);
  }
  img->files = NULL;
  img->now.cnt = img->durable.cnt = img->move_cnt = img->dir_sync_cnt = 0;
}

store_image_t *store_image_init(uint64_t seed) {
  store_image_t *img = calloc(1, sizeof *img);
  QR_ASSERT(img);
  img->lot = seed;
  img->is_cut = true; /* until it begins */
  img->tap = (rocks_tap_t){.ctx = img, .before = tap_before, .after = tap_after};
  pthread_mutex_init(&img->lock, NULL);
  return img;
}

void store_image_fini(store_image_t *img) {
  forget(img);
  free(img->now.entries);
  free(img->durable.entries);
  free(img->moves);
  pthread_mutex_destroy(&img->lock);
  free(img);
}

const rocks_tap_t *store_image_tap(store_image_t *img) { return &img->tap; }

void store_image_begin(store_image_t *img, const char *dir, store_image_disk_t disk,
                       void (*at_cut)(void *ctx), void *ctx) {
  forget(img);
  snprintf(img->dir, sizeof img->dir, "%s", dir);
  read_dir(img);
  img->disk = disk;
  img->tap.apart = disk.quick;
  img->at_cut = at_cut;
  img->ctx = ctx;
  img->stats = (store_image_stats_t){0};
  img->cut_at = img->fail_sync = 0;
  img->is_cut = false;
}

void store_image_arm(store_image_t *img, uint64_t nth) {
  pthread_mutex_lock(&img->lock);
  img->cut_at = img->stats.op_cnt + nth;
  pthread_mutex_unlock(&img->lock);
}

void store_image_fail_sync(store_image_t *img, uint64_t nth) {
  pthread_mutex_lock(&img->lock);
  img->fail_sync = nth;
  pthread_mutex_unlock(&img->lock);
}

void store_image_cut_now(store_image_t *img) {
  pthread_mutex_lock(&img->lock);
  cut(img);
  pthread_mutex_unlock(&img->lock);
}

bool store_image_is_cut(store_image_t *img) {
  pthread_mutex_lock(&img->lock);
  bool is_cut = img->is_cut;
  pthread_mutex_unlock(&img->lock);
  return is_cut;
}

/* ---- after the cut ---- */

/* Zeros reach only what was not durable before. */
static void zero_new(file_t *f, const change_t *c) {
  change_t zeros = *c;
  uint64_t end = c->offset + c->sz, from = c->offset > f->sz ? c->offset : f->sz;
  if (from >= end) return;
  zeros.offset = from;
  zeros.sz = end - from;
  zeros.data = calloc(1, zeros.sz);
  QR_ASSERT(zeros.data);
  apply(f, &zeros);
  free(zeros.data);
}

/* Some of the sectors, each new or as it was. */
static void some_sectors(store_image_t *img, file_t *f, const change_t *c) {
  for (uint64_t at = c->offset, end = c->offset + c->sz; at < end;) {
    uint64_t next = (at / SECTOR_SZ + 1) * SECTOR_SZ;
    change_t part = *c;
    part.offset = at;
    part.sz = (next < end ? next : end) - at;
    part.data = c->data + (at - c->offset);
    if (draw(img, 2)) apply(f, &part);
    at += part.sz;
  }
}

static void decide(store_image_t *img, file_t *f, const change_t *c) {
  change_t part = *c;
  if (c->truncate) {
    if (draw(img, 2)) apply(f, c);
    return;
  }
  switch (draw(img, 6)) {
  case 0:
  case 1: img->stats.dropped++; break;
  case 2:
    img->stats.kept++;
    apply(f, c);
    break;
  case 3: /* up to a byte, or a sector */
    img->stats.torn++;
    part.sz = draw(img, c->sz + 1);
    if (draw(img, 2)) part.sz -= (c->offset + part.sz) % SECTOR_SZ % (part.sz + 1);
    apply(f, &part);
    break;
  case 4:
    img->stats.torn++;
    some_sectors(img, f, c);
    break;
  default: img->stats.zeroed++; zero_new(f, c);
  }
}

static uint64_t length_now(const file_t *f) {
  uint64_t sz = f->sz;
  for (const change_t *c = f->changes; c; c = c->next) {
    uint64_t end = c->offset + c->sz;
    if (c->truncate || end > sz) sz = end;
  }
  return sz;
}

/* The file as it is found. What was durable stays; a length that was not may be any up to it. */
static void settle(store_image_t *img, file_t *f) {
  uint64_t durable_sz = f->sz, whole_sz = length_now(f);
  if (!f->changes) return;
  /* now and then all or nothing of a file came through */
  uint64_t mood = draw(img, 8);
  for (change_t *c = f->changes, *next; c; c = next) {
    next = c->next;
    if (mood == 0) apply(f, c);
    if (mood > 1) decide(img, f, c);
    free_change(c);
  }
  f->changes = NULL;
  uint64_t sz = f->sz;
  if (sz > durable_sz && !draw(img, 4)) sz = durable_sz + draw(img, sz - durable_sz);
  if (sz < whole_sz && !draw(img, 4)) sz = whole_sz;
  if (sz != f->sz) img->stats.sizes_changed++;
  resize(f, sz);
}

/* Half of the time the directory's journal kept the order, and a prefix of it is there. */
static void settle_names(store_image_t *img) {
  bool in_order = draw(img, 2);
  uint64_t prefix = draw(img, img->move_cnt + 1);
  for (size_t i = 0; i < img->move_cnt; i++) {
    bool keep = in_order ? i < prefix : draw(img, 2);
    if (keep) apply_move(&img->durable, &img->moves[i]);
    if (keep)
      img->stats.names_kept++;
    else
      img->stats.names_dropped++;
  }
  img->move_cnt = 0;
}

/* Pages of zeros stay holes. */
static void write_file(const char *dir, const char *name, const file_t *f) {
  static const uint8_t zeros[PAGE_SZ];
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  QR_ASSERT(fd >= 0 && !ftruncate(fd, (off_t)f->sz));
  for (uint64_t at = 0; at < f->sz; at += PAGE_SZ) {
    size_t n = f->sz - at < PAGE_SZ ? (size_t)(f->sz - at) : PAGE_SZ;
    if (!memcmp(f->bytes + at, zeros, n)) continue;
    QR_ASSERT(pwrite(fd, f->bytes + at, n, (off_t)at) == (ssize_t)n);
  }
  close(fd);
}

void store_image_write(store_image_t *img, const char *dir, store_image_stats_t *out) {
  pthread_mutex_lock(&img->lock);
  QR_ASSERT(img->is_cut);
  settle_names(img);
  QR_ASSERT(!mkdir(dir, 0700));
  for (size_t i = 0; i < img->durable.cnt; i++) {
    entry_t *e = &img->durable.entries[i];
    settle(img, e->file); /* a file of two names is settled by the first */
    write_file(dir, e->name, e->file);
  }
  if (out) *out = img->stats;
  pthread_mutex_unlock(&img->lock);
}
