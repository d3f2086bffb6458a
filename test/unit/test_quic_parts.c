/* The QUIC links' map of connection IDs and buffers of streams: pure code, compiled in, so that it
   is tested on systems without the library, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/splitmix.h"
#include "drivers/link/quic/cidmap.c"
#include "drivers/link/quic/stream.c"

static uint64_t rand_state = 1;
static uint32_t draw(uint32_t below) { return (uint32_t)(qr_splitmix_next(&rand_state) % below); }

/* ---- connection IDs ---- */

static void test_cidmap(void **state) {
  (void)state;
  enum { CNT = 500 };
  static struct {
    uint8_t id[QR_CID_MAX_SZ];
    size_t sz;
    uint32_t value;
  } shadow[CNT];
  const uint64_t key[4] = {1, 2, 3, 4};
  qr_cidmap_t m;
  assert_int_equal(qr_cidmap_init(&m, CNT, key), 0);
  for (int round = 0; round < 100000; round++) {
    uint32_t i = draw(CNT);
    if (shadow[i].value && draw(2)) {
      qr_cidmap_del(&m, shadow[i].id, shadow[i].sz, shadow[i].value + 1); /* not its value: stays */
      assert_int_equal(qr_cidmap_get(&m, shadow[i].id, shadow[i].sz), shadow[i].value);
      qr_cidmap_del(&m, shadow[i].id, shadow[i].sz, shadow[i].value);
      assert_int_equal(qr_cidmap_get(&m, shadow[i].id, shadow[i].sz), 0);
      shadow[i].value = 0;
    } else if (!shadow[i].value) {
      shadow[i].sz = 4 + draw(17);
      for (size_t k = 0; k < shadow[i].sz; k++) shadow[i].id[k] = (uint8_t)draw(256);
      memcpy(shadow[i].id, &i, 4);
      shadow[i].value = 1 + draw(1000);
      assert_true(qr_cidmap_put(&m, shadow[i].id, shadow[i].sz, shadow[i].value));
    }
    i = draw(CNT);
    assert_int_equal(shadow[i].value ? qr_cidmap_get(&m, shadow[i].id, shadow[i].sz) : 0,
                     shadow[i].value);
  }
  for (uint32_t i = 0; i < CNT; i++) {
    assert_int_equal(shadow[i].value ? qr_cidmap_get(&m, shadow[i].id, shadow[i].sz) : 0,
                     shadow[i].value);
  }
  uint8_t id[255] = {0xff};
  assert_false(qr_cidmap_put(&m, id, 21, 1));
  assert_int_equal(qr_cidmap_get(&m, id, 255), 0);
  uint32_t added = 0;
  for (uint32_t i = 0; i < 2 * CNT; i++) {
    memcpy(id + 1, &i, 4);
    added += qr_cidmap_put(&m, id, 8, 1);
  }
  assert_int_equal(m.cnt, CNT); /* full is full */
  assert_true(added < 2 * CNT);
  qr_cidmap_fini(&m);
}

/* ---- stream buffers ---- */

static void test_stream_buffers(void **state) {
  (void)state;
  uint8_t out_mem[97], in_mem[61];
  qr_outq_t out = {.buf = out_mem, .sz = sizeof out_mem};
  qr_inq_t in = {.buf = in_mem, .sz = sizeof in_mem};
  uint64_t put = 0, moved = 0, taken = 0;
  for (int round = 0; round < 200000; round++) {
    uint8_t p[200];
    uint64_t sz = draw(sizeof p), room = qr_outq_room(&out);
    for (uint64_t i = 0; i < sz; i++) p[i] = (uint8_t)((put + i) * 31);
    uint64_t n = qr_outq_put(&out, p, sz);
    assert_int_equal(n, sz < room ? sz : room);
    put += n;
    qr_span_t span[2];
    int cnt = qr_outq_unsent(&out, span);
    uint64_t unsent = 0;
    for (int i = 0; i < cnt; i++) {
      for (size_t k = 0; k < span[i].sz; k++)
        assert_int_equal(span[i].p[k], (uint8_t)((out.sent + unsent + k) * 31));
      unsent += span[i].sz;
    }
    assert_int_equal(unsent, put - out.sent);
    if (cnt) { /* the first piece moves, in part */
      uint64_t part = draw((uint32_t)span[0].sz + 1), free_sz = in.sz - (in.wr - in.rd);
      assert_int_equal(qr_inq_put(&in, span[0].p, part), part <= free_sz);
      if (part <= free_sz) {
        out.sent += part;
        moved += part;
      }
    }
    for (uint64_t k = out.acked; k < out.sent;
         k++) { /* what may have to be sent again is still in place */
      assert_int_equal(out_mem[(k - out.origin) % out.sz], (uint8_t)(k * 31));
    }
    if (draw(2)) qr_outq_ack(&out, out.acked + draw((uint32_t)(out.sent - out.acked) + 1));
    const uint8_t *lent;
    uint64_t lent_sz = qr_inq_lend(&in, &lent);
    for (uint64_t i = 0; i < lent_sz; i++) assert_int_equal(lent[i], (uint8_t)((taken + i) * 31));
    assert_int_equal(qr_inq_release(&in), lent_sz);
    taken += lent_sz;
  }
  assert_true(taken > 1000000 && taken <= moved);
}

/* A stream of small messages stays at the beginning of its memory. */
static void test_quiet_stream_touches_little(void **state) {
  (void)state;
  uint8_t out_mem[200], in_mem[200], p[10] = {0};
  const uint8_t *lent;
  memset(out_mem, 0xee, sizeof out_mem);
  memset(in_mem, 0xee, sizeof in_mem);
  qr_outq_t out = {.buf = out_mem, .sz = sizeof out_mem};
  qr_inq_t in = {.buf = in_mem, .sz = sizeof in_mem};
  for (int i = 0; i < 100; i++) {
    assert_int_equal(qr_outq_put(&out, p, sizeof p), sizeof p);
    out.sent = out.wr;
    qr_outq_ack(&out, out.sent);
    assert_true(qr_inq_put(&in, p, sizeof p));
    assert_int_equal(qr_inq_lend(&in, &lent), sizeof p);
    qr_inq_release(&in);
  }
  for (size_t i = sizeof p; i < sizeof out_mem; i++)
    assert_true(out_mem[i] == 0xee && in_mem[i] == 0xee);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cidmap),
      cmocka_unit_test(test_stream_buffers),
      cmocka_unit_test(test_quiet_stream_touches_little),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
