#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"

typedef struct slot {
  _Alignas(QR_CACHE_LINE) qr_pool_t *pool;
  struct slot *next;
  _Atomic uint32_t ref_cnt;
} slot_t;

struct qr_pool {
  pthread_mutex_t lock;
  slot_t *free_list;
  uint8_t *mem;
  size_t slot_sz;
  uint32_t cnt;
  _Atomic uint32_t free_cnt;
  const char *name;
  qr_pool_drop_fn drop;
};

static slot_t *slot_of(void *obj) { return (slot_t *)((uint8_t *)obj - sizeof(slot_t)); }

qr_pool_t *qr_pool_init(const char *name, size_t obj_sz, uint32_t cnt, qr_pool_drop_fn drop) {
  QR_ASSERT(obj_sz && cnt);
  qr_pool_t *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->slot_sz = qr_align_up(sizeof(slot_t) + obj_sz, QR_CACHE_LINE);
  p->mem = aligned_alloc(QR_CACHE_LINE, p->slot_sz * cnt);
  if (!p->mem || pthread_mutex_init(&p->lock, NULL)) {
    free(p->mem);
    free(p);
    return NULL;
  }
  p->cnt = cnt;
  p->name = name;
  p->drop = drop;
  for (uint32_t i = cnt; i-- > 0;) {
    slot_t *s = (slot_t *)(p->mem + p->slot_sz * i);
    s->pool = p;
    s->next = p->free_list;
    atomic_init(&s->ref_cnt, 0);
    p->free_list = s;
  }
  atomic_init(&p->free_cnt, cnt);
  return p;
}

void qr_pool_fini(qr_pool_t *p) {
  if (!p) return;
  QR_ASSERT(atomic_load(&p->free_cnt) == p->cnt);
  pthread_mutex_destroy(&p->lock);
  free(p->mem);
  free(p);
}

void *qr_pool_get(qr_pool_t *p) {
  pthread_mutex_lock(&p->lock);
  slot_t *s = p->free_list;
  if (s) {
    p->free_list = s->next;
    atomic_fetch_sub(&p->free_cnt, 1);
  }
  pthread_mutex_unlock(&p->lock);
  if (!s) return NULL;
  atomic_store_explicit(&s->ref_cnt, 1, memory_order_relaxed);
  return (uint8_t *)s + sizeof(slot_t);
}

void *qr_pool_ref(void *obj) {
  uint32_t old = atomic_fetch_add_explicit(&slot_of(obj)->ref_cnt, 1, memory_order_relaxed);
  QR_ASSERT(old);
  return obj;
}

void qr_pool_unref(void *obj) {
  if (!obj) return;
  slot_t *s = slot_of(obj);
  uint32_t old = atomic_fetch_sub_explicit(&s->ref_cnt, 1, memory_order_acq_rel);
  QR_ASSERT(old);
  if (old != 1) return;
  qr_pool_t *p = s->pool;
  if (p->drop) p->drop(obj);
  pthread_mutex_lock(&p->lock);
  s->next = p->free_list;
  p->free_list = s;
  atomic_fetch_add(&p->free_cnt, 1);
  pthread_mutex_unlock(&p->lock);
}

uint32_t qr_pool_free_cnt(const qr_pool_t *p) { return atomic_load(&p->free_cnt); }
