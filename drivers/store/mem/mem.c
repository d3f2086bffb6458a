#include "mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "port/store_batch.h"
#include "sorted.h"

#define SCHEMA_KEY "schema"

/* What would be on a disk. */
typedef struct mem_disk {
  struct mem_disk *next; /* of the kept ones */
  char *name;            /* NULL: dies with its store */
  bool open;
  mem_table_t tables[QR_STORE_TABLE_CNT];
} mem_disk_t;

typedef struct {
  qr_store_batch_t *batch;
  uint64_t tag;
  bool fails;
} mem_slot_t;

struct qr_store {
  mem_disk_t *disk;
  pthread_mutex_t lock; /* recursive: a visitor may read */
  mem_slot_t slots[QR_STORE_QUEUE_CNT];
  uint64_t submit_seq, poll_seq;
  size_t held_sz;
  bool held, failed, fail_survives;
  uint64_t fail_seq;          /* submission that fails; UINT64_MAX for none */
  qr_store_batch_t *survivor; /* failed, but on the disk after all */
  _Atomic uint64_t commit_cnt, bytes_written, read_cnt, corrupt_cnt;
};

static mem_disk_t *kept_disks;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

static void free_disk(mem_disk_t *d) {
  for (uint32_t t = 0; t < QR_STORE_TABLE_CNT; t++) mem_table_fini(&d->tables[t]);
  free(d->name);
  free(d);
}

/* A disk without a record; NULL if out of memory. */
static mem_disk_t *make_disk(const char *name) {
  mem_disk_t *d = calloc(1, sizeof *d);
  if (d && name) d->name = strdup(name);
  if (!d || !name || d->name) return d;
  free(d);
  return NULL;
}

/* Takes the disk of that name, or makes one. */
static int take_disk(const char *dir, bool keep, mem_disk_t **out) {
  int err = 0;
  pthread_mutex_lock(&kept_lock);
  mem_disk_t *d = keep ? kept_disks : NULL;
  while (d && strcmp(d->name, dir)) d = d->next;
  if (d && d->open) {
    err = QR_ERR_BUSY;
  } else if (!d) {
    d = make_disk(keep ? dir : NULL);
    if (!d) err = QR_ERR_NOMEM;
    if (d && keep) {
      d->next = kept_disks;
      kept_disks = d;
    }
  }
  if (!err) d->open = true;
  pthread_mutex_unlock(&kept_lock);
  *out = d;
  return err;
}

static void give_disk(mem_disk_t *d) {
  pthread_mutex_lock(&kept_lock);
  d->open = false;
  bool keep = d->name != NULL;
  pthread_mutex_unlock(&kept_lock);
  if (!keep) free_disk(d);
}

void qr_store_mem_forget(const char *dir) {
  pthread_mutex_lock(&kept_lock);
  for (mem_disk_t **at = &kept_disks; *at; at = &(*at)->next) {
    if (strcmp((*at)->name, dir)) continue;
    mem_disk_t *d = *at;
    QR_ASSERT(!d->open);
    *at = d->next;
    free_disk(d);
    break;
  }
  pthread_mutex_unlock(&kept_lock);
}

static int check_schema(mem_disk_t *d, char *why, size_t why_sz) {
  uint8_t version[4];
  mem_table_t *meta = &d->tables[QR_STORE_META];
  const mem_record_t *r = mem_table_find(meta, SCHEMA_KEY, strlen(SCHEMA_KEY));
  if (!r) {
    qr_st32(version, QR_STORE_SCHEMA_VERSION);
    if (mem_table_put(meta, SCHEMA_KEY, strlen(SCHEMA_KEY), version, sizeof version)) return 0;
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  uint32_t found = r->value_sz == sizeof version ? qr_ld32(r->bytes + r->key_sz) : 0;
  if (found && found <= QR_STORE_SCHEMA_VERSION) return 0;
  snprintf(why, why_sz,
           "the kept store has a newer schema version than %u; use the program that wrote it",
           QR_STORE_SCHEMA_VERSION);
  return QR_ERR_UNSUPPORTED;
}

static int mem_open(const char *dir, const char *options, qr_store_t **out, char *why,
                    size_t why_sz) {
  bool keep = options && !strcmp(options, "keep=1");
  if (options && *options && !keep && strcmp(options, "keep=0")) {
    snprintf(why, why_sz, "store option \"%s\" is not known; the memory store knows keep=0|1",
             options);
    return QR_ERR_ARG;
  }
  qr_store_t *s = calloc(1, sizeof *s);
  if (!s) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  int err = take_disk(dir, keep, &s->disk);
  if (err) {
    snprintf(why, why_sz,
             err == QR_ERR_BUSY ? "the kept store %s is open already; close it first"
                                : "out of memory for %s",
             dir);
    free(s);
    return err;
  }
  err = check_schema(s->disk, why, why_sz);
  if (err) {
    give_disk(s->disk);
    free(s);
    return err;
  }
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&s->lock, &attr);
  pthread_mutexattr_destroy(&attr);
  s->fail_seq = UINT64_MAX;
  *out = s;
  return 0;
}

static int mem_commit(qr_store_t *s, uint64_t tag, const qr_store_op_t *ops, uint32_t op_cnt) {
  int64_t byte_sz = qr_store_batch_size(ops, op_cnt);
  if (byte_sz < 0) return (int)byte_sz;
  if (!qr_store_batch_fits(s->submit_seq - s->poll_seq, s->held_sz, (size_t)byte_sz))
    return QR_ERR_FULL;
  qr_store_batch_t *b = qr_store_batch_copy(ops, op_cnt, (size_t)byte_sz);
  if (!b) return QR_ERR_NOMEM;
  s->slots[s->submit_seq % QR_STORE_QUEUE_CNT] =
      (mem_slot_t){.batch = b, .tag = tag, .fails = s->submit_seq == s->fail_seq};
  s->held_sz += b->byte_sz;
  s->submit_seq++;
  return 0;
}

/* Running out of memory half-way would tear a batch, and this store has no way to undo: it is for
   tests, it stops. */
static void apply(mem_disk_t *d, const qr_store_batch_t *b) {
  for (uint32_t i = 0; i < b->op_cnt; i++) {
    const qr_store_op_t *op = &b->ops[i];
    if (op->erase) {
      mem_table_erase(&d->tables[op->table], op->key, op->key_sz);
    } else {
      QR_ASSERT(mem_table_put(&d->tables[op->table], op->key, op->key_sz, op->value, op->value_sz));
    }
  }
}

/* Completes the oldest submitted batch. */
static qr_store_done_t complete_one(qr_store_t *s) {
  mem_slot_t *slot = &s->slots[s->poll_seq++ % QR_STORE_QUEUE_CNT];
  qr_store_batch_t *b = slot->batch;
  s->held_sz -= b->byte_sz;
  if (slot->fails) {
    s->failed = true;
    if (s->fail_survives) {
      s->survivor = b;
      return (qr_store_done_t){slot->tag, QR_ERR_IO};
    }
  }
  if (!s->failed) {
    apply(s->disk, b);
    s->commit_cnt++;
    s->bytes_written += b->byte_sz;
  }
  free(b);
  return (qr_store_done_t){slot->tag, s->failed ? QR_ERR_IO : 0};
}

static int mem_poll(qr_store_t *s, qr_store_done_t *done, int max) {
  int cnt = 0;
  pthread_mutex_lock(&s->lock);
  while (!s->held && cnt < max && s->poll_seq != s->submit_seq) done[cnt++] = complete_one(s);
  pthread_mutex_unlock(&s->lock);
  return cnt;
}

static void mem_close(qr_store_t *s) {
  while (s->poll_seq != s->submit_seq) (void)complete_one(s);
  if (s->survivor) {
    apply(s->disk, s->survivor);
    free(s->survivor);
  }
  give_disk(s->disk);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

void qr_store_mem_crash(qr_store_t *s) {
  for (; s->poll_seq != s->submit_seq; s->poll_seq++)
    free(s->slots[s->poll_seq % QR_STORE_QUEUE_CNT].batch);
  mem_close(s);
}

void qr_store_mem_fail(qr_store_t *s, uint64_t nth, bool survives) {
  QR_ASSERT(nth);
  s->fail_seq = s->submit_seq + nth - 1;
  s->fail_survives = survives;
}

void qr_store_mem_hold(qr_store_t *s, bool held) { s->held = held; }

bool qr_store_mem_damage(qr_store_t *s, enum qr_store_table t, const void *key, size_t key_sz) {
  pthread_mutex_lock(&s->lock);
  mem_record_t *r =
      qr_store_key_ok(t, key, key_sz) ? mem_table_find(&s->disk->tables[t], key, key_sz) : NULL;
  if (r) r->damaged = true;
  pthread_mutex_unlock(&s->lock);
  return r != NULL;
}

static int64_t mem_get(qr_store_t *s, enum qr_store_table t, const void *key, size_t key_sz,
                       void *buf, size_t buf_sz) {
  if (!qr_store_key_ok(t, key, key_sz)) return QR_ERR_ARG;
  s->read_cnt++;
  pthread_mutex_lock(&s->lock);
  const mem_record_t *r = mem_table_find(&s->disk->tables[t], key, key_sz);
  int64_t result = QR_ERR_NOTFOUND;
  if (r && r->damaged) {
    s->corrupt_cnt++;
    result = QR_ERR_CORRUPT;
  } else if (r) {
    result = (int64_t)r->value_sz;
    if (r->value_sz && r->value_sz <= buf_sz) memcpy(buf, r->bytes + r->key_sz, r->value_sz);
  }
  pthread_mutex_unlock(&s->lock);
  return result;
}

static void mem_get_many(qr_store_t *s, enum qr_store_table t, qr_store_read_t *reads,
                         uint32_t cnt) {
  for (uint32_t i = 0; i < cnt; i++)
    reads[i].result = mem_get(s, t, reads[i].key, reads[i].key_sz, reads[i].buf, reads[i].buf_sz);
}

static int mem_scan(qr_store_t *s, enum qr_store_table t, const void *first, size_t first_sz,
                    qr_store_visit_fn fn, void *ctx) {
  if (t >= QR_STORE_TABLE_CNT) return QR_ERR_ARG;
  int err = 0;
  pthread_mutex_lock(&s->lock);
  for (const mem_record_t *r = mem_table_seek(&s->disk->tables[t], first, first_sz); r;
       r = r->next[0]) {
    s->read_cnt++;
    if (r->damaged) {
      s->corrupt_cnt++;
      err = QR_ERR_CORRUPT;
      break;
    }
    if (!fn(ctx, r->bytes, r->key_sz, r->bytes + r->key_sz, r->value_sz)) break;
  }
  pthread_mutex_unlock(&s->lock);
  return err;
}

static int mem_audit(qr_store_t *s, enum qr_store_table t, qr_store_visit_fn fn,
                     qr_store_bad_fn bad, void *ctx) {
  if (t >= QR_STORE_TABLE_CNT) return QR_ERR_ARG;
  bool goes_on = true;
  pthread_mutex_lock(&s->lock);
  for (const mem_record_t *r = s->disk->tables[t].head[0]; r && goes_on; r = r->next[0]) {
    s->read_cnt++;
    if (r->damaged)
      bad(ctx, r->bytes, r->key_sz, "the record was damaged by a test");
    else
      goes_on = fn(ctx, r->bytes, r->key_sz, r->bytes + r->key_sz, r->value_sz);
  }
  pthread_mutex_unlock(&s->lock);
  return QR_OK;
}

static void mem_stats(const qr_store_t *s, qr_store_stats_t *out) {
  *out = (qr_store_stats_t){.commit_cnt = s->commit_cnt,
                            .read_cnt = s->read_cnt,
                            .bytes_written = s->bytes_written,
                            .corrupt_cnt = s->corrupt_cnt};
}

const qr_store_ops_t qr_store_mem_ops = {
    .name = "mem",
    .help = "memory only, for tests: nothing survives the process; option keep=0|1 (0)",
    .open = mem_open,
    .close = mem_close,
    .commit = mem_commit,
    .poll = mem_poll,
    .get = mem_get,
    .get_many = mem_get_many,
    .scan = mem_scan,
    .stats = mem_stats,
    .audit = mem_audit,
};
