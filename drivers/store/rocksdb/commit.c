/* The commit thread: takes batches in order of submission. What was submitted while it wrote goes
   to the disk together, as one batch. A batch is sealed and made RocksDB's by who commits
   it, which is the one copy that has to be made in any case. */
#include "rocks.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "port/clock.h"

/* Bytes of one write; a larger batch goes alone. */
#define GROUP_SZ (8u << 20)
/* A batch of more has its memory given back. */
#define SPARE_MAX_SZ (2u << 20)
#define BATCH_HEAD_SZ 12u

/* ---- RocksDB's batches, kept from commit to commit for the memory they have grown to ---- */

static rocksdb_writebatch_t *take_batch(qr_store_t *s) {
  pthread_mutex_lock(&s->lock);
  rocksdb_writebatch_t *wb = s->spare_cnt ? s->spares[--s->spare_cnt] : NULL;
  pthread_mutex_unlock(&s->lock);
  return wb ? wb : rocksdb_writebatch_create();
}

/* Under lock. */
static void give_batch(qr_store_t *s, rocksdb_writebatch_t *wb, size_t byte_sz) {
  if (s->spare_cnt == ROCKS_SPARE_CNT || byte_sz > SPARE_MAX_SZ) {
    rocksdb_writebatch_destroy(wb);
    return;
  }
  rocksdb_writebatch_clear(wb);
  s->spares[s->spare_cnt++] = wb;
}

static void put(const qr_store_t *s, rocksdb_writebatch_t *wb, const qr_store_op_t *ops,
                uint32_t op_cnt) {
  for (uint32_t i = 0; i < op_cnt; i++) {
    const qr_store_op_t *op = &ops[i];
    if (op->erase) {
      rocksdb_writebatch_delete_cf(wb, s->cf[op->table], op->key, op->key_sz);
      continue;
    }
    uint8_t seal[QR_RECORD_SEAL_SZ];
    rocks_record_seal(op->table, op->key, op->key_sz, op->value, op->value_sz, seal);
    const char *key = op->key, *parts[2] = {(const char *)seal, op->value};
    size_t part_szs[2] = {sizeof seal, op->value_sz};
    rocksdb_writebatch_putv_cf(wb, s->cf[op->table], 1, &key, &op->key_sz, 2, parts, part_szs);
  }
}

/* ---- writing ---- */

/* All of the group as one batch: RocksDB's are 8 bytes of its own, a count, and the records. */
static rocksdb_writebatch_t *join(const rocks_slot_t *const *group, uint32_t cnt) {
  size_t all_sz = BATCH_HEAD_SZ, sz;
  uint32_t record_cnt = 0;
  for (uint32_t i = 0; i < cnt; i++) {
    const char *from = rocksdb_writebatch_data(group[i]->batch, &sz);
    record_cnt += qr_ld32(from + BATCH_HEAD_SZ - 4);
    all_sz += sz - BATCH_HEAD_SZ;
  }
  char *all = malloc(all_sz), *to = all + BATCH_HEAD_SZ;
  if (!all) return NULL;
  memset(all, 0, BATCH_HEAD_SZ);
  qr_st32(all + BATCH_HEAD_SZ - 4, record_cnt);
  for (uint32_t i = 0; i < cnt; i++) {
    const char *from = rocksdb_writebatch_data(group[i]->batch, &sz);
    memcpy(to, from + BATCH_HEAD_SZ, sz - BATCH_HEAD_SZ);
    to += sz - BATCH_HEAD_SZ;
  }
  rocksdb_writebatch_t *wb = rocksdb_writebatch_create_from(all, all_sz);
  free(all);
  return wb;
}

/* Returns when what is in the batch is durable. */
static int write_batch(qr_store_t *s, rocksdb_writebatch_t *wb, uint32_t cnt, size_t byte_sz) {
  char *message = NULL;
  uint64_t begin_ns = qr_clock_mono_ns();
  rocksdb_write(s->db, s->write_options, wb, &message);
  if (s->sync_apart && !message) rocksdb_flush_wal(s->db, 1, &message);
  uint64_t took_ns = qr_clock_mono_ns() - begin_ns;
  if (message) {
    /* Whatever RocksDB calls it: none of the batches is known to be durable. */
    (void)rocks_error("commit", message);
    return QR_ERR_IO;
  }
  s->commit_cnt += cnt;
  s->bytes_written += byte_sz;
  s->commit_ns_last = took_ns;
  s->commit_ns_sum += took_ns;
  return 0;
}

static int write_group(qr_store_t *s, const rocks_slot_t *const *group, uint32_t cnt) {
  if (cnt == 1) return write_batch(s, group[0]->batch, 1, group[0]->byte_sz);
  size_t byte_sz = 0;
  for (uint32_t i = 0; i < cnt; i++) byte_sz += group[i]->byte_sz;
  rocksdb_writebatch_t *wb = join(group, cnt);
  if (!wb) return QR_ERR_NOMEM;
  int err = write_batch(s, wb, cnt, byte_sz);
  rocksdb_writebatch_destroy(wb);
  return err;
}

int rocks_write(qr_store_t *s, const qr_store_op_t *ops, uint32_t op_cnt) {
  rocksdb_writebatch_t *wb = rocksdb_writebatch_create();
  put(s, wb, ops, op_cnt);
  int err = write_batch(s, wb, 1, 0);
  rocksdb_writebatch_destroy(wb);
  return err;
}

/* Under lock: the batches that are written next. */
static uint32_t take_group(const qr_store_t *s, const rocks_slot_t *out[QR_STORE_QUEUE_CNT]) {
  size_t byte_sz = 0;
  uint32_t cnt = 0;
  for (uint64_t i = s->done_seq; i < s->submit_seq; i++) {
    const rocks_slot_t *slot = &s->slots[i % QR_STORE_QUEUE_CNT];
    byte_sz += slot->byte_sz;
    if (cnt && byte_sz > GROUP_SZ) break;
    out[cnt++] = slot;
  }
  return cnt;
}

static void *commit_main(void *arg) {
  qr_store_t *s = arg;
  const rocks_slot_t *group[QR_STORE_QUEUE_CNT];
  rocks_count_nothing();
  pthread_mutex_lock(&s->lock);
  for (;;) {
    while (s->done_seq == s->submit_seq && !s->stopping) pthread_cond_wait(&s->submitted, &s->lock);
    if (s->done_seq == s->submit_seq) break;
    uint32_t cnt = take_group(s, group);
    bool failed = s->failed;
    pthread_mutex_unlock(&s->lock);
    /* A failed commit may or may not be on disk. Nothing may follow it: a later batch that became
       durable would stand on a hole. So all that come after fail too, until the store is opened
       again and its tip is read. */
    int err = failed ? QR_ERR_IO : write_group(s, group, cnt);
    pthread_mutex_lock(&s->lock);
    if (err) s->failed = true;
    for (uint32_t i = 0; i < cnt; i++) {
      rocks_slot_t *slot = &s->slots[s->done_seq++ % QR_STORE_QUEUE_CNT];
      give_batch(s, slot->batch, slot->byte_sz);
      slot->batch = NULL;
      slot->err = err;
    }
  }
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

int rocks_commit_start(qr_store_t *s) {
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->submitted, NULL);
  /* Signals belong to the process's own threads. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&s->thread, NULL, commit_main, s);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (rc) {
    pthread_cond_destroy(&s->submitted);
    pthread_mutex_destroy(&s->lock);
    return QR_ERR_NOMEM;
  }
  pthread_setname_np(s->thread, "qr-store");
  return 0;
}

void rocks_commit_stop(qr_store_t *s) {
  pthread_mutex_lock(&s->lock);
  s->stopping = true;
  pthread_cond_signal(&s->submitted);
  pthread_mutex_unlock(&s->lock);
  pthread_join(s->thread, NULL);
  while (s->spare_cnt) rocksdb_writebatch_destroy(s->spares[--s->spare_cnt]);
  pthread_cond_destroy(&s->submitted);
  pthread_mutex_destroy(&s->lock);
}

int rocks_commit(qr_store_t *s, uint64_t tag, const qr_store_op_t *ops, uint32_t op_cnt) {
  int64_t byte_sz = qr_store_batch_size(ops, op_cnt);
  if (byte_sz < 0) return (int)byte_sz;
  /* What is held shrinks only in poll, which is of this thread: room found now is there below. */
  pthread_mutex_lock(&s->lock);
  bool fits = qr_store_batch_fits(s->submit_seq - s->poll_seq, s->held_sz, (size_t)byte_sz);
  pthread_mutex_unlock(&s->lock);
  if (!fits) return QR_ERR_FULL;
  rocksdb_writebatch_t *wb = take_batch(s);
  put(s, wb, ops, op_cnt);
  pthread_mutex_lock(&s->lock);
  s->slots[s->submit_seq % QR_STORE_QUEUE_CNT] =
      (rocks_slot_t){.batch = wb, .byte_sz = (size_t)byte_sz, .tag = tag};
  s->held_sz += (size_t)byte_sz;
  s->submit_seq++;
  pthread_cond_signal(&s->submitted);
  pthread_mutex_unlock(&s->lock);
  return 0;
}

int rocks_poll(qr_store_t *s, qr_store_done_t *done, int max) {
  int cnt = 0;
  pthread_mutex_lock(&s->lock);
  while (cnt < max && s->poll_seq != s->done_seq) {
    const rocks_slot_t *slot = &s->slots[s->poll_seq % QR_STORE_QUEUE_CNT];
    QR_ASSERT(s->held_sz >= slot->byte_sz);
    done[cnt++] = (qr_store_done_t){.tag = slot->tag, .err = slot->err};
    s->held_sz -= slot->byte_sz;
    s->poll_seq++;
  }
  pthread_mutex_unlock(&s->lock);
  return cnt;
}
